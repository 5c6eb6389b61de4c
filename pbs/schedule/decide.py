"""What a source's schedule asks for now: a run, a word about what did not happen, or nothing. Pure.

A slot is dealt with once: `seen` says up to which moment. A clock that jumps forward, a machine that slept and a service
that was not running look the same from here: slots have passed, the newest becomes one run, the others are told as one.
A clock that was set back must neither repeat slots nor wait for the old time to come again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pbs.model import Mark
from pbs.schedule.timetable import MOST_COUNTED, Timetable

# A run that begins so soon after a slot serves that slot too.
LATE = timedelta(minutes=10)
# How long slots may pass behind a run that waits before it is told, though it still waits.
UNTOLD = timedelta(days=1)
# A clock that is set back by less than this part of the distance of two slots changes nothing.
STEP_SHARE = 4
LARGEST_STEP = timedelta(hours=1)

HINT_MISSED = (
    "nothing to do if this is rare; else see what keeps the server or the source busy, or widen its schedule"
)
ASLEEP = "the service was not running at that time, or the machine slept"
BUSY = "a run of the source still went on"
CROWDED = "other runs took all the room that max_runs and max_runs_per_host leave"
WAITED = "the run that should have begun waited for its turn"


@dataclass(frozen=True, slots=True)
class Missed:
    """Slots that got no run of their own: how many from `first` to `last`, and what stood in the way."""

    first: datetime
    last: datetime
    count: int
    why: str

    @property
    def message(self) -> str:
        """For people."""
        number = f"more than {self.count}" if self.count >= MOST_COUNTED else f"{self.count}"
        if self.count == 1:
            return f"the run that was due at {_shown(self.first)} did not happen: {self.why}"
        return f"{number} runs that were due from {_shown(self.first)} to {_shown(self.last)} did not happen: {self.why}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write down of a source: how far its slots were dealt with, the slot that gets a run, what did not happen."""

    source: str
    signature: str
    seen: datetime
    slot: datetime | None = None
    missed: Missed | None = None


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def decide(
    table: Timetable, mark: Mark | None, now: datetime, *, waiting: datetime | None = None
) -> Decision | None:
    """What is to be done for a source; None = nothing now.

    Args:
        table: Its slots.
        mark: Up to where they were dealt with, and by which schedule; None where it was never looked at.
        now: By our clock.
        waiting: The slot of a run of it that waits in the queue.
    """
    if mark is None or mark.schedule != table.signature:
        return Decision(table.name, table.signature, now)
    if not table.timed:
        return None
    if mark.seen > now:
        return Decision(table.name, table.signature, now) if _set_back(table, mark.seen, now) else None
    coming = table.slots(mark.seen)
    first = next(coming, None)
    if first is None or first > now:
        return None
    following = next(coming, None)
    slot = first if following is None or following > now else table.newest(now) or first
    since = min(waiting, first) if waiting is not None else first
    if first < now - LATE:
        missed = _missed(table, since, slot, now, ASLEEP)
    elif slot - since >= UNTOLD:
        missed = _missed(table, since, slot, now, WAITED)
    else:
        missed = None
    return Decision(table.name, table.signature, slot, slot, missed)


def _set_back(table: Timetable, seen: datetime, now: datetime) -> bool:
    """Whether the clock went back so far that waiting for the next slot would be a silence."""
    following = table.after(seen)
    distance = following - seen if following is not None else LARGEST_STEP
    return seen - now > min(distance / STEP_SHARE, LARGEST_STEP)


def overtaken(table: Timetable, due: datetime, now: datetime, why: str) -> tuple[datetime, Missed | None]:
    """For a run that begins only now: the slot that it serves, and those that passed while it waited."""
    slot = table.newest(now) or due
    if slot <= due:
        return due, None
    return slot, _missed(table, due, slot, now, why)


def _missed(table: Timetable, first: datetime, slot: datetime, now: datetime, why: str) -> Missed | None:
    """The slots from `first` on that the run for `slot` comes too late for."""
    before = min(slot, now - LATE)
    if first >= before:
        return None
    count = table.count(first, before)
    last = table.newest(before - timedelta(microseconds=1))
    return Missed(first, last or first, max(count, 1), why)

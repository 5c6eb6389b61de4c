"""The slots of one source: the moments at which its schedule wants a run, with its jitter and inside its window.

Slots are a pure function of name and configuration, so that they are the same after every restart and on every look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim

from pbs.model import Source
from pbs.schedule.window import Window
from pbs.text import parse_duration

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
# Without a `jitter` of its own, a slot is moved by up to a tenth of the distance to the next one, never by more than this.
MOST_JITTER = timedelta(minutes=30)
JITTER_SHARE = 10
# Beyond so many slots it says nothing more to count on.
MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Timetable:
    """The slots of a source.

    Attributes:
        name: The source; what its place among the others is made from.
        schedule: Five cron fields, `every TIME`, or a word that has no slots.
        timezone: What the hours of schedule and window mean.
        window: Opening and closing as minutes of the day.
        jitter: Seconds by which a slot may be moved; None = as the distance of two slots allows.
    """

    name: str
    schedule: str
    timezone: str = "UTC"
    window: tuple[int, int] | None = None
    jitter: float | None = None
    _every: timedelta = field(init=False, repr=False, compare=False)
    _zone: tzinfo = field(init=False, repr=False, compare=False)
    _window: Window | None = field(init=False, repr=False, compare=False)
    _share: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        zone = UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)
        digest = hashlib.sha256(self.name.encode()).digest()
        _, _, distance = self.schedule.partition("every ")
        every = timedelta(seconds=parse_duration(distance) if distance else 0)
        object.__setattr__(self, "_every", every)
        object.__setattr__(self, "_zone", zone)
        object.__setattr__(self, "_window", Window(*self.window, zone) if self.window else None)
        object.__setattr__(self, "_share", int.from_bytes(digest[:6]) / (1 << 48))

    @classmethod
    def of(cls, source: Source) -> Timetable:
        """The slots that this source's configuration names."""
        return cls(source.name, source.schedule, source.timezone, source.window, source.jitter)

    @property
    def timed(self) -> bool:
        """Whether it has slots at all."""
        return bool(self._every) or len(self.schedule.split()) == 5

    @property
    def signature(self) -> str:
        """What a change of which makes it another schedule, that begins when it is first seen."""
        window = f" {self.window[0]}-{self.window[1]}" if self.window else ""
        return f"{self.schedule} {self.timezone}{window}"

    def after(self, moment: datetime) -> datetime | None:
        """The first slot after this moment; None where there is none."""
        return next(self.slots(moment), None)

    def slots(self, moment: datetime) -> Iterator[datetime]:
        """The slots after this moment, in their order."""
        if not self.timed:
            return
        most = timedelta(seconds=self.jitter) if self.jitter is not None else MOST_JITTER
        for here, following in pairwise(self._wanted(moment - most - SECOND)):
            slot = here + self._shift(here, following)
            if slot > moment:
                yield slot

    def newest(self, until: datetime) -> datetime | None:
        """The last slot up to this moment, looked for in the years before it."""
        step = timedelta(minutes=1)
        while step < timedelta(days=9 * 366):
            found = None
            for slot in self.slots(until - step):
                if slot > until:
                    break
                found = slot
            if found is not None:
                return found
            step *= 2
        return None

    def count(self, first: datetime, before: datetime) -> int:
        """How many slots lie from `first` on and before another moment; at most MOST_COUNTED."""
        number = 0
        for slot in self.slots(first - timedelta(microseconds=1)):
            if slot >= before or number == MOST_COUNTED:
                break
            number += 1
        return number

    def opens(self, moment: datetime) -> datetime:
        """This moment where runs may begin then, else this source's own moment after the window opens."""
        if self._window is None:
            return moment
        opening = self._window.opens(moment)
        if opening == moment:
            return moment
        return opening + self._part(min(MOST_JITTER, self._window.closes(opening) - opening))

    # where it wants a run, before jitter

    def _wanted(self, moment: datetime) -> Iterator[datetime]:
        """The moments after this one that the schedule names, those outside the window moved to its opening."""
        window = self._window
        if window is None:
            yield from self._named(moment)
            return
        if window.opens(moment) > moment:
            # What was named while it was closed waits for the opening that comes.
            moment = window.closed(moment) - SECOND / 1_000_000
        while (named := next(self._named(moment), None)) is not None:
            moment = window.opens(named)
            yield moment

    def _named(self, moment: datetime) -> Iterator[datetime]:
        if self._every:
            yield from self._grid(moment)
            return
        last = moment
        for found in CronSim(self.schedule, moment.astimezone(self._zone)):
            named = found.astimezone(UTC)
            # In the hour that comes twice, a time of the first pass may be named again.
            if named > last:
                last = named
                yield named

    def _grid(self, moment: datetime) -> Iterator[datetime]:
        """`every`: multiples of the distance since 1970, each source at a place of its own within it."""
        every = self._every
        place = self._part(every if self.jitter is None else min(timedelta(seconds=self.jitter), every))
        number = (moment - EPOCH - place) // every
        while True:
            number += 1
            yield EPOCH + place + number * every

    # by how much it is moved

    def _shift(self, here: datetime, following: datetime) -> timedelta:
        room = following - here
        if self._window is not None:
            room = min(room, self._window.closes(here) - here)
        if self._every and (self._window is None or next(self._grid(here - SECOND / 1_000_000)) == here):
            return timedelta()
        if self.jitter is not None:
            return self._part(min(timedelta(seconds=self.jitter), room))
        return self._part(min(MOST_JITTER, room / JITTER_SHARE))

    def _part(self, span: timedelta) -> timedelta:
        """This source's share of a span; whole seconds where there are many of them."""
        part = span * self._share
        return part // SECOND * SECOND if span >= timedelta(minutes=1) else part

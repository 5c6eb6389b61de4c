"""Why retention must not remove anything now, from what the ledger knows of runs and snapshots. Pure.

Whoever has taken over a source can wait until the good snapshots have aged out: so what looks wrong freezes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from pbs.model import Outcome, Receipt, ReceiptState
from pbs.retention.plan import COUNTED

# A snapshot that has less than half of what a usual one of so many days had is not usual: nor is one that shrank bit by bit.
SHRUNK = 0.5
LOOK_BACK = timedelta(days=31)
# What retention has removed since says as well what was usual.
ONCE = COUNTED | {ReceiptState.FORGOTTEN}
# Below these a source is so small that halving it is an everyday event.
LEAST_FILES = 100
LEAST_BYTES = 1 << 20
BAD = frozenset({Outcome.FAILED, Outcome.REFUSED, Outcome.MISSED})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the receipts.

    Attributes:
        last: The outcome of the newest pull that ended by itself; None where there was none.
        grew: Whether that pull could read less than the one before it.
        damaged: Snapshots that a damaged pack touches.
        damages: How many damaged packs wait for their repair.
        confirmed: The newest snapshot when a person said that what is there now is right.
        held: Why a person has to look first, since a tripwire tripped or somebody held the source.
    """

    last: Outcome | None = None
    grew: bool = False
    damaged: frozenset[str] = frozenset()
    damages: int = 0
    confirmed: str | None = None
    held: str | None = None


def frozen(facts: Facts) -> str | None:
    """Why nothing may be removed; None where nothing stands against it."""
    if facts.held:
        return facts.held
    if facts.damages:
        return f"{facts.damages} damaged pack(s) wait for their repair"
    if facts.last in BAD:
        return f"the last pull ended as {facts.last}"
    if facts.last is Outcome.PARTIAL and facts.grew:
        return "the last pull could read less than the one before it"
    return None


def grew(before: Collection[str], now: Collection[str]) -> bool:
    """Whether something could not be read that could be read before."""
    return not set(now) <= set(before)


def doubtful(facts: Facts, receipts: Iterable[Receipt]) -> str | None:
    """What a person should look at before anything is removed; None where everything looks as usual.

    What the newest snapshot holds is compared with the usual ones before it, so that waiting does not make it usual.
    """
    usual, strange = _Usual(), None
    for each in sorted((each for each in receipts if each.state in ONCE), key=lambda each: each.time):
        larger = usual.halved(each) if each.id != facts.confirmed else None
        if larger is not None:
            strange = each, larger
            continue
        strange = None
        if each.id == facts.confirmed:
            usual = _Usual()
        usual.add(each)
    if strange is None:
        return None
    now, before = strange
    return (
        f"the snapshot {now.id[:8]} holds less than half of what {before.id[:8]} held "
        f"({now.files} of {before.files} files)"
    )


@dataclass(slots=True)
class _Largest:
    """The largest of the snapshots of a month, by one measure: each that is followed by a larger one is left out."""

    measure: Callable[[Receipt], int | None]
    least: int
    falling: deque[Receipt] = field(default_factory=deque)

    def add(self, each: Receipt) -> None:
        size = self.measure(each) or 0
        while self.falling and (self.measure(self.falling[-1]) or 0) <= size:
            self.falling.pop()
        self.falling.append(each)

    def halved(self, now: Receipt) -> Receipt | None:
        while len(self.falling) > 1 and self.falling[0].time < now.time - LOOK_BACK:
            self.falling.popleft()
        after = self.measure(now)
        if not self.falling or after is None:
            return None
        before = self.measure(self.falling[0]) or 0
        return self.falling[0] if before >= self.least and after < before * SHRUNK else None


@dataclass(slots=True)
class _Usual:
    """What is usual, by files and by bytes."""

    by: tuple[_Largest, ...] = field(
        default_factory=lambda: (
            _Largest(lambda each: each.files, LEAST_FILES),
            _Largest(lambda each: each.bytes, LEAST_BYTES),
        )
    )

    def add(self, each: Receipt) -> None:
        for one in self.by:
            one.add(each)

    def halved(self, now: Receipt) -> Receipt | None:
        return next((found for one in self.by if (found := one.halved(now)) is not None), None)

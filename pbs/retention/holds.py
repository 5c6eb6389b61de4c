"""Why retention must not remove anything now, from what the ledger knows of runs and snapshots. Pure.

Whoever has taken over a source can wait until the good snapshots have aged out: so what looks wrong freezes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pbs.model import Outcome, Receipt
from pbs.retention.plan import COUNTED

# A snapshot that has less than half of what the last usual one had is not usual.
SHRUNK = 0.5
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

    What the newest snapshot holds is compared with the last usual one, so that waiting does not make it usual.
    """
    usual: Receipt | None = None
    strange: Receipt | None = None
    for each in sorted((each for each in receipts if each.state in COUNTED), key=lambda each: each.time):
        strange = each if usual is not None and each.id != facts.confirmed and _halved(usual, each) else None
        if strange is None:
            usual = each
    if strange is None or usual is None:
        return None
    return (
        f"the snapshot {strange.id[:8]} holds less than half of what {usual.id[:8]} held "
        f"({strange.files} of {usual.files} files)"
    )


def _halved(usual: Receipt, now: Receipt) -> bool:
    pairs = ((usual.files, now.files, LEAST_FILES), (usual.bytes, now.bytes, LEAST_BYTES))
    return any(
        before is not None and after is not None and before >= least and after < before * SHRUNK
        for before, after, least in pairs
    )

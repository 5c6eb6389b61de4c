"""Two snapshots of a source compared: what came, went and changed between them, counted whole and listed in part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pbs.errors import ToolTimeout
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.lookup import opened, viewed
from pbs.model import Receipt
from pbs.repository import Change, changes

SECONDS = 60.0


class Became(StrEnum):
    """What became of a name from the older snapshot to the newer."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    REPLACED = "replaced"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Differences:
    """What is different. `changes` are the first of them, `counts` those of all; not `whole`: the time was over before the end."""

    older: Receipt
    newer: Receipt
    changes: tuple[tuple[Became, Change], ...]
    counts: dict[Became, int]
    added_bytes: int | None
    removed_bytes: int | None
    whole: bool


@dataclass(slots=True)
class _Basket:
    limit: int
    after: int
    changes: list[tuple[Became, Change]] = field(default_factory=list)
    counts: Counter[Became] = field(default_factory=Counter)
    sums: dict[str, Any] | None = None

    def fill(self, found: Iterator[Change | dict[str, Any]]) -> None:
        seen = 0
        for each in found:
            if isinstance(each, dict):
                self.sums = each
                continue
            became = became_of(each.letters)
            self.counts[became] += 1
            seen += 1
            if self.after < seen <= self.after + self.limit:
                self.changes.append((became, each))

    def bytes(self, which: str) -> int | None:
        told = (self.sums or {}).get(which)
        count = told.get("bytes") if isinstance(told, dict) else None
        return count if type(count) is int else None


def became_of(letters: str) -> Became:
    """What restic's letters say; the weightiest of several counts."""
    for letter, became in (
        ("+", Became.ADDED),
        ("-", Became.REMOVED),
        ("T", Became.REPLACED),
        ("M", Became.CHANGED),
    ):
        if letter in letters:
            return became
    return Became.METADATA


async def differences(
    home: Home,
    ledger: Ledger,
    source: str,
    older: str,
    newer: str,
    *,
    metadata: bool = False,
    limit: int = 1000,
    after: int = 0,
    seconds: float = SECONDS,
) -> Differences:
    """What is different in the snapshot `newer` from what was in `older`; `metadata`: also owners, modes and times.

    Raises:
        NotFound: no such source or snapshot.
        LeaseHeld: the repository is being maintained.
    """
    basket = _Basket(limit, after)
    with opened(home, source, newer, ledger) as found:
        first, second = ledger.find_receipt(source, older), found.receipt
        with viewed(home, found, {first.id, second.id}) as handle:
            try:
                await changes(handle, first.id, second.id, basket.fill, metadata=metadata, seconds=seconds)
            except ToolTimeout:
                basket.sums = None
    whole = basket.sums is not None
    return Differences(
        first, second, tuple(basket.changes), dict(basket.counts), basket.bytes("added"), basket.bytes("removed"), whole,
    )  # fmt: skip

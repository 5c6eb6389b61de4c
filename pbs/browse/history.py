"""One path through time: every version of a file that some snapshot holds, and in which.

Two snapshots hold the same version where size, time of change and time of touch are the same: what restic itself goes by
when it decides whether to read a file again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pbs.browse.span import Span
from pbs.clock import Clock
from pbs.errors import ToolTimeout
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.lookup import opened, viewed
from pbs.model import Receipt, ReceiptState
from pbs.repository import Entry, Hit, find, lossy, normal
from pbs.restore.tree import pattern

SECONDS = 20.0
Key = tuple[str, int | None, datetime | None, datetime | None]


@dataclass(slots=True)
class Version:
    """One version of a file, and the snapshots that hold it, newest first."""

    entry: Entry
    receipts: list[Receipt] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a path in the snapshots that were `looked` through, newest first; those in `without` do not have it."""

    versions: tuple[Version, ...]
    looked: tuple[Receipt, ...]
    without: tuple[Receipt, ...]
    next: str | None


@dataclass(slots=True)
class _Basket:
    path: bytes
    found: dict[str, Hit] = field(default_factory=dict)

    def fill(self, hits: Iterator[tuple[Hit | None, str]]) -> None:
        """Take what stands at the path itself; restic finds all below a folder as well."""
        here: Hit | None = None
        for hit, snapshot in hits:
            if hit is None:
                if here is not None:
                    self.found[snapshot] = here
                here = None
            elif hit.entry.path == lossy(self.path):
                here = hit


def grouped(receipts: list[Receipt], found: dict[str, Hit], path: bytes) -> tuple[Version, ...]:
    """The versions in these receipts, which come newest first."""
    versions: dict[Key, Version] = {}
    for receipt in receipts:
        hit = found.get(receipt.id)
        if hit is None:
            continue
        # An import wrote every file anew when it was made: when it was touched says nothing of its content.
        touched = (
            hit.changed if receipt.state is not ReceiptState.LEGACY and hit.entry.type == "file" else None
        )
        key = (hit.entry.type, hit.entry.size, hit.entry.mtime, touched)
        versions.setdefault(key, Version(hit.entry.at(path))).receipts.append(receipt)
    return tuple(versions.values())


async def versions(
    home: Home,
    ledger: Ledger,
    clock: Clock,
    source: str,
    path: bytes,
    *,
    before: str | None = None,
    seconds: float = SECONDS,
) -> Versions:
    """Every version of what lies at `path` in the snapshots of a source, or in those older than `before`.

    Raises:
        NotFound: no such source, or it has no snapshot, or that is no path.
        LeaseHeld: the repository is being maintained.
    """
    where = normal(path)
    basket = _Basket(where)
    with opened(home, source, "latest", ledger) as found:
        span = Span(clock, found.usable, before, seconds)
        for batch in span.batches():
            with viewed(home, found, [each.id for each in batch]) as handle:
                try:
                    await find(
                        handle, [each.id for each in batch], pattern(where), basket.fill, seconds=span.seconds
                    )
                except ToolTimeout:
                    span.break_off()
    without = tuple(each for each in span.looked if each.id not in basket.found)
    return Versions(grouped(span.looked, basket.found, where), tuple(span.looked), without, span.next)

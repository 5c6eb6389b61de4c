"""Many snapshots gone through from the newest back, one at first and then more at a time, until the time is over.

It chooses no snapshot: it is handed receipts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pbs.clock import Clock
from pbs.errors import NotFound
from pbs.model import Receipt

# What people look for lies in the newest snapshot most of the time; and each start of restic reads the whole index.
FIRST, FACTOR, MOST = 1, 6, 64


class Span:
    """The snapshots older than `before`, newest first. `looked`: those that were gone through."""

    def __init__(self, clock: Clock, receipts: Sequence[Receipt], before: str | None, seconds: float) -> None:
        self._clock = clock
        self._left = list(receipts[: _place(receipts, before)] if before is not None else receipts)
        self._until = clock.monotonic() + seconds
        self.looked: list[Receipt] = []
        self.broke_off = False
        self._over = False

    @property
    def seconds(self) -> float:
        """How much time is left."""
        return max(self._until - self._clock.monotonic(), 0.1)

    @property
    def next(self) -> str | None:
        """From where to go on; None where everything was gone through."""
        return self.looked[-1].id if self._left and self.looked else None

    def batches(self) -> Iterator[list[Receipt]]:
        """Batch after batch, until one breaks off, `stop` is called, or the time is over."""
        size = FIRST
        while self._left and not self._over and self._clock.monotonic() < self._until:
            batch = self._left[-size:][::-1]
            yield batch
            if self.broke_off:
                # The newest one was gone through in part, and would be again: go on behind it.
                batch = batch[:1] if not self.looked else []
            self._left = self._left[: len(self._left) - len(batch)]
            self.looked += batch
            size = min(size * FACTOR, MOST)

    def break_off(self) -> None:
        """The time was over within a batch."""
        self.broke_off = self._over = True

    def stop(self) -> None:
        """Go through no further batch."""
        self._over = True


def _place(receipts: Sequence[Receipt], before: str) -> int:
    for place, receipt in enumerate(receipts):
        if receipt.id == before:
            return place
    raise NotFound(f"there is no snapshot {before[:8]} to go on from", "search again from the newest one")

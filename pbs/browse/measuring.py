"""What a restore would bring back, counted before anything is written: the dry run of it, in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pbs.browse.looking import Looker
from pbs.errors import ToolTimeout
from pbs.model import Receipt
from pbs.repository import DEVICES, Entry, below

SECONDS = 10.0


@dataclass(slots=True)
class Amount:
    """What lies at and below a path. Not `whole`: there is more, and this is what was counted until the time was over."""

    names: int = 0
    files: int = 0
    bytes: int = 0
    devices: int = 0
    whole: bool = False

    def fill(self, entries: Iterator[Entry]) -> None:
        """Count."""
        for entry in entries:
            self.names += 1
            self.files += entry.type == "file"
            self.bytes += entry.size or 0
            self.devices += entry.type in DEVICES
        self.whole = True


async def amount(looker: Looker, receipt: Receipt, path: bytes, seconds: float = SECONDS) -> Amount:
    """How much a restore of this path would be; content that several names share counts once for each.

    Raises:
        LeaseHeld: the repository is being maintained.
        ResticError: it cannot be read.
    """
    found = Amount()
    with looker.reading(receipt.id) as handle:
        try:
            await below(handle, receipt.id, path, found.fill, seconds=seconds)
        except ToolTimeout:
            found.whole = False
    return found

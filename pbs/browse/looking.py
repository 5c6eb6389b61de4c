"""What lies at a place of a snapshot: a folder, sorted and in parts, or one file. A folder is read once and then kept."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pbs.browse.shelf import Listed, Shelf, closing
from pbs.errors import NotFound
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.lookup import opened, viewed
from pbs.model import Receipt
from pbs.repository import Entry, Handle, folder, normal
from pbs.text import clean_line

# What restic may say of one folder: some hundred thousand names.
LONGEST_LISTING = 128 << 20


@dataclass(frozen=True, slots=True)
class Spot:
    """A place of a snapshot. `listed` is set where it is a folder, `entry` where it is anything else."""

    receipt: Receipt
    path: bytes
    listed: Listed | None
    entry: Entry | None


class Looker:
    """Looks into the snapshots of one source for somebody who may see everything in them."""

    def __init__(self, home: Home, ledger: Ledger, source: str) -> None:
        self._home = home
        self._ledger = ledger
        self._source = source
        self._shelf = Shelf(home.folders, source)

    def receipt(self, wanted: str) -> Receipt:
        """The receipt of a snapshot that can be looked into.

        Raises:
            NotFound: no such source or snapshot.
        """
        self._ledger.require_source(self._source)
        return self._ledger.find_receipt(self._source, wanted)

    async def at(self, stack: ExitStack, wanted: str, path: bytes) -> Spot:
        """What lies at a path of a snapshot. A folder stays open as long as the stack.

        Raises:
            NotFound: no such snapshot, or nothing there.
            LeaseHeld: the repository is being maintained.
            TooMuch: the folder is larger than anybody can look at.
        """
        receipt, where = self.receipt(wanted), normal(path)
        above, name = posixpath.split(where)
        # Whoever looks at a file has just looked at its folder, which tells that it is one.
        around = self._shelf.find(receipt.id, above)
        with closing(around):
            entry = around.named(name) if around is not None else None
        if entry is None or entry.type == "dir":
            listed = await self._folder(stack, receipt, where)
            if listed is not None:
                return Spot(receipt, where, listed, None)
            around = await self._folder(stack, receipt, above)
            entry = around.named(name) if around is not None else None
        if entry is None:
            raise NotFound(
                f"the snapshot holds nothing at {clean_line(where.decode('utf-8', 'replace'), 200)}",
                "look for it in the folders above, or search for its name",
            )
        return Spot(receipt, where, None, entry)

    async def _folder(self, stack: ExitStack, receipt: Receipt, where: bytes) -> Listed | None:
        listed = self._shelf.find(receipt.id, where)
        if listed is None:
            with self.reading(receipt.id) as handle:
                listed = await folder(
                    handle,
                    receipt.id,
                    where,
                    lambda entries: self._shelf.keep(receipt.id, where, entries),
                    most=LONGEST_LISTING,
                )
        stack.enter_context(closing(listed))
        return listed

    @contextmanager
    def reading(self, snapshot: str) -> Iterator[Handle]:
        """The repository, showing this one snapshot."""
        with (
            opened(self._home, self._source, snapshot, self._ledger) as found,
            viewed(self._home, found, [found.receipt.id]) as handle,
        ):
            yield handle

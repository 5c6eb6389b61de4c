"""Opens a source's repository for a person who wants something back: ids come from receipts, the bytes through a view.

It takes the shared repository lock, so that maintenance waits, and never needs the configuration or the service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pbs.assemble import handle_of
from pbs.errors import NotFound
from pbs.files import locked
from pbs.home import Home
from pbs.ledger import Ledger, open_ledger
from pbs.model import Receipt
from pbs.repository import Handle, view


@dataclass(frozen=True, slots=True)
class Found:
    """A repository that is open for reading, the snapshot that was asked for, and all that may be shown."""

    handle: Handle
    receipt: Receipt
    usable: tuple[Receipt, ...]


@contextmanager
def opened(home: Home, name: str, wanted: str, ledger: Ledger | None = None) -> Iterator[Found]:
    """The repository of a source and the snapshot that `wanted` names: `latest`, an id or a prefix of one.

    `ledger` is one that is open already.

    Raises:
        NotFound: no such source or snapshot.
        LeaseHeld: the repository is being maintained.
    """
    asked = ledger if ledger is not None else open_ledger(home.ledger)
    try:
        asked.require_source(name)
        known = asked.repository(name)
        if known is None:
            raise NotFound(f"{name} has no repository", f"`pbs pull {name}` makes its first backup")
        receipt = asked.find_receipt(name, wanted)
        usable = tuple(asked.usable(name))
    finally:
        if ledger is None:
            asked.close()
    with locked(
        home.locks / f"{name}.repository.lock", shared=True, what=f"the repository of {name}"
    ) as lock:
        yield Found(handle_of(home, known, (lock.descriptor,)), receipt, usable)


@contextmanager
def viewed(home: Home, found: Found, snapshots: Collection[str]) -> Iterator[Handle]:
    """The same repository, showing these snapshots and our own key alone: nothing else that a source sent is read."""
    handle = found.handle
    with view(handle.path, home.work(found.receipt.source), snapshots, handle.key) as shown:
        yield replace(handle, path=shown.path, inherit=(*handle.inherit, shown.descriptor))

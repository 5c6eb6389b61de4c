"""Opens a source's repository for a person who wants something back: ids come from receipts, the bytes through a view.

It takes the shared repository lock, so that maintenance waits, and never needs the configuration or the service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from pbs.errors import NotFound
from pbs.files import locked
from pbs.home import Home
from pbs.ledger import Ledger, open_ledger
from pbs.model import Receipt
from pbs.opening import admitted_index, handle_of, showing
from pbs.repository import Handle


@dataclass(frozen=True, slots=True)
class Found:
    """A repository that is open for reading, the snapshot that was asked for, and all that may be shown.

    `index` names the index files that were admitted; None where the repository was never inspected.
    """

    handle: Handle
    receipt: Receipt
    usable: tuple[Receipt, ...]
    index: frozenset[str] | None = None


@contextmanager
def opened(home: Home, name: str, wanted: str, ledger: Ledger | None = None) -> Iterator[Found]:
    """The repository of a source and the snapshot that `wanted` names: `latest`, an id or a prefix of one.

    `ledger` is one that is open already.

    Raises:
        NotFound: no such source or snapshot.
        LeaseHeld: the repository is being maintained.
    """
    with ExitStack() as stack:
        asked = ledger if ledger is not None else stack.enter_context(closing(open_ledger(home.ledger)))
        asked.require_source(name)
        known = asked.repository(name)
        if known is None:
            raise NotFound(f"{name} has no repository", f"`pbs pull {name}` makes its first backup")
        asked.find_receipt(name, wanted)
        path = home.locks / f"{name}.repository.lock"
        lock = stack.enter_context(locked(path, shared=True, what=f"the repository of {name}"))
        # Asked under the lock: maintenance may just have removed a snapshot, and written another index.
        receipt = asked.find_receipt(name, wanted)
        usable = tuple(asked.usable(name))
        # A rotation may just have changed which key is ours.
        known = asked.repository(name) or known
        index = admitted_index(asked, known, receipt.id)
        yield Found(handle_of(home, known, (lock.descriptor,)), receipt, usable, index)


@contextmanager
def viewed(home: Home, found: Found, snapshots: Collection[str]) -> Iterator[Handle]:
    """The same repository, showing these snapshots, our own key and the admitted index alone."""
    with showing(found.handle, home.work(found.receipt.source), snapshots, found.index) as handle:
        yield handle

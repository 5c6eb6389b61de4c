"""What opens the repository of a source: its password, the handle made of it, and a view that shows what was admitted alone.

It needs no configuration and no service, and never looks into the repository itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pbs import keyring, repository
from pbs.errors import HomeError
from pbs.files import explained
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import Repository


def password_of(home: Home, name: str) -> str | None:
    """The password of a source's repository; None where it has none.

    Raises:
        HomeError: there is one and it cannot be read.
    """
    path = home.password(name)
    with explained("read the repository password", path):
        written = keyring.read(path) if path.exists() else None
    if written is None:
        return None
    password = written.decode("utf-8", "replace").strip()
    if not password or "\ufffd" in password or "\n" in password:
        raise HomeError(
            f"{path} is not the key that was made for {name}: it is empty or damaged",
            "put it back, from the recovery sheet made by `pbs key export`",
        )
    return password


def handle_of(home: Home, known: Repository, inherit: tuple[int, ...] = ()) -> repository.Handle:
    """What opens the repository that the ledger knows for a source. Needs no configuration."""
    return repository.Handle(
        path=home.root / known.path,
        password=password_of(home, known.source),
        cache=home.cache,
        key=known.key,
        inherit=inherit,
    )


def admitted_index(ledger: Ledger, known: Repository, snapshot: str) -> frozenset[str] | None:
    """The index files that were admitted; None where the repository was never inspected."""
    inspected = snapshot in ledger.manifests.names(known.id, "snapshots")
    return frozenset(ledger.manifests.names(known.id, "index")) if inspected else None


@contextmanager
def showing(
    handle: repository.Handle, work: Path, snapshots: Collection[str], index: Collection[str] | None
) -> Iterator[repository.Handle]:
    """The same repository, showing these snapshots, our own key and this index alone.

    Nothing else that a source sent is read, so nothing that it sends can stop a restore, at any moment.
    """
    with repository.view(handle.path, work, snapshots, handle.key, index) as shown:
        yield replace(handle, path=shown.path, inherit=(*handle.inherit, shown.descriptor))

"""Makes what a source needs on this server: its row in the ledger, its password, its repository. Each step may be repeated.

It never makes a repository anew where the ledger knows one, and never touches one that it cannot open.
"""

from __future__ import annotations

import secrets

from pbs import repository
from pbs.assemble import password_of
from pbs.clock import Clock
from pbs.errors import RepositoryReplaced, ResticError
from pbs.files import locked, write
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import Repository, Source


async def provision(home: Home, ledger: Ledger, source: Source, clock: Clock) -> bool:
    """Make what is missing for a source; True where a repository was made or adopted.

    Raises:
        RepositoryReplaced: a repository lies there that our key does not open.
        PbsError: restic or the disk says no; what was made so far is used the next time.
    """
    with locked(home.locks / f"{source.name}.provision.lock", what=f"the source {source.name}"):
        ledger.add_source(source.name, clock.now())
        if ledger.repository(source.name) is not None:
            return False
        password = _password(home, source)
        path = home.repository(source.name)
        made = await _adopt(home, source, password) if path.exists() else None
        if made is None:
            made = await repository.create(path, password, home.cache)
        config_id, key = made
        relative = str(path.relative_to(home.root))
        ledger.add_repository(Repository(config_id, source.name, relative, key), clock.now())
        return True


def _password(home: Home, source: Source) -> str | None:
    """The source's password, made once; it lies on disk before anything is encrypted with it."""
    if source.encryption == "none":
        return None
    known = password_of(home, source.name)
    if known is None:
        known = secrets.token_urlsafe(32)
        write(home.password(source.name), known.encode() + b"\n")
    return known


async def _adopt(home: Home, source: Source, password: str | None) -> tuple[str, str | None]:
    """The identity of a repository that was there before the ledger knew it (a crash, a rebuilt server)."""
    path = home.repository(source.name)
    try:
        handle = repository.Handle(path=path, password=password, cache=home.cache, key=None, inherit=())
        return await repository.identity(handle), await repository.own_key(handle)
    except ResticError as error:
        raise RepositoryReplaced(
            f"{path} exists, and the key kept for {source.name} does not open it: {error.message}",
            f"put its password into {home.password(source.name)}, or move that folder away",
        ) from error

"""Makes what a source needs on this server: its row in the ledger, its token, password, repository. Each step may be repeated.

It never makes a repository anew where the ledger knows one, and never touches one that it cannot open.
"""

from __future__ import annotations

import secrets

from pbs import keyring, repository
from pbs.clock import Clock
from pbs.errors import RepositoryReplaced, ResticError
from pbs.files import locked
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import Repository, Source
from pbs.opening import password_of
from pbs.recover import recover


async def provision(home: Home, ledger: Ledger, source: Source, clock: Clock) -> bool:
    """Make what is missing for a source; True where a repository was made or adopted.

    Raises:
        RepositoryReplaced: a repository lies there that our key does not open.
        PbsError: restic or the disk says no; what was made so far is used the next time.
    """
    with locked(home.locks / f"{source.name}.provision.lock", what=f"the source {source.name}"):
        ledger.add_source(source.name, clock.now())
        if not home.notify_token(source.name).exists():
            keyring.write(home.notify_token(source.name), secrets.token_urlsafe(32).encode() + b"\n")
        if ledger.repository(source.name) is not None:
            return False
        path = home.repository(source.name)
        there = path.exists()
        if there:
            # No password is made: only the one that it was made with opens it.
            made = await adopt(home, source.name)
        else:
            made = await repository.create(path, _password(home, source), home.cache, clock.now())
        relative = str(path.relative_to(home.root))
        ledger.add_repository(Repository(made[0], source.name, relative, made[1]), clock.now())
        if there:
            # What lies there was admitted once, as far as that can still be known.
            await recover(home, ledger, source.name, clock)
        return True


def _password(home: Home, source: Source) -> str | None:
    """The source's password, made once; it lies on disk before anything is encrypted with it."""
    if source.encryption == "none":
        return None
    known = password_of(home, source.name)
    if known is None:
        known = secrets.token_urlsafe(32)
        keyring.write(home.password(source.name), known.encode() + b"\n")
    return known


async def adopt(home: Home, name: str) -> tuple[str, str | None]:
    """The identity of a repository that was there before the ledger knew it (a crash, a rebuilt server), and of our key.

    Raises:
        RepositoryReplaced: our key does not open it.
    """
    path = home.repository(name)
    try:
        handle = repository.Handle(path=path, password=password_of(home, name), cache=home.cache)
        return await repository.identity(handle), await repository.own_key(handle)
    except ResticError as error:
        raise RepositoryReplaced(
            f"{path} exists, and the key kept for {name} does not open it: {error.message}",
            f"`pbs key import {name}` takes its password from the recovery sheet; or move that folder away",
        ) from error

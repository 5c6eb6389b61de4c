"""A new password for the repository of a source: the same data, its master key wrapped anew, the old wrapping removed.

What is about to be done is written down first, so whoever holds the run lock next ends what a death left open: forward
once the new password stands in its file, back before. At every moment the password that is kept opens the repository.
It makes no backup and reads no data, and what somebody copied before it still opens with the old password.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pbs import files, keyring, repository
from pbs.clock import Clock, stamp
from pbs.endpoint import Supervisor, remove_socket
from pbs.errors import (
    HomeError,
    LeaseHeld,
    NotFound,
    RepositoryReplaced,
    ServiceDown,
    UsageError,
    WrongPassword,
)
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import Repository
from pbs.opening import handle_of, password_of
from pbs.repository import Handle
from pbs.restore import mounts
from pbs.scratch import scratch, sweep

ROTATED = "key-rotated"
STAGING = "key-"


@dataclass(frozen=True, slots=True)
class Intent:
    """What a rotation is about to do: the new password and the key file that it opens; the key file that goes."""

    password: str = field(repr=False)
    key: str
    old: str


async def rotate(home: Home, ledger: Ledger, name: str, clock: Clock) -> str:
    """Give a repository a new password, and say the id of the key file that it opens.

    Raises:
        LeaseHeld: a run goes on, or somebody reads the repository; nothing was changed.
        UsageError: it has no password.
        WrongPassword: the one that is kept does not open it.
        PbsError: nothing was changed, or what was begun is ended by the next run.
    """
    await _not_mounted(home, name)
    with (
        files.locked(home.locks / f"{name}.run.lock", what=f"the source {name}"),
        files.locked(
            home.locks / f"{name}.repository.lock", what=f"the repository of {name} (by a restore)"
        ) as lock,
    ):
        recover(home, ledger, name)
        handle = await _proven(home, ledger, name, (lock.descriptor,))
        async with _shut(home, name):
            intent, content = await _planned(handle, stamp(clock.now()) or "")
            keyring.write(home.rotation(name), _written(intent))
            await _carry_out(home, ledger, name, intent, content)
        # Not before the endpoint is back: whoever finds this file sees to that as well.
        files.remove_file(home.rotation(name))
    ledger.note(clock.now(), ROTATED, {"key": intent.key, "old": intent.old}, about=name)
    return intent.key


def recover(home: Home, ledger: Ledger, name: str) -> None:
    """End a rotation that was killed; nothing to do where none was. The caller holds the run lock.

    Readers may be there: each opens the repository through links of its own.
    """
    path = home.rotation(name)
    intent = _read(path)
    if intent is None:
        return
    known = ledger.repository(name)
    if known is not None:
        if password_of(home, name) == intent.password:
            _forward(home, ledger, known, intent)
        else:
            _back(home, ledger, known, intent)
        sweep(home.work(name), STAGING)
    files.remove_file(path)


async def _not_mounted(home: Home, name: str) -> None:
    """Nobody looks into the repository through a mount, which opened it with the password of now and may stay for days."""
    places = [str(each.directory) for each in await mounts(home.mounts) if each.source == name]
    if places:
        raise LeaseHeld(
            f"snapshots of {name} are mounted at {', '.join(places)}",
            f"`pbs umount {name}` ends that, then `pbs key rotate {name}` again",
        )


async def _proven(home: Home, ledger: Ledger, name: str, inherit: tuple[int, ...]) -> Handle:
    """What opens the repository now, seen to do so."""
    known = _known(ledger, name)
    handle = handle_of(home, known, inherit)
    if handle.password is None:
        raise UsageError(
            f"the repository of {name} has no password to rotate",
            'a source has one unless it was made with encryption = "none"',
        )
    if await repository.identity(handle) != known.id:
        raise RepositoryReplaced(
            f"the repository at {handle.path} is another one than the ledger knows", "put the right one back"
        )
    return handle


def _known(ledger: Ledger, name: str) -> Repository:
    known = ledger.repository(name)
    if known is None:
        raise NotFound(f"{name} has no repository", "`pbs source list` names the sources")
    return known


async def _planned(handle: Handle, created: str) -> tuple[Intent, bytes]:
    """The new password, and the key file that it opens."""
    password = secrets.token_urlsafe(32)
    old = handle.key or await repository.own_key(handle)
    if old is None:
        raise WrongPassword(
            "no key file of the repository opens with the password that is kept", "`pbs doctor`"
        )
    with files.explained("read the repository's key file", handle.path):
        content = (handle.path / "keys" / old).read_bytes()
    master = repository.open_key(content, handle.password or "")
    key, made = repository.seal_key(master, password, created)
    return Intent(password, key, old), made


@asynccontextmanager
async def _shut(home: Home, name: str) -> AsyncIterator[None]:
    """Nobody but us can reach the repository; an endpoint that is kept up comes back afterwards."""
    supervisor, program = Supervisor(home.supervisor_socket, home.etc / "supervisord.d"), f"endpoint-{name}"
    up = supervisor.registered(program)
    with suppress(ServiceDown):
        await supervisor.stop(program)
    remove_socket(home.endpoint_socket(name))
    try:
        yield
    finally:
        with suppress(ServiceDown):
            if up:
                await supervisor.start(program)


async def _carry_out(home: Home, ledger: Ledger, name: str, intent: Intent, content: bytes) -> None:
    known = _known(ledger, name)
    keys = home.root / known.path / "keys"
    # Admitted before it is there, so that no look at the repository ever takes it for an intruder.
    ledger.manifests.change_key(known.id, intent.old, add={intent.key: len(content)})
    with scratch(home.work(name), STAGING) as made:
        files.write(made.path / intent.key, content)
        files.move(made.path / intent.key, keys / intent.key)
    proof = Handle(keys.parent, intent.password, home.cache, intent.key)
    if await repository.identity(proof) != known.id:
        recover(home, ledger, name)
        raise HomeError("the new key does not open the repository", "nothing was changed; try again")
    # From here until the end any of both may be the one that is kept: whoever reads now tries all that were admitted.
    ledger.manifests.change_key(known.id, None)
    keyring.write(home.password(name), intent.password.encode() + b"\n")
    _forward(home, ledger, known, intent)


def _forward(home: Home, ledger: Ledger, known: Repository, intent: Intent) -> None:
    """The new password is the one that is kept: nothing else may open the repository."""
    keys = home.root / known.path / "keys"
    ledger.manifests.change_key(known.id, intent.key)
    if files.remove_file(keys / intent.old):
        files.sync_folder(keys)
    ledger.manifests.change_key(known.id, intent.key, drop=(intent.old,))


def _back(home: Home, ledger: Ledger, known: Repository, intent: Intent) -> None:
    """The old password is still the one that is kept: the new key was never used."""
    ledger.manifests.change_key(known.id, intent.old)
    files.remove_file(home.root / known.path / "keys" / intent.key)
    ledger.manifests.change_key(known.id, intent.old, drop=(intent.key,))


def _written(intent: Intent) -> bytes:
    return json.dumps({"password": intent.password, "key": intent.key, "old": intent.old}).encode() + b"\n"


def _read(path: Path) -> Intent | None:
    """What a killed rotation was about; None where there was none. A torn file cannot be: it is written whole.

    Raises:
        HomeError: it is there and none of ours, or it cannot be read.
    """
    with files.explained("read what a rotation left", path):
        written = keyring.read(path) if path.exists() else None
    if written is None:
        return None
    try:
        return Intent(**json.loads(written))
    except (ValueError, TypeError) as error:
        raise HomeError(
            f"{path} is damaged: it tells of a new repository password that was not finished",
            "the password in the .key file beside it opens the repository; move this file away, and keep it",
        ) from error

"""The copy of the server itself: ledger, configuration and keys, encrypted, beside the repositories.

A small restic repository of our own, opened by the recovery key that the operator keeps elsewhere: whoever has that and
the disk with the backups can make the server anew, with restic alone if need be. No source ever reaches it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pbs import __version__, files, keyring, repository
from pbs.clock import Clock, stamp
from pbs.errors import HomeError, UsageError
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.ledger.files import copy
from pbs.repository import Handle, Kept
from pbs.scratch import scratch

EVENT = "server-copy"
HOST = "pbs-server"
STAGING = "copy-"
KEY_BYTES = 20
GROUP = 4
# What stays: the newest, the newest of each of the last days, and of each of the last months that have one.
NEWEST, DAYS, MONTHS = 5, 14, 12


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that was made: its id, and how many older ones were let go of."""

    id: str
    dropped: int


def new_key() -> str:
    """A recovery key: 160 random bits, as letters and digits that a person can type."""
    text = base64.b32encode(secrets.token_bytes(KEY_BYTES)).decode()
    return "-".join(text[at : at + GROUP] for at in range(0, len(text), GROUP))


def typed_key(text: str) -> str:
    """A recovery key as a person typed it, in the form that opens the copy.

    Raises:
        UsageError: it cannot be one.
    """
    # 0, 1 and 8 are no digits of it: whoever reads them means the letters that look like them.
    plain = re.sub(r"[\s-]", "", text).upper().translate(str.maketrans("018", "OIB"))
    if not re.fullmatch(r"[A-Z2-7]{32}", plain):
        raise UsageError(
            "this is no recovery key: it has 32 letters and digits, in eight groups of four",
            "type it as it stands on the sheet that `pbs key recovery` printed",
        )
    return "-".join(plain[at : at + GROUP] for at in range(0, len(plain), GROUP))


def recovery_key(home: Home, *, make: bool = False) -> str:
    """The recovery key of this home.

    Args:
        home: The home.
        make: Make it where there is none, and no copy that only the lost one could open.

    Raises:
        HomeError: it is missing or damaged.
    """
    path = home.recovery_key
    if make and not path.exists() and not home.server_copy.exists():
        keyring.write(path, new_key().encode() + b"\n")
    with files.explained("read the recovery key (`pbs init` makes a missing one)", path):
        text = keyring.read(path).decode("ascii", "replace").strip()
    if not re.fullmatch(r"([A-Z2-7]{4}-){7}[A-Z2-7]{4}", text):
        raise HomeError(
            f"{path} is no recovery key: it is empty or damaged",
            f"put it back from the recovery sheet, or move it and {home.server_copy} away and run `pbs init`",
        )
    return text


def handle_on(path: Path, key: str, cache: Path, inherit: tuple[int, ...] = ()) -> Handle:
    """What opens a repository of copies."""
    return Handle(path=path, password=key, cache=cache, inherit=inherit)


@contextmanager
def opened(home: Home) -> Iterator[Handle]:
    """This home's copies; nobody else makes or removes one meanwhile.

    Raises:
        LeaseHeld: somebody else is just at it.
        HomeError: the recovery key is missing.
    """
    with files.locked(home.locks / "server-copy.lock", what="the copy of the server") as lock:
        yield handle_on(home.server_copy, recovery_key(home), home.cache, (lock.descriptor,))


async def make(home: Home, ledger: Ledger, clock: Clock) -> Copied:
    """Copy ledger, configuration and keys as they are now, let go of old copies, and note it in the ledger.

    Raises:
        PbsError: it could not be made; older copies are untouched.
    """
    recovery_key(home, make=True)
    signature = await asyncio.to_thread(look, home)
    with opened(home) as handle:
        if not home.server_copy.exists():
            await repository.create(home.server_copy, handle.password, home.cache, clock.now())
        # Only we write there, and the lock is ours: whoever holds one of restic's is dead.
        repository.clear_locks(home.server_copy)
        with scratch(home.ledger.parent, STAGING) as stage:
            await asyncio.to_thread(_gather, home, stage.path, clock)
            made = await repository.store(handle, stage.path, HOST)
        dropped = superfluous(await repository.kept(handle))
        await repository.forget(handle, dropped)
    ledger.note(clock.now(), EVENT, {"snapshot": made, "signature": signature}, about=None)
    return Copied(made, len(dropped))


def _gather(home: Home, stage: Path, clock: Clock) -> None:
    """Put together what a copy holds, each thing where it lies in a home."""
    for relative in _names(home):
        files.make_folder((stage / relative).parent)
        # What was removed a moment ago is no part of the copy.
        if (home.root / relative).is_file():
            files.copy_file(home.root / relative, stage / relative)
            (stage / relative).chmod(files.PRIVATE_FILE)
    target = stage / home.ledger.relative_to(home.root)
    files.make_folder(target.parent)
    copy(home.ledger, target)
    about = {"made": stamp(clock.now()), "home": str(home.root), "pbs": __version__}
    files.write(stage / "copy.json", json.dumps(about).encode() + b"\n")


def _names(home: Home) -> list[Path]:
    """Every file of the configuration and every key, from the home."""
    found = [Path("pbs.toml")]
    for folder in (home.sources_d, home.keys):
        if folder.is_dir():
            found += sorted(
                path.relative_to(home.root) for path in folder.iterdir() if not path.name.endswith(".tmp")
            )
    return found


def look(home: Home) -> str:
    """What configuration and keys look like: another text means that something of them changed."""
    digest = hashlib.sha256()
    for relative in _names(home):
        try:
            status = os.lstat(home.root / relative)
        except OSError:
            continue
        digest.update(
            f"{relative}\0{status.st_mtime_ns}\0{status.st_size}\n".encode("utf-8", "surrogateescape")
        )
    return digest.hexdigest()


def superfluous(copies: Sequence[Kept]) -> list[str]:
    """Which copies may go. Pure."""
    newest_first = sorted(copies, key=lambda each: each.time, reverse=True)
    stays = {each.id for each in newest_first[:NEWEST]}
    for form, most in (("%Y-%m-%d", DAYS), ("%Y-%m", MONTHS)):
        firsts: dict[str, str] = {}
        for each in newest_first:
            firsts.setdefault(each.time.strftime(form), each.id)
        stays |= set(list(firsts.values())[:most])
    return [each.id for each in newest_first if each.id not in stays]


def newest(ledger: Ledger) -> datetime | None:
    """When the newest copy was made, as the ledger tells it."""
    return ledger.upkeep.last_noted(EVENT)


def copied_signature(ledger: Ledger) -> str | None:
    """What configuration and keys looked like when they were last copied."""
    noted = ledger.noted(EVENT, about=None)
    return str(noted[-1].get("signature")) if noted else None

"""The mounts that are open: one record and one lock for each, so that a killed server leaves nothing for ever.

The lock is held by the server and by its restic: who obtains it knows that both are gone, and clears what they left.
It never removes anything but the names that a mount of ours consists of.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pbs import files
from pbs.clock import parse_stamp, stamp
from pbs.files import FileLock
from pbs.restore.points import detach

IDS = "ids"
RECEIVED = "received"
LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Mount:
    """One open mount. `made` = the folder did not exist before and goes with it."""

    source: str
    directory: Path
    pid: int
    opened: datetime
    expires: datetime | None
    snapshots: int
    made: bool = False

    @property
    def ids(self) -> Path:
        """The mount point itself."""
        return self.directory / IDS


def record_path(records: Path, directory: Path) -> Path:
    """Where the record of a mount at `directory` is kept."""
    return records / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]}.json"


def lock_of(record: Path) -> FileLock:
    """The lock that says whether somebody serves this mount."""
    return FileLock(record.with_suffix(".lock"))


def keep(records: Path, mount: Mount) -> None:
    """Write the record, before anything is mounted."""
    values = {
        "source": mount.source,
        "directory": os.fsdecode(mount.directory),
        "pid": mount.pid,
        "opened": stamp(mount.opened),
        "expires": stamp(mount.expires),
        "snapshots": mount.snapshots,
        "made": mount.made,
    }
    files.write(record_path(records, mount.directory), json.dumps(values).encode())


def read(record: Path) -> Mount | None:
    """The mount of a record; None where it is damaged or gone."""
    try:
        values: dict[str, Any] = json.loads(record.read_bytes())
        expires = values["expires"]
        return Mount(
            str(values["source"]), Path(values["directory"]), int(values["pid"]), parse_stamp(values["opened"]),
            parse_stamp(expires) if expires else None, int(values["snapshots"]), bool(values["made"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def mounts(records: Path) -> list[Mount]:
    """The mounts that are open now, by folder; what killed servers left is cleared first."""
    await sweep(records)
    found = [read(record) for record in records.glob("*.json")]
    return sorted((mount for mount in found if mount is not None), key=lambda mount: mount.directory)


async def sweep(records: Path) -> list[Mount]:
    """Clear what killed servers left, dead mounts included, and say what that was."""
    cleared = []
    for record in sorted(records.glob("*.json")):
        lock = lock_of(record)
        if not lock.acquire():
            continue
        try:
            mount = read(record)
            if mount is not None:
                await clear(mount)
                cleared.append(mount)
            forget(record)
        finally:
            lock.release()
    return cleared


def forget(record: Path) -> None:
    """Remove a record and its lock; the caller holds the lock."""
    files.remove_file(record)
    files.remove_file(record.with_suffix(".lock"))


async def clear(mount: Mount) -> None:
    """Take away the mount and the names around it; a folder that somebody put something into stays."""
    if not await detach(mount.ids):
        await detach(mount.ids, lazy=True)
    if (mount.directory / LATEST).is_symlink():
        files.remove_file(mount.directory / LATEST)
    received = mount.directory / RECEIVED
    with suppress(OSError):
        for link in [] if received.is_symlink() else list(received.iterdir()):
            if link.is_symlink():
                files.remove_file(link)
    files.remove_folder(received)
    files.remove_folder(mount.ids)
    if mount.made:
        files.remove_folder(mount.directory)

"""Make a repository, whole or not at all, with a key that opens fast; find our key in one that was there.

It never touches a path where something lies.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pbs import files
from pbs.clock import stamp
from pbs.errors import PbsError, RepositoryReplaced, ResticError
from pbs.repository import blank
from pbs.repository.contents import FOLDERS
from pbs.repository.keyfile import key_cost, open_key, seal_key
from pbs.repository.restic import Handle, identity, require
from pbs.scratch import scratch
from pbs.threads import in_thread

PACK_FOLDERS = 256


async def create(path: Path, password: str | None, cache: Path, now: datetime) -> tuple[str, str]:
    """Make an empty repository and say its id and the id of our key in it.

    It is made beside `path` and gets its name when it is whole; what a killed call left is removed by the next.

    Args:
        path: Where it shall be.
        password: Its password, a random one, since its key is cheap to try; None = none.
        cache: Where restic may cache.
        now: When its key was made.

    Raises:
        RepositoryReplaced: something lies at `path` already.
        ToolMissing: restic is missing or too old.
        ResticError: restic does not open what was made.
        HomeError: no space, or no permission.
    """
    if path.exists() or path.is_symlink():
        raise RepositoryReplaced(
            f"no repository can be made at {path}: something lies there", "move it away first"
        )
    await require()
    with scratch(path.parent, f"{path.name}.new-") as made:
        # The scratch folder carries the lock, so the repository is a folder in it.
        half = made.path / "repository"
        found, key = await in_thread(_put, half, password or "", stamp(now) or "")
        if await identity(Handle(half, password, cache, key, inherit=(made.descriptor,))) != found:
            raise ResticError("restic sees another repository than the one that was just made", "try again")
        files.publish_folder(half, path)
        return found, key


async def own_key(handle: Handle) -> str | None:
    """The id of a key that the handle's password opens, the cheapest first; None where none does."""
    found = []
    for entry in sorted((handle.path / "keys").iterdir()):
        try:
            content = entry.read_bytes()
            open_key(content, handle.password or "")
        except (OSError, PbsError):
            continue
        found.append((key_cost(content), entry.name))
    return min(found)[1] if found else None


def _put(path: Path, password: str, created: str) -> tuple[str, str]:
    """Lay an empty repository there; its id, and that of its key."""
    for folder in ("", *FOLDERS, *(f"data/{number:02x}" for number in range(PACK_FOLDERS))):
        files.make_folder(path / folder)
    master = blank.master_key()
    key, content = seal_key(master, password, created)
    files.write(path / "keys" / key, content, files.READ_ONLY)
    found, config = blank.config(master)
    files.write(path / "config", config, files.READ_ONLY)
    return found, key

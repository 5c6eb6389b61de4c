"""Make a repository, whole or not at all, with a key that opens fast; find our key in one that was there.

It never touches a path where something lies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pbs import files
from pbs.errors import PbsError, RepositoryReplaced, ResticError
from pbs.repository import messages
from pbs.repository.keyfile import key_cost, open_key, wrap_key
from pbs.repository.restic import Handle, identity, require
from pbs.scratch import scratch

INIT_SECONDS = 600.0


async def create(
    path: Path, password: str | None, cache: Path, *, cheap: bool = True
) -> tuple[str, str | None]:
    """Make an empty repository and say its id and the id of our key in it.

    It is made beside `path` and gets its name when it is whole; what a killed call left is removed by the next.

    Args:
        path: Where it shall be.
        password: Its password; None = none.
        cache: Where restic may cache.
        cheap: Whether the key shall open in no time: right for a random password and for none.

    Raises:
        RepositoryReplaced: something lies at `path` already.
        ToolMissing: restic is missing or too old.
        ResticError: restic could not make it.
        HomeError: no space, or no permission.
    """
    if path.exists() or path.is_symlink():
        raise RepositoryReplaced(
            f"no repository can be made at {path}: something lies there", "move it away first"
        )
    await require()
    with scratch(path.parent, f"{path.name}.new-") as made:
        # The scratch folder carries the lock, so the repository is a folder in it.
        half = Handle(made.path / "repository", password, cache, inherit=(made.descriptor,))
        done = await half.program(writing=True).run("init", "--json", timeout=INIT_SECONDS)
        found = (messages.record(done.stdout) or {}).get("id")
        key = _only_key(half.path)
        if cheap:
            key = await _cheaper(half, key, found)
        if found is None or not cheap:
            found = await identity(replace(half, key=key))
        files.publish_folder(half.path, path)
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


def _only_key(repository: Path) -> str:
    names = [entry.name for entry in (repository / "keys").iterdir()]
    if len(names) != 1:
        raise ResticError(f"restic made {len(names)} keys where one was expected", "try again")
    return names[0]


async def _cheaper(half: Handle, own: str, config_id: object) -> str:
    """Put a cheap key in place of restic's own; on any doubt restic's own stays."""
    keys, aside = half.path / "keys", half.path.parent / "expensive"
    try:
        name, cheap = wrap_key((keys / own).read_bytes(), half.password or "")
        files.write(keys / name, cheap)
    except PbsError:
        return own
    files.hard_link(keys / own, aside)
    files.remove_file(keys / own)
    try:
        # restic would fall back to its own key if that still lay there: so this proves that the cheap one opens.
        if await identity(replace(half, key=name)) == config_id:
            return name
    except PbsError:
        pass
    files.hard_link(aside, keys / own)
    files.remove_file(keys / name)
    return own

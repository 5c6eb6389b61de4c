"""What lies in a snapshot, name by name. It never takes a name from restic's JSON where bytes got lost in it."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pbs.errors import NotFound, ResticError
from pbs.program import Program
from pbs.repository import messages
from pbs.repository.messages import REPLACED, Entry, lossy
from pbs.repository.pieces import Pieces, nodes, read_while
from pbs.repository.restic import ANSWER_SECONDS, Handle, present

T = TypeVar("T")
# The content of a file of a hundred terabytes takes less room in its folder.
MOST_OF_A_FOLDER = 8 << 30


async def listing(
    handle: Handle, snapshot_id: str, path: bytes = b"/", *, recursive: bool = False, most: int | None = None
) -> AsyncIterator[Entry]:
    """The contents of a folder, or the one file that `path` names; with `recursive` all below, folders first.

    A recursive listing has no link targets (restic does not tell them); `most` bounds the bytes of one folder's listing.

    Raises:
        NotFound: the snapshot holds no such path.
        TooMuch: the folder's listing is larger than `most`.
        ResticError: it cannot be read; what came before holds.
    """
    program = handle.program()
    where = normal(path)
    present(handle, snapshot_id)
    entries = _below(program, snapshot_id, where) if recursive else _folder(program, snapshot_id, where, most)
    nothing = True
    async for entry in entries:
        nothing = False
        yield entry
    if nothing and where != b"/" and await _lookup(program, snapshot_id, where) is None:
        raise messages.nothing_at(where)


async def entry_at(handle: Handle, snapshot_id: str, path: bytes, *, most: int | None = None) -> Entry | None:
    """What the snapshot holds at this very path; None for its root, which has a name in no folder.

    Raises:
        NotFound: nothing.
        TooMuch: the listing of the folder that it lies in is larger than `most`.
    """
    where = normal(path)
    present(handle, snapshot_id)
    if where == b"/":
        return None
    found = await _lookup(handle.program(), snapshot_id, where, most)
    if found is None:
        raise messages.nothing_at(where)
    return found


def normal(path: bytes) -> bytes:
    """The path from the snapshot's root without needless parts.

    Raises:
        NotFound: where it does not begin with `/`, or holds NUL.
    """
    if not path.startswith(b"/") or b"\0" in path:
        raise NotFound(f"{messages.cleaned(lossy(path))!r} is no path in a snapshot", "paths begin with /")
    return b"/" + posixpath.normpath(path).lstrip(b"/")


async def folder(
    handle: Handle,
    snapshot_id: str,
    path: bytes,
    take: Callable[[Iterator[Entry]], T],
    *,
    most: int | None = None,
) -> T | None:
    """What `take`, in a thread, makes of a folder's entries while they come; None where there is no such folder.

    Raises:
        NotFound: there is no such snapshot, or that is no path.
        TooMuch: the folder's listing is larger than `most`.
        ResticError: it cannot be read.
    """
    where = normal(path)
    return await _read(handle.program(), present(handle, snapshot_id), where, take, most)


async def _read(
    program: Program,
    snapshot_id: str,
    where: bytes,
    take: Callable[[Iterator[Entry]], T],
    most: int | None = None,
) -> T | None:
    def entries(found: Pieces) -> T | None:
        tree = nodes(found)
        if tree is None:
            return None
        return take(entry for values in tree if (entry := messages.child(values, where)) is not None)

    try:
        return await read_while(
            program, "cat", "tree", snapshot_id.encode() + b":" + where,
            take=entries, seconds=ANSWER_SECONDS, most=most if most is not None else MOST_OF_A_FOLDER,
        )  # fmt: skip
    except ResticError as error:
        if error.message.endswith((": not found", ": not a directory")):
            return None
        raise


async def _lookup(program: Program, snapshot_id: str, path: bytes, most: int | None = None) -> Entry | None:
    """The entry that has this very path."""
    return await _read(
        program,
        snapshot_id,
        posixpath.dirname(path),
        lambda entries: next((entry for entry in entries if entry.raw == path), None),
        most,
    )


async def _folder(program: Program, snapshot_id: str, path: bytes, most: int | None) -> AsyncIterator[Entry]:
    entries = await _read(program, snapshot_id, path, list, most)
    if entries is None:
        found = await _lookup(program, snapshot_id, path, most)
        entries = [found] if found else []
    for entry in entries:
        yield entry


@dataclass(slots=True)
class _Level:
    """One folder on the way down: how restic writes it, its exact path, the exact names that it cannot write."""

    shown: str
    raw: bytes
    hidden: dict[str, deque[bytes]] | None = None


def _way(path: bytes) -> list[_Level]:
    """The folders from the root down to `path`, itself included."""
    levels = [_Level("", b"")]
    for part in path.strip(b"/").split(b"/") if path != b"/" else ():
        levels.append(_Level(f"{levels[-1].shown}/{lossy(part)}", levels[-1].raw + b"/" + part))
    return levels


async def _below(program: Program, snapshot_id: str, path: bytes) -> AsyncIterator[Entry]:
    levels = _way(path)
    arguments: list[str | bytes] = ["ls", "--json", "--recursive", snapshot_id, path]
    async with program.child(*arguments) as child:
        async for line in child.lines():
            values = messages.record(line)
            if values is None or values.get("message_type") != "node":
                continue
            if path != b"/" and values.get("path") == lossy(path) and len(levels) == path.count(b"/") + 1:
                entry = messages.node(values, path)
                if entry is not None and entry.type != "dir":
                    yield entry
                continue
            entry = await _placed(program, snapshot_id, levels, values)
            if entry is not None:
                yield entry
        finished = await child.wait()
    if finished.code:
        raise program.explain(program.argv, finished)


async def _placed(
    program: Program, snapshot_id: str, levels: list[_Level], values: dict[str, Any]
) -> Entry | None:
    """The node under its exact path. restic lists a folder, then all in it, before its next sibling."""
    shown = values.get("path")
    if not isinstance(shown, str):
        return None
    parent, _, name = shown.rpartition("/")
    while len(levels) > 1 and levels[-1].shown != parent:
        levels.pop()
    level = levels[-1]
    if level.shown != parent or not messages.possible_name(name.encode("utf-8", "replace")):
        return None
    exact = await _exact(program, snapshot_id, level, name)
    if exact is None:
        return None
    entry = messages.node(values, level.raw + b"/" + exact)
    if entry is not None and entry.type == "dir":
        levels.append(_Level(shown, entry.raw))
    return entry


async def _exact(program: Program, snapshot_id: str, level: _Level, name: str) -> bytes | None:
    if REPLACED not in name:
        return name.encode("utf-8", "surrogatepass")
    if level.hidden is None:
        level.hidden = {}
        for entry in await _read(program, snapshot_id, level.raw or b"/", list) or ():
            raw = posixpath.basename(entry.raw)
            if REPLACED in lossy(raw):
                level.hidden.setdefault(lossy(raw), deque()).append(raw)
    waiting = level.hidden.get(name)
    return waiting.popleft() if waiting else None

"""Whether a snapshot is whole, and its tree one that people can live with: looked at in a view that holds nothing else.

Whole: each blob that it needs is in the index that was made here. Sane: names that a file can have, in order and once,
no deeper than any system allows, not more of them than what was sent can explain, nor than can be listed in the time that
its source took to walk them.
It decides nothing: what it finds wrong is an error with a reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbs.bounds import Bounds
from pbs.errors import ResticError
from pbs.repository import messages
from pbs.repository.inspection import Exceeded, answered, bounded, indexed, largest, together
from pbs.repository.messages import REPLACED, TYPES
from pbs.repository.restic import LEAST_MEMORY, Handle, once_more
from pbs.repository.views import view

MEMORY_PER_BYTE = 32
CPU_SECONDS, CPU_BYTES = 600, 100_000
MOST_DEPTH = 2048
MOST_SAID = 3
LEAST_SECONDS = 120.0
# So many entries are listed whatever they lie in. Beyond, each takes this much of a folder that somebody sent, and honest
# folders that are the same ones in many places (a system's own snapshots) are so in at most so many.
LEAST_ENTRIES = 200_000
ENTRY_BYTES, COPIES = 100, 200
# So much is enough for anybody's next snapshot, and is not looked for further; nor in more index files than these.
ENOUGH_ENTRIES, MOST_INDEXES = 10_000_000, 20
BEYOND = "something that restic breaks over, or cannot look at within its bounds of memory and time"


class UnsoundTree(ResticError):
    """A snapshot lacks something, or its tree is none that a system could hold."""


class EndlessTree(UnsoundTree):
    """A snapshot lists more entries than it may."""


@dataclass(slots=True)
class Tree:
    """What a walk through a snapshot counted."""

    files: int = 0
    bytes: int = 0
    others: int = 0
    special: int = 0


@dataclass(slots=True)
class _Walk:
    """The nodes of a tree as restic lists them: a folder, then all in it, before its next sibling."""

    tree: Tree = field(default_factory=Tree)
    levels: list[list[str]] = field(default_factory=lambda: [["", ""]])
    most: int = LEAST_ENTRIES
    seen: int = 0

    def take(self, line: bytes) -> None:
        values = messages.record(line)
        if values is None or values.get("message_type") != "node":
            return
        self.seen += 1
        if self.seen > self.most:
            raise EndlessTree(
                f"it holds more than {self.most} entries, which what was sent does not explain",
                "look at that machine; if it is an honest one, `max_entries` of the source lets it have more",
            )
        name, path, kind = values.get("name"), values.get("path"), values.get("type")
        if not isinstance(name, str) or not isinstance(path, str):
            raise _unsound("an entry without a name")
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise _unsound(f"an entry with the impossible name {messages.cleaned(name, 60)!r}")
        parent = path[: -len(name) - 1]
        while len(self.levels) > 1 and self.levels[-1][0] != parent:
            self.levels.pop()
        level = self.levels[-1]
        if level[0] != parent or path != f"{parent}/{name}":
            raise _unsound(f"an entry in no folder of it: {messages.cleaned(path, 60)!r}")
        if level[1] >= name and REPLACED not in name + level[1]:
            raise _unsound(f"the name {messages.cleaned(name, 60)!r} twice in a folder, or out of order")
        level[1] = name
        self._count(values, kind)
        if kind == "dir":
            if len(self.levels) > MOST_DEPTH:
                raise _unsound(f"folders more than {MOST_DEPTH} deep")
            self.levels.append([path, ""])

    def _count(self, values: Mapping[str, Any], kind: object) -> None:
        if kind == "file":
            self.tree.files += 1
            self.tree.bytes += messages.count(values.get("size", 0)) or 0
        elif kind in TYPES:
            self.tree.others += 1
            self.tree.special += kind not in ("dir", "symlink")
        else:
            raise _unsound("an entry of no kind that restic knows")


async def sound(
    handle: Handle,
    work: Path,
    snapshot_id: str,
    index: Mapping[str, int],
    seconds: float,
    most: int | None = None,
    usual: int = 0,
) -> Tree:
    """Find out whether a snapshot is whole and sane.

    Args:
        handle: The repository; nothing but admitted packs may lie in it.
        work: A folder of ours on the same file system.
        snapshot_id: The whole id.
        index: The admitted index files with their sizes.
        seconds: How long listing it may take.
        most: How many entries it may have; None = as many as what lies there explains.
        usual: About how many the snapshot before had.

    Raises:
        UnsoundTree: it is not, with the reason.
        PbsError: that could not be found out.
    """
    with view(handle.path, work, [snapshot_id], handle.key, index) as shown:
        limited = bounded(handle, shown.path, shown.descriptor, bounds_of(index))
        return await once_more(lambda: _measured(limited, snapshot_id, seconds, most, usual))


async def _measured(handle: Handle, snapshot_id: str, seconds: float, most: int | None, usual: int) -> Tree:
    bound = most
    if bound is None:
        bound = await explained(handle, usual) if 2 * usual > LEAST_ENTRIES else LEAST_ENTRIES
    try:
        return await _looked_through(handle, snapshot_id, seconds, bound)
    except EndlessTree:
        # Only now is it worth while to find out how many there may be.
        more = await explained(handle, usual) if most is None else bound
        if more <= bound:
            raise
    return await _looked_through(handle, snapshot_id, seconds, more)


async def _looked_through(handle: Handle, snapshot_id: str, seconds: float, most: int) -> Tree:
    _, tree = await together(_whole(handle), _walk(handle, snapshot_id, seconds, most))
    return tree


async def explained(handle: Handle, usual: int) -> int:
    """How many entries the folders that lie in a repository can hold, many of them in many places; or enough of them."""
    found = 0
    for each in largest(handle, MOST_INDEXES):
        _, arrived = await indexed(handle, each)
        found += COPIES * (arrived.folders // ENTRY_BYTES)
        if found > ENOUGH_ENTRIES + 4 * usual:
            break
    return max(LEAST_ENTRIES, found)


def patience(seconds: float) -> float:
    """How long a look through a snapshot may take that its source made in so many seconds: twice that, and two minutes."""
    return max(LEAST_SECONDS, 2 * seconds)


def bounds_of(index: Mapping[str, int]) -> Bounds:
    """What a restic may use that looks through a snapshot with this index."""
    total = sum(index.values())
    return Bounds(LEAST_MEMORY + MEMORY_PER_BYTE * total, CPU_SECONDS + total // CPU_BYTES)


async def _whole(handle: Handle) -> None:
    said: list[str] = []
    summaries: list[dict[str, Any]] = []

    def take(line: bytes) -> None:
        values = messages.record(line) or {}
        if values.get("message_type") == "summary":
            summaries.append(values)

    def complain(line: bytes) -> None:
        if len(said) < MOST_SAID:
            said.append(messages.complaint(line[:1024].decode("utf-8", "replace")))

    try:
        await answered(
            handle, "check", "--json", allow=frozenset({0, 1}), on_line=take, on_complaint=complain
        )
    except Exceeded as error:
        raise _unsound(BEYOND, error.status) from error
    if len(summaries) != 1 or summaries[0].get("num_errors"):
        raise _unsound(f"a tree that is not whole ({'; '.join(said) or 'restic does not say why'})")


async def _walk(handle: Handle, snapshot_id: str, seconds: float, most: int) -> Tree:
    walk = _Walk(most=most)
    try:
        async with asyncio.timeout(seconds):
            await answered(handle, "ls", "--json", "--recursive", snapshot_id, on_line=walk.take)
    except TimeoutError as error:
        raise _unsound(
            f"more entries than could be listed within {seconds:g} s, far longer than its source took to walk them"
        ) from error
    except Exceeded as error:
        raise _unsound(BEYOND, error.status) from error
    except UnsoundTree:
        raise
    except ResticError as error:
        raise _unsound(f"a tree that cannot be listed ({error.message})") from error
    return walk.tree


def _unsound(what: str, status: int = 1) -> UnsoundTree:
    return UnsoundTree(f"it holds {what}", "look at that machine", status)

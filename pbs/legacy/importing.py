"""The newest state of a legacy tree becomes a snapshot. Interrupted, it leaves no snapshot and can be done again.

It reads the tree and never changes what was backed up there. Where names on disk are not the real ones, rdiff-backup
itself restores them into a scratch folder first; where the last session was interrupted, a copy is set back first.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pbs.errors import ToolError, ToolMissing
from pbs.legacy.messages import Backup
from pbs.legacy.trees import DATA, LegacyTree, State, examine
from pbs.model import SNAPSHOT_ID
from pbs.process import Finished, find_tool, run
from pbs.program import Program, tool_failed
from pbs.scratch import Scratch, scratch

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PREFIX = "import-"
INCOMPLETE = 3
LOOK_SECONDS = 1.0
# Bits of rdiff-backup's exit code that say no more than that it warned.
WARNED = 2 | 8


class Opens(Protocol):
    """A repository that restic may write to."""

    def program(self, *, writing: bool = False) -> Program:
        """restic, bound to it."""
        ...


async def import_newest(
    tree: LegacyTree,
    repository: Opens,
    *,
    source: str,
    run: str,
    work: Path,
    progress: Callable[[dict[str, Any]], None] = lambda _: None,
    look: Callable[[], None] = lambda: None,
) -> tuple[str, datetime]:
    """Make a snapshot of the newest complete state: its id, and when that state was taken.

    Args:
        tree: As `find` gave it.
        repository: Where to.
        source: The source's name, as host and tag.
        run: The run's id, as tag.
        work: A folder of ours for scratch, on a disk with room for the tree where it must be copied.
        progress: Called with events as an agent sends them: progress, warning, summary, log.
        look: Called each second while the tree is copied; what it raises ends the import.

    Raises:
        ToolError: it cannot be imported now; there is no snapshot, and the next try uses again what was stored.

    Cancelling ends what runs; there is no snapshot then.
    """
    state = examine(tree)
    with ExitStack() as stack:
        folder = tree.path
        if state.interrupted or state.quoted:
            place = stack.enter_context(scratch(work, PREFIX))
            folder = await _prepared(tree, state, place, progress, partial(_tool, place.descriptor, look))
        snapshot = await _backup(
            folder, state.newest, repository.program(writing=True), source, run, progress
        )
        return snapshot, state.newest


async def _backup(
    folder: Path,
    moment: datetime,
    restic: Program,
    source: str,
    run_id: str,
    progress: Callable[[dict[str, Any]], None],
) -> str:
    place = os.path.realpath(folder)
    backup = Backup(progress)
    await restic.run(
        "backup", "--json", f"--host={source}", f"--tag=source={source}", f"--tag=run={run_id}", "--tag=legacy",
        # restic reads this as local time: its environment says UTC.
        f"--time={moment:%Y-%m-%d %H:%M:%S}",
        # By its absolute path: a folder of this name deeper down is data.
        b"--exclude=" + _pattern(os.fsencode(f"{place}/{DATA}")),
        # Never another snapshot as parent: somebody may have forged one for this very folder.
        "--force", "--", ".",
        cwd=Path(place), allow=frozenset({0, INCOMPLETE}), on_line=backup.line, on_complaint=backup.complain,
    )  # fmt: skip
    if backup.snapshot is None or not SNAPSHOT_ID.fullmatch(backup.snapshot):
        raise ToolError("restic ended the import without naming a snapshot", "try again")
    return backup.snapshot


def _pattern(path: bytes) -> bytes:
    return re.sub(rb"[\\*?\[]", lambda found: b"\\" + found[0], path)


async def _prepared(
    tree: LegacyTree,
    state: State,
    place: Scratch,
    progress: Callable[[dict[str, Any]], None],
    tool: Callable[..., Awaitable[object]],
) -> Path:
    """A folder that holds the newest complete state under its real names."""
    mirror = tree.path
    if state.interrupted:
        _refuse_live(tree)
        progress(
            {"event": "log", "text": "its last session was interrupted: a copy of the tree is set back first"}
        )
        mirror = place.path / "copy"
        await tool("cp", "-a", "--reflink=auto", "--", tree.path, mirror)
        await tool("rdiff-backup", "--force", "regress", mirror)
        if examine(LegacyTree(mirror)).newest != state.newest:
            raise ToolError("rdiff-backup did not set the copy back to its last complete session",
                            f"try `rdiff-backup regress {tree.path}` by hand")  # fmt: skip
    if not state.quoted:
        return mirror
    progress({"event": "log", "text": "its names are quoted: rdiff-backup restores them first"})
    plain = place.path / "plain"
    await tool("rdiff-backup", "restore", mirror, plain)
    return plain


def _refuse_live(tree: LegacyTree) -> None:
    """Never copy a tree that is being written: its sessions name their process."""
    for marker in tree.data.glob("current_mirror.*"):
        found = re.match(rb"PID (\d{1,10})", marker.read_bytes()[:64]) if marker.is_file() else None
        command = Path("/proc") / found[1].decode() / "cmdline" if found else None
        if command and command.exists() and b"rdiff-backup" in command.read_bytes():
            raise ToolError(
                f"rdiff-backup is writing to {tree.path} just now", "stop that job: this server replaces it"
            )


async def _tool(lock: int, look: Callable[[], None], name: str, *arguments: str | Path) -> Finished:
    found = find_tool(name)
    if found is None:
        raise ToolMissing(
            f"{name} is not installed on this server, and this legacy tree cannot be read without it",
            'install rdiff-backup 2, or set migrate = "off"',
        )
    if any("::" in os.fspath(argument) for argument in arguments):
        raise ToolError("a path with `::` names a remote host to rdiff-backup", "rename the folder")
    command = [found, *arguments]
    environment = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent"}
    finished = await _watched(run(command, env=environment, inherit=(lock,)), look)
    if finished.code & ~WARNED:
        raise tool_failed(command, finished)
    return finished


async def _watched(work: Coroutine[Any, Any, Finished], look: Callable[[], None]) -> Finished:
    """What comes of it, unless `look` raises meanwhile; it has ended then."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
            look()
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

"""The history that was there before: an rdiff-backup tree with several sessions, made by the real rdiff-backup.

It writes below the tree's own folder only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pbs import files
from pbs.errors import ToolError, ToolMissing
from pbs.process import find_tool, run

DAY_SECONDS = 86400
SESSIONS = 4
SESSION_SECONDS = 120.0


async def make(source: Path, tree: Path, now: float, change: Callable[[int], None]) -> int:
    """Back the source up once for each of the last days, with `change(day)` between; returns the increments.

    Raises:
        ToolError: rdiff-backup is missing or fails.
    """
    program = find_tool("rdiff-backup")
    if program is None:
        raise ToolMissing("rdiff-backup is not installed", "./bootstrap install")
    files.make_folder(tree.parent)
    for day in range(SESSIONS):
        if day:
            change(day)
        moment = int(now) - (SESSIONS - day) * DAY_SECONDS
        # Said, not waited for: two sessions in one second are refused.
        options = ("--api-version", "201", "--current-time", str(moment))
        done = await run([program, *options, "backup", source, tree], timeout=SESSION_SECONDS)
        if done.code:
            raise ToolError(f"rdiff-backup failed: {done.stderr.strip()[-500:]}")
    increments = len(list((tree / "rdiff-backup-data").glob("increments.*.dir")))
    if increments != SESSIONS - 1:
        raise ToolError(f"rdiff-backup left {increments} increments where {SESSIONS - 1} were made")
    return increments

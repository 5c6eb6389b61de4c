"""How long the logs of runs are kept: by age, by number for each source, and by size for all together.

It never removes the log of a run that goes on, nor the newest few of a source, however old or large they are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pbs.files import remove_file, remove_folder
from pbs.model import RunLogs

NEWEST = 20


@dataclass(frozen=True, slots=True)
class LogFile:
    """The log of one run: whose, when it was last written, how large."""

    path: Path
    source: str
    written: datetime
    bytes: int


def thin_out(folder: Path, keep: RunLogs, now: datetime, running: Collection[str]) -> int:
    """Remove the logs that need not be kept; how many went."""
    doomed = superfluous(_found(folder), keep, now, running)
    for each in doomed:
        with suppress(OSError):
            remove_file(each.path)
            remove_folder(each.path.parent)
    return len(doomed)


def superfluous(
    logs: Sequence[LogFile], keep: RunLogs, now: datetime, running: Collection[str]
) -> list[LogFile]:
    """Which logs may go. Pure."""
    oldest = now - timedelta(days=keep.days)

    newest_first = sorted(logs, key=lambda each: (each.written, each.path.name), reverse=True)
    number: dict[str, int] = {}
    doomed: list[LogFile] = []
    free: list[LogFile] = []
    for each in newest_first:
        number[each.source] = number.get(each.source, 0) + 1
        if each.path.stem in running or number[each.source] <= NEWEST:
            continue
        gone = number[each.source] > keep.count or each.written < oldest
        (doomed if gone else free).append(each)
    over = sum(each.bytes for each in logs) - sum(each.bytes for each in doomed) - keep.size
    for each in reversed(free):
        if over <= 0:
            break
        doomed.append(each)
        over -= each.bytes
    return doomed


def _found(folder: Path) -> list[LogFile]:
    found = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(".jsonl"):
                    written = datetime.fromtimestamp(status.st_mtime, UTC)
                    found.append(LogFile(Path(entry.path), place.name, written, status.st_size))
    return found

"""Take a legacy tree away: out of its place at once, then bit by bit. Killed at any moment, the next call goes on.

It never follows a link, never leaves the file system that the tree lies on, and never touches what is not below the
backup root. Whether a tree may go is for others to judge.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pbs import files, removal
from pbs.errors import ToolError
from pbs.legacy.trees import find

PREFIX = "legacy-gone"
MOUNTS = Path("/proc/self/mountinfo")


def obstacle(path: Path, root: Path) -> str | None:
    """Why the tree at `path` must not be removed by a program; None where nothing is odd about it.

    Args:
        path: Where it lies.
        root: The folder that it must lie directly in.
    """
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return "it is a symbolic link"
        if not stat.S_ISDIR(status.st_mode) or find(path) is None:
            return "it is no rdiff-backup tree"
        if Path(os.path.realpath(path)).parent != Path(os.path.realpath(root)):
            return f"it does not lie directly in {root}"
        if status.st_dev != root.lstat().st_dev or any(_mounts_below(path)):
            return "another file system is mounted there"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    return None


def size_of(path: Path) -> int:
    """Bytes on the disk that end with the tree, each file with several names in it counted once."""
    total, seen = 0, set()
    for entry in _below(path):
        status = entry.stat(follow_symlinks=False)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
        total += status.st_blocks * 512
    return total


def set_aside(path: Path, root: Path, work: Path) -> None:
    """Take the tree out of its place, so that nothing ever sees half of it.

    Raises:
        ToolError: it must not be removed.
        HomeError: it cannot be moved.
    """
    reason = obstacle(path, root)
    if reason is not None:
        raise ToolError(
            f"the legacy tree {path} was not removed: {reason}",
            "remove it by hand, if nobody needs it any more",
        )
    place = work / PREFIX
    files.make_folder(place)
    with files.explained("move the legacy tree aside", path):
        path.rename(place / "0")
        files.sync_folder(place)
        files.sync_folder(root)


def half_gone(work: Path) -> bool:
    """Whether a tree was set aside whose removal did not come to its end."""
    place = work / PREFIX
    return place.is_dir() and any(place.iterdir())


def remove(work: Path, stop: Callable[[], bool]) -> bool:
    """Remove what was set aside; False where `stop` said so before the end.

    Raises:
        HomeError: something cannot be removed; all else stays for the next call.
    """
    place = work / PREFIX
    with files.explained("remove the legacy tree", place):
        gone = removal.remove(place, stop)
        files.sync_folder(work)
    return gone


def _below(path: Path) -> Iterator[os.DirEntry[str]]:
    todo = [os.fspath(path)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except PermissionError:
            continue


def _mounts_below(path: Path) -> Iterator[bytes]:
    inside = os.fsencode(os.path.realpath(path)) + b"/"
    for line in MOUNTS.read_bytes().split(b"\n"):
        parts = line.split(b" ")
        # The few characters that are escaped there only make a mount be seen where there may be none.
        if len(parts) > 4 and parts[4].replace(b"\\040", b" ").startswith(inside):
            yield parts[4]

"""Trees that strangers made are removed, however deep, closed or many their names are; killed at any moment, the next call
goes on.

It follows no link and never leaves the file system that a tree lies on. That nobody needs it any more, whoever calls knows.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path


def remove(place: Path, stop: Callable[[], bool] = lambda: False) -> bool:
    """Remove a folder and everything below it; False where `stop` said so before the end. Nothing there is fine.

    However deep a tree is, its folders are first moved to the top, one level at a time: there is nothing to remember.

    Raises:
        OSError: something cannot be removed; all else stays for the next call.
    """
    try:
        status = place.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(place))
    place.chmod(0o700)
    while names := _names(place):
        for name in names:
            _flatten(place, name, status.st_dev, stop)
            if stop():
                return False
    place.rmdir()
    return True


def _flatten(place: Path, name: str, device: int, stop: Callable[[], bool]) -> None:
    """Remove one name at the top, its folders moved up beside it."""
    path = place / name
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        path.unlink()
        return
    if status.st_dev != device:
        raise OSError(0, "another file system is mounted there", os.fspath(path))
    path.chmod(0o700)
    with os.scandir(path) as children:
        for child in children:
            if stop():
                return
            if child.is_dir(follow_symlinks=False):
                # A folder can be moved by whoever may write into it. A name of chance is none that is there.
                os.chmod(child.path, 0o700)  # noqa: PTH101 - a tree has many files
                os.rename(child.path, place / secrets.token_hex(12))  # noqa: PTH104
            else:
                os.unlink(child.path)  # noqa: PTH108
    path.rmdir()


def _names(place: Path) -> list[str]:
    with os.scandir(place) as entries:
        return [entry.name for entry in entries]

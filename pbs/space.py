"""How full a file system is, and whether what is kept free of it still is: values, and the one look that makes them.

It frees nothing and stops nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pbs.text import size

# Of the names that a file system can hold so many per cent are kept, wherever any space is.
FILES_PERCENT = 1
# Bytes, or per cent of the disk: the larger one counts.
Reserve = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Space:
    """A file system: its bytes, and how many files it can hold (0 = it names no number); `free` = for us."""

    total: int
    free: int
    files: int = 0
    free_files: int = 0


def space_of(path: Path) -> Space:
    """The file system that a folder lies on."""
    status = os.statvfs(path)
    return Space(
        status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize, status.f_files, status.f_favail
    )


def kept_free(reserve: Reserve, space: Space) -> int:
    """How many bytes of it a reserve is."""
    least, percent = reserve
    return max(least, space.total * percent // 100)


def shortage(reserve: Reserve, space: Space, share: float = 1.0) -> str | None:
    """What there is too little of where a reserve, or a share of it, must stay free; None where there is enough."""
    if reserve == (0, 0):
        return None
    kept = kept_free(reserve, space)
    if space.free < kept * share:
        return f"the disk of this server is full ({size(space.free)} free): `reserve` keeps {size(kept)} of it free"
    if space.files and space.free_files < space.files * FILES_PERCENT / 100 * share:
        return f"the disk of this server holds nearly as many files as it can ({space.free_files} more)"
    return None

"""How full a file system is, whether what is kept free of it still is, and when it will be full: values, and the one look
that makes them.

It frees nothing and stops nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pbs.text import size

# Of the names that a file system can hold so many per cent are kept, wherever any space is.
FILES_PERCENT = 1
# What grew before that says little of how it grows now.
LOOK_BACK = timedelta(days=14)
# Bytes, or per cent of the disk: the larger one counts.
Reserve = tuple[int, int]
# What was seen of less than so many runs, or over less time, says nothing of the days to come.
LEAST_RUNS, LEAST_GROWN = 3, timedelta(days=2)
MOST_DAYS = 3650


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


@dataclass(frozen=True, slots=True)
class Growth:
    """What was added to a repository by the runs after a moment: how many they were, and their bytes less those that pruning freed."""

    since: datetime
    runs: int
    bytes: int

    def per_day(self, now: datetime) -> int | None:
        """Bytes in a day; None where too little was seen to say."""
        if self.runs < LEAST_RUNS or now - self.since < LEAST_GROWN:
            return None
        return round(self.bytes / ((now - self.since) / timedelta(days=1)))


def together(rates: Iterable[int | None]) -> int | None:
    """What several grow by in a day, as far as it is known of them; None where it is of none."""
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def days_to_full(left: int, per_day: int | None) -> int | None:
    """In how many days there is no room left; None where that is unknown, never, or in more than ten years."""
    if left <= 0:
        return 0
    if per_day is None or per_day <= 0 or left // per_day > MOST_DAYS:
        return None
    return left // per_day

"""Read files again that were written long ago: each one's name is the hash of its content, so no key is needed.

It finds what a disk has done to a repository: changed, cut and missing files. It changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20
CHANGED, GONE, UNREADABLE = "its content is not what it was", "it is gone", "it cannot be read"


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading some files: how many, how many bytes, and what is wrong with which.

    `lying` are those of the wrong ones that no disk has changed: they never held what they say.
    """

    files: int
    bytes: int
    bad: Mapping[str, str]
    lying: frozenset[str] = frozenset()


def read_again(folder: Path, known: Collection[str], stop: Callable[[], bool] = lambda: False) -> Reading:
    """Read the files that should be in a folder; no more of them once `stop` says so."""
    count, total, bad = 0, 0, {}
    for name in sorted(known):
        if stop():
            break
        read, fault = _read(folder / name)
        if fault is not None:
            # Once more: what a disk or a cable does wrong once is no damage yet.
            read, fault = _read(folder / name)
        if fault is not None:
            bad[name] = fault
        count, total = count + 1, total + read
    return Reading(count, total, bad)


def _read(path: Path) -> tuple[int, str | None]:
    digest, total = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                total += len(chunk)
    except FileNotFoundError:
        return 0, GONE
    except OSError as error:
        return total, f"{UNREADABLE}: {error.strerror}"
    return total, None if digest.hexdigest() == path.name else CHANGED

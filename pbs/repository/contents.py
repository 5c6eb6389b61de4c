"""Which files a repository consists of, by their names alone: no restic, no key, nothing read.

It never fails on junk: what fits nothing is a stray. Whether a name may be there is for others to judge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pbs import files
from pbs.model import SNAPSHOT_ID

PACK_FOLDER = re.compile(r"[0-9a-f]{2}")
# What rest-server, and restic on this disk, write to before it gets its name; killed ones leave it, nobody else removes it.
TORN = re.compile(r"[0-9a-f]{64}(\.rest-server-temp|-tmp-)[0-9]*")
MOST_STRAYS = 1000
NOTHING: Mapping[str, int] = {}
FOLDERS = frozenset({"data", "index", "keys", "locks", "snapshots"})


@dataclass(frozen=True, slots=True)
class Inventory:
    """The names that a repository holds. `strays` are bounded, and are paths from the repository."""

    config: bool
    snapshots: frozenset[str]
    keys: frozenset[str]
    index: frozenset[str]
    locks: frozenset[str]
    strays: tuple[str, ...]


def inventory(path: Path) -> Inventory:
    """The names in the repository at `path`, without its packs; a repository that is missing has none."""
    strays: list[str] = []
    found = {folder: _names(path / folder, strays) for folder in ("index", "keys", "locks", "snapshots")}
    for entry in entries(path):
        folder = entry.name in FOLDERS and entry.is_dir(follow_symlinks=False)
        config = entry.name == "config" and entry.is_file(follow_symlinks=False)
        if not folder and not config:
            _stray(strays, entry.name)
    return Inventory(
        (path / "config").is_file(),
        found["snapshots"],
        found["keys"],
        found["index"],
        found["locks"],
        tuple(strays),
    )


def packs(path: Path) -> dict[str, int]:
    """Each pack with its size in bytes; whatever else lies in the data folder is passed over."""
    found = {}
    for folder in entries(path / "data"):
        if PACK_FOLDER.fullmatch(folder.name) and folder.is_dir(follow_symlinks=False):
            for entry in entries(Path(folder.path)):
                if named_file(entry) and entry.name.startswith(folder.name):
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
    return found


def index_bytes(path: Path) -> int:
    """What the index takes."""
    return sum(
        entry.stat(follow_symlinks=False).st_size for entry in entries(path / "index") if named_file(entry)
    )


def clear_uploads(path: Path, looked: Mapping[str, int] = NOTHING) -> int:
    """Remove torn uploads, and say how many. Only where no source can reach the repository.

    `looked`: pack folders and their times, as a look through them left them: nothing came into one that still has it.
    """
    folders = [path / folder for folder in ("index", "keys", "locks", "snapshots")]
    for entry in entries(path / "data"):
        if entry.is_dir(follow_symlinks=False):
            time = entry.stat(follow_symlinks=False).st_mtime_ns if entry.name in looked else None
            if time is None or looked[entry.name] != time:
                folders.append(Path(entry.path))
    removed = 0
    for folder in folders:
        for entry in entries(folder):
            if TORN.fullmatch(entry.name):
                with suppress(OSError):
                    removed += files.remove_file(Path(entry.path))
    return removed


def _names(folder: Path, strays: list[str]) -> frozenset[str]:
    found = set()
    for entry in entries(folder):
        if named_file(entry):
            found.add(entry.name)
        else:
            _stray(strays, f"{folder.name}/{entry.name}")
    return frozenset(found)


def named_file(entry: os.DirEntry[str]) -> bool:
    """Whether this is a plain file whose name a repository could have given it."""
    return SNAPSHOT_ID.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _stray(strays: list[str], name: str) -> None:
    if len(strays) < MOST_STRAYS:
        strays.append(name.encode("utf-8", "backslashreplace").decode())


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder; nothing where there is none."""
    try:
        with os.scandir(folder) as found:
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return

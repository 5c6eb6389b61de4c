"""Folders of snapshots that somebody looked at, kept as files: a page of a hundred thousand names is read from its place.

What a snapshot holds never changes, so nothing kept here is ever stale; it is bounded, safe to delete, and holds names and
no content. It decides nothing about who may see what.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import struct
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from pbs import files
from pbs.repository import Entry

MOST_BYTES = 256 << 20
LEAST_FREE = 256 << 20
# The first line, then a line for each name; then where each line begins, once for each order; then how many there are.
MAGIC = b"pbs folder 1\n"
END = struct.Struct("<QQ")
WORD = 8


class Order(StrEnum):
    """How a folder is sorted: as restic keeps it, or by what people look for."""

    STORED = "stored"
    NAME = "name"
    SIZE = "size"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Listed:
    """A folder on the shelf, open for reading."""

    file: BinaryIO
    folder: bytes
    count: int
    start: int

    def part(
        self, after: int, limit: int, order: Order = Order.STORED, *, descending: bool = False
    ) -> list[Entry]:
        """So many entries behind the first `after` ones."""
        first, last = min(after, self.count), min(after + limit, self.count)
        if descending:
            first, last = self.count - last, self.count - first
        self.file.seek(self.start + (list(Order).index(order) * self.count + first) * WORD)
        places = array("Q", self.file.read((last - first) * WORD))
        found = [self._entry(place) for place in places]
        return found[::-1] if descending else found

    def named(self, name: bytes) -> Entry | None:
        """The entry of this very name."""
        if not self.count:
            return None
        with mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) as shown:
            place = shown.find(b'\n["' + base64.b64encode(name) + b'",', len(MAGIC) - 1, self.start)
        return self._entry(place + 1) if place >= 0 else None

    def _entry(self, place: int) -> Entry:
        self.file.seek(place)
        name, kind, mode, uid, gid, size, time, target, inode = json.loads(self.file.readline())
        return Entry(
            self.folder.rstrip(b"/") + b"/" + base64.b64decode(name), kind, mode, uid, gid, size,
            datetime.fromisoformat(time) if time is not None else None, target, inode,
        )  # fmt: skip


class Shelf:
    """The folders that are kept of one source, below a folder that all sources share."""

    def __init__(self, root: Path, source: str) -> None:
        self._root = root
        self._place = root / source

    def find(self, snapshot: str, folder: bytes) -> Listed | None:
        """A folder that was kept; None where it was not, or what is kept of it cannot be read."""
        path = self._path(snapshot, folder)
        with suppress(OSError):
            file = path.open("rb")
            listed = _opened(file, folder)
            if listed is not None:
                with suppress(OSError):
                    os.utime(path)
                return listed
            file.close()
        return None

    def keep(self, snapshot: str, folder: bytes, entries: Iterable[Entry]) -> Listed:
        """Keep a folder, whose entries come one by one. On a full disk it is kept until it is closed.

        Raises:
            HomeError: there is no room for it anywhere.
        """
        if files.roomy(self._place, LEAST_FREE) != self._place:
            file: BinaryIO = files.unnamed(files.roomy(files.SYSTEM_TEMPORARY, 0))  # type: ignore[assignment]
            _write(file, entries)
        else:
            path = self._path(snapshot, folder)
            with files.appearing(path) as descriptor, os.fdopen(os.dup(descriptor), "w+b") as written:
                _write(written, entries)
            file = path.open("rb")
            sweep(self._root, MOST_BYTES, but=path)
        listed = _opened(file, folder)
        assert listed is not None  # noqa: S101 - it was just written
        return listed

    def _path(self, snapshot: str, folder: bytes) -> Path:
        return self._place / sha256(snapshot.encode() + b":" + folder).hexdigest()


@contextmanager
def closing(listed: Listed | None) -> Iterator[None]:
    """Let go of a folder at the end of a block."""
    try:
        yield
    finally:
        if listed is not None:
            listed.file.close()


def sweep(root: Path, most: int, but: Path | None = None) -> None:
    """Remove what was not looked at for the longest time, until no more than `most` bytes are kept."""
    kept = []
    for path in root.glob("*/*"):
        with suppress(OSError):
            status = path.stat()
            kept.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= most:
            return
        if path != but:
            path.unlink(missing_ok=True)
            total -= size


def _write(file: BinaryIO, entries: Iterable[Entry]) -> None:
    file.write(MAGIC)
    places, sizes, times, folders = array("Q"), array("q"), array("d"), bytearray()
    place = len(MAGIC)
    for entry in entries:
        line = _line(entry)
        file.write(line)
        places.append(place)
        sizes.append(entry.size if entry.size is not None else -1)
        times.append(entry.mtime.timestamp() if entry.mtime is not None else 0.0)
        folders.append(entry.type != "dir")
        place += len(line)
    count = range(len(places))
    for order in (
        count,
        sorted(count, key=folders.__getitem__),
        sorted(count, key=sizes.__getitem__),
        sorted(count, key=times.__getitem__),
    ):
        array("Q", [places[index] for index in order]).tofile(file)
    file.write(END.pack(len(places), place))
    file.flush()


def _line(entry: Entry) -> bytes:
    name = base64.b64encode(entry.raw.rpartition(b"/")[2]).decode()
    time = entry.mtime.isoformat() if entry.mtime is not None else None
    values = [
        name,
        entry.type,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        time,
        entry.linktarget,
        entry.inode,
    ]
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _opened(file: BinaryIO, folder: bytes) -> Listed | None:
    """What was written, where it is whole."""
    whole = file.seek(0, os.SEEK_END)
    if whole < len(MAGIC) + END.size:
        return None
    file.seek(-END.size, os.SEEK_END)
    count, start = END.unpack(file.read(END.size))
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC or start + count * WORD * len(Order) + END.size != whole:
        return None
    return Listed(file, folder, count, start)

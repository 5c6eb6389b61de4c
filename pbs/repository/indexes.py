"""What an index says, as `restic cat index` prints it: read while it comes, since one pack may fill more than the pack is long.

It is only ever asked of indexes that were made here, from the packs' own headers: what these say may still be lies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

CHUNK = 1 << 20
LONGEST_MATCH = 128
# What sealing adds to each blob: a number before, a tag behind.
SEAL_BYTES = 32
# Content that packs no better than this, in per cent, does not pack.
DENSE = 95
# A list of folders says how long it is, and its maker may say anything: so many times its size is counted at most.
FOLDERS_PACK = 50
_PACK = rb'"id":"(?P<pack>[0-9a-f]{64})","blobs"'
_BLOB = (
    rb'"type":"(?P<kind>data|tree)","offset":(?P<offset>[0-9]{1,12}),"length":(?P<length>[0-9]{1,12})'
    rb'(?:,"uncompressed_length":(?P<plain>[0-9]{1,12}))?}'
)
_TOLD = re.compile(_PACK + rb"|" + _BLOB)


@dataclass(frozen=True, slots=True)
class Blob:
    """Where a blob lies in its pack, and how long it says to be unpacked; None = it came as it is."""

    kind: bytes
    offset: int
    length: int
    plain: int | None

    @property
    def packed(self) -> int:
        """Its bytes without the seal."""
        return max(0, self.length - SEAL_BYTES)


@dataclass(slots=True)
class Arrived:
    """What packs hold, in bytes.

    Attributes:
        plain: Content of files before it was packed.
        packed: The same after it was packed.
        dense: So much of `packed` hardly packs.
        folders: Lists of folders before they were packed.
    """

    plain: int = 0
    packed: int = 0
    dense: int = 0
    folders: int = 0

    def add(self, more: Arrived) -> None:
        """Together with these."""
        self.plain += more.plain
        self.packed += more.packed
        self.dense += more.dense
        self.folders += more.folders

    def content(self, plain: int, packed: int) -> None:
        """Some content of a file."""
        self.plain += plain
        self.packed += packed
        if 100 * packed >= DENSE * plain:
            self.dense += packed

    def count(self, blob: Blob) -> None:
        """One blob, by what it says of itself; content that came as it is says nothing."""
        if blob.kind == b"tree":
            plain = blob.packed if blob.plain is None else blob.plain
            self.folders += min(plain, FOLDERS_PACK * blob.packed)
        elif blob.plain is not None:
            self.content(blob.plain, blob.packed)


def told(file: IO[bytes]) -> Iterator[tuple[str, Blob | None]]:
    """Each pack that an index names, and behind it with its name each blob in it."""
    file.seek(0)
    kept, pack = b"", ""
    while chunk := file.read(CHUNK):
        text = kept + chunk
        last = 0
        for found in _TOLD.finditer(text):
            last = found.end()
            if found["pack"] is not None:
                pack = found["pack"].decode()
                yield pack, None
            else:
                plain = found["plain"]
                yield (
                    pack,
                    Blob(
                        found["kind"],
                        int(found["offset"]),
                        int(found["length"]),
                        None if plain is None else int(plain),
                    ),
                )
        kept = text[max(last, len(text) - LONGEST_MATCH) :]

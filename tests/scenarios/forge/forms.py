"""The forms that a repository is made of: packs, indexes, trees, and zstd frames that are longer inside than outside."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from forge.crypt import OVERHEAD, Master

DATA, TREE, ZDATA, ZTREE = range(4)
WORDS = {DATA: "data", TREE: "tree", ZDATA: "data", ZTREE: "tree"}
DIRECTORY, SYMLINK, DEVICE, PIPE, SOCKET, SETUID, SETGID, CHARACTER, STICKY = (
    1 << bit for bit in (31, 27, 26, 25, 24, 23, 22, 21, 20)
)
EPOCH = "2020-01-01T00:00:00Z"
MOST_IN_A_BLOCK = 128 << 10


def blob_id(data: bytes) -> str:
    """The name of some content."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """Where a blob lies in a pack, or is claimed to."""

    id: str
    kind: int
    offset: int
    length: int
    plain: int = 0

    def entry(self) -> bytes:
        """Its line in the pack's own header."""
        told = bytes([self.kind]) + self.length.to_bytes(4, "little")
        if self.kind in (ZDATA, ZTREE):
            told += self.plain.to_bytes(4, "little")
        return told + bytes.fromhex(self.id)

    def told(self) -> dict[str, Any]:
        """Its line in an index."""
        line = {"id": self.id, "type": WORDS[self.kind], "offset": self.offset, "length": self.length}
        return {**line, "uncompressed_length": self.plain} if self.kind in (ZDATA, ZTREE) else line


@dataclass
class Pack:
    """A pack in the making: honest where `claim` is not used."""

    body: bytes = b""
    blobs: list[Blob] = field(default_factory=list)

    def add(
        self, master: Master, data: bytes, kind: int = DATA, claim: str | None = None, plain: int = 0
    ) -> str:
        """Put content in, sealed, under its own name or a claimed one; the name."""
        return self.put(master.seal(data), claim or blob_id(data), kind, plain)

    def put(self, sealed: bytes, name: str, kind: int = DATA, plain: int = 0) -> str:
        """Put bytes in as they are."""
        self.blobs.append(Blob(name, kind, len(self.body), len(sealed), plain))
        self.body += sealed
        return name

    def whole(self, master: Master) -> bytes:
        """The file."""
        header = master.seal(b"".join(blob.entry() for blob in self.blobs))
        return self.body + header + len(header).to_bytes(4, "little")


def read_header(master: Master, content: bytes) -> list[Blob]:
    """What a pack says of itself."""
    size = int.from_bytes(content[-4:], "little")
    header = master.open(content[-4 - size : -4])
    found, offset = [], 0
    while header:
        kind, length = header[0], int.from_bytes(header[1:5], "little")
        rest = 9 if kind in (ZDATA, ZTREE) else 5
        plain = int.from_bytes(header[5:9], "little") if rest == 9 else 0
        found.append(Blob(header[rest : rest + 32].hex(), kind, offset, length, plain))
        header, offset = header[rest + 32 :], offset + length
    return found


def garbage(blobs: Iterable[Blob]) -> tuple[bytes, list[Blob]]:
    """Random bytes, exactly as long as a pack of these blobs would be, and where each is claimed to lie in it."""
    claimed, offset = [], 0
    for blob in blobs:
        claimed.append(replace(blob, offset=offset))
        offset += blob.length
    header = sum(len(blob.entry()) for blob in claimed) + OVERHEAD + 4
    return os.urandom(offset + header), claimed


def index(packs: Mapping[str, Iterable[Blob]], **more: Any) -> bytes:
    """An index."""
    told = [{"id": name, "blobs": [blob.told() for blob in blobs]} for name, blobs in packs.items()]
    return json.dumps({"packs": told, **more}).encode()


def node(name: str, kind: str = "file", **fields: Any) -> dict[str, Any]:
    """An entry of a tree; `content` is a list of blobs' names, `subtree` one name."""
    mode = {"file": 0o644, "dir": DIRECTORY | 0o755, "symlink": SYMLINK | 0o777}.get(kind, 0o644)
    times = {"mtime": EPOCH, "atime": EPOCH, "ctime": EPOCH}
    given = {"name": name, "type": kind, "mode": mode, **times, "uid": os.getuid(), "gid": os.getgid()}
    if kind == "file":
        given |= {"size": 0, "links": 1, "content": []}
    return {**given, **fields}


def tree(nodes: Iterable[Mapping[str, Any]], *, sort: bool = True) -> bytes:
    """A tree."""
    listed = list(nodes)
    if sort:
        listed.sort(key=lambda each: str(each.get("name")))
    return json.dumps({"nodes": listed}, separators=(",", ":")).encode() + b"\n"


def zstd(*parts: bytes | tuple[bytes, int]) -> bytes:
    """A zstd frame by hand: bytes as they are, and pairs of one byte and how often (four bytes for each 128 KiB)."""
    blocks: list[tuple[int, int, bytes]] = []
    for part in parts:
        if isinstance(part, bytes):
            cut = range(0, len(part), MOST_IN_A_BLOCK)
            pieces = [part[at : at + MOST_IN_A_BLOCK] for at in cut]
            blocks += [(0, len(piece), piece) for piece in pieces]
        else:
            sign, count = part
            whole, rest = divmod(count, MOST_IN_A_BLOCK)
            blocks += [(1, MOST_IN_A_BLOCK, sign)] * whole + ([(1, rest, sign)] if rest else [])
    frame = [b"\x28\xb5\x2f\xfd\x00\x68"]
    for number, (kind, size, content) in enumerate(blocks):
        last = number == len(blocks) - 1
        frame.append((last | kind << 1 | size << 3).to_bytes(3, "little") + content)
    return b"".join(frame)

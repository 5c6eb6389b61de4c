"""The forger at work on one repository: he seals what he likes and puts it where he can."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature

from forge.crypt import Master, open_key
from forge.door import Refused, Way
from forge.forms import TREE, Blob, Pack, blob_id, index, node, read_header, tree, zstd

Packs = Mapping[str, Iterable[Blob]]


class Forger:
    """Somebody who holds the password of a repository and a way into it."""

    def __init__(self, way: Way, password: str, restic: Callable[..., str] | None = None) -> None:
        self.way = way
        self.restic = restic
        self.password = password
        self.master = self._master()

    def _master(self) -> Master:
        for name in self.way.names("keys"):
            try:
                return open_key(self.way.get("keys", name), self.password)
            except Exception:  # noqa: BLE001 - another's key, or junk of his own
                continue
        raise LookupError("no key opens with this password")

    def packs(self) -> dict[str, list[Blob]]:
        """Every pack with what its own header says; `restic` tells their names where the door tells none."""
        names = self.way.names("data") if self.restic is None else self._indexed(self.restic)
        found = {}
        for name in names:
            # What he forged himself before may be no pack at all.
            with contextlib.suppress(InvalidSignature, Refused):
                found[name] = read_header(self.master, self.way.get("data", name))
        return found

    def _indexed(self, restic: Callable[..., str]) -> list[str]:
        found = (json.loads(restic("cat", "index", name)) for name in self.way.names("index"))
        return sorted({pack["id"] for each in found for pack in each["packs"]})

    def blobs(self) -> dict[str, Blob]:
        """Every blob that some pack holds."""
        return {blob.id: blob for blobs in self.packs().values() for blob in blobs}

    # one file each

    def seal(self, kind: str, content: bytes) -> str:
        """Any bytes as an index, snapshot or lock."""
        return self.way.put(kind, self.master.seal(content))

    def bomb(self, kind: str, size: int, before: bytes = b"{", after: bytes = b"}") -> str:
        """An index or snapshot of some kilobytes that unpacks to `size` bytes."""
        return self.seal(kind, b"\x02" + zstd(before, (b" ", size), after))

    def pack(self, pack: Pack) -> str:
        """A pack as its maker made it."""
        return self.way.put("data", pack.whole(self.master))

    def index(self, packs: Packs, **more: Any) -> str:
        """An index that claims this."""
        return self.seal("index", index(packs, **more))

    def lock(self, **fields: Any) -> str:
        """A lock."""
        told = {"time": "2099-01-01T00:00:00Z", "exclusive": True, "hostname": "elsewhere", "username": "root",
                "pid": 1, "uid": 0, "gid": 0, **fields}  # fmt: skip
        return self.seal("locks", json.dumps(told).encode())

    def snapshot(self, root: str, **fields: Any) -> str:
        """A snapshot of a tree."""
        told = {"time": "2020-01-01T00:00:00Z", "tree": root, "paths": ["/"], "hostname": "x", "username": "root",
                "program_version": "restic 0.19.1", **fields}  # fmt: skip
        return self.seal("snapshots", json.dumps(told).encode())

    # several at once

    def store(self, contents: Iterable[tuple[int, bytes]]) -> list[str]:
        """Honest blobs in one pack, with an index; their names."""
        pack = Pack()
        names = [pack.add(self.master, data, kind) for kind, data in contents]
        self.index({self.pack(pack): pack.blobs})
        return names

    def plant(self, nodes: Iterable[Mapping[str, Any]], *, sort: bool = True, **fields: Any) -> str:
        """A snapshot whose root holds these."""
        (root,) = self.store([(TREE, tree(nodes, sort=sort))])
        return self.snapshot(root, **fields)

    def ladder(self, depth: int, width: int = 2) -> str:
        """A tree of `width` ** `depth` folders in a few kilobytes: every folder holds the one below several times."""
        pack = Pack()
        below = pack.add(self.master, tree([node("leaf")]), TREE)
        for _ in range(depth):
            level = tree(node(f"d{number}", "dir", subtree=below) for number in range(width))
            below = pack.add(self.master, level, TREE)
        self.index({self.pack(pack): pack.blobs})
        return below

    def giant(self, size: int, piece: int = 4096) -> dict[str, Any]:
        """A file of `size` bytes that is one blob of `piece` bytes many times over."""
        data = os.urandom(piece)
        self.store([(0, data)])
        return node("giant", size=size, content=[blob_id(data)] * (size // piece))

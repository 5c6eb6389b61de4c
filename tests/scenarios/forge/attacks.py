"""The attacks, one function each, named as the threat model names them. Each returns what it did, for the test to know."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from forge.crypt import OVERHEAD, key_file
from forge.door import Refused
from forge.forger import Forger
from forge.forms import (
    CHARACTER,
    DATA,
    DEVICE,
    DIRECTORY,
    PIPE,
    SETGID,
    SETUID,
    TREE,
    ZDATA,
    Blob,
    Pack,
    blob_id,
    garbage,
    node,
    tree,
    zstd,
)

Restic = Callable[..., str]
YEAR_2099 = "2099-01-01T00:00:00Z"


# T1: a second home for everything that is there


def second_home_garbage(forger: Forger, copies: int = 1) -> dict[str, Any]:
    """Packs of random bytes as long as honest ones, and an index that says that everything lies there too."""
    packs = forger.packs()
    homes = {}
    for _ in range(copies):
        for blobs in packs.values():
            data, claimed = garbage(blobs)
            homes[forger.way.put("data", data)] = claimed
    return {"packs": sorted(packs), "homes": sorted(homes), "index": forger.index(homes)}


def second_home_sealed(forger: Forger, count: int = 20) -> dict[str, Any]:
    """Well-formed packs whose headers claim every blob, with sealed nonsense inside, and one honest blob each."""
    blobs = list(forger.blobs().values())
    homes = {}
    for number in range(count):
        pack = Pack()
        for blob in blobs:
            pack.add(forger.master, os.urandom(blob.length - OVERHEAD), blob.kind, blob.id, blob.plain)
        pack.add(forger.master, b"honest %d" % number)
        homes[forger.pack(pack)] = pack.blobs
    return {"homes": sorted(homes), "index": forger.index(homes)}


def second_home_unindexed(forger: Forger) -> dict[str, Any]:
    """The same without an index: whoever rebuilds one from the packs will write it for him."""
    pack = Pack()
    for blob in forger.blobs().values():
        pack.add(forger.master, os.urandom(blob.length - OVERHEAD), blob.kind, blob.id, blob.plain)
    return {"homes": [forger.pack(pack)]}


def other_lengths(forger: Forger, plain: int = 7) -> dict[str, Any]:
    """A second home for all packed content that is there, with the very same bytes, said to be of another length."""
    pack = Pack()
    for name, blobs in forger.packs().items():
        content = forger.way.get("data", name)
        for blob in blobs:
            if blob.kind == ZDATA:
                frame = forger.master.open(content[blob.offset : blob.offset + blob.length])
                pack.put(forger.master.seal(frame), blob.id, ZDATA, plain)
    home = forger.pack(pack)
    return {"homes": [home], "index": forger.index({home: pack.blobs})}


# T2, T3: a home for what is not there yet, so that it is never sent


def _fake(content: bytes) -> Blob:
    return Blob(blob_id(content), DATA, 0, len(content) + OVERHEAD)


def home_in_garbage(forger: Forger, content: bytes) -> dict[str, Any]:
    """An index that knows this content already, in a pack of random bytes."""
    data, claimed = garbage([_fake(content)])
    name = forger.way.put("data", data)
    return {"homes": [name], "index": forger.index({name: claimed})}


def home_sealed(forger: Forger, content: bytes) -> dict[str, Any]:
    """The same in a pack that is well-formed and sealed, but holds other bytes under that name."""
    pack = Pack()
    pack.add(forger.master, os.urandom(len(content)), claim=blob_id(content))
    name = forger.pack(pack)
    return {"homes": [name], "index": forger.index({name: pack.blobs})}


def home_absent(forger: Forger, content: bytes) -> dict[str, Any]:
    """An index that knows this content already, in a pack that does not exist."""
    name = os.urandom(32).hex()
    return {"homes": [name], "index": forger.index({name: [_fake(content)]})}


def home_in_old_pack(forger: Forger, content: bytes) -> dict[str, Any]:
    """An index that says that an old pack holds this content beside its own."""
    name, blobs = max(forger.packs().items(), key=lambda each: sum(blob.length for blob in each[1]))
    return {"homes": [name], "index": forger.index({name: [*blobs, _fake(content)]})}


def superseding(forger: Forger) -> dict[str, Any]:
    """An empty index that claims to replace every other one."""
    return {"index": forger.index({}, supersedes=forger.way.names("index"))}


# T4: a parent whose files look like those on the disk and hold something else


def poisoned_snapshot(
    forger: Forger, restic: Restic, like: str, content: bytes, **fields: Any
) -> dict[str, Any]:
    """A snapshot whose files have the names, sizes, times and inodes of `like`, and other content."""
    told = json.loads(restic("cat", "snapshot", like))
    pack = Pack()
    bad = pack.add(forger.master, content)

    def poison(name: str) -> str:
        listed = json.loads(restic("cat", "blob", name))["nodes"]
        for each in listed:
            if each["type"] == "file" and each.get("content"):
                each["content"] = [bad]
            elif each["type"] == "dir":
                each["subtree"] = poison(each["subtree"])
        return pack.add(forger.master, tree(listed, sort=False), TREE)

    root = poison(told["tree"])
    forger.index({forger.pack(pack): pack.blobs})
    for field in ("parent", "summary", "original"):
        told.pop(field, None)
    return {"snapshot": forger.seal("snapshots", json.dumps({**told, "tree": root, **fields}).encode())}


# T5, T7: snapshots


def many_snapshots(forger: Forger, host: str, tags: list[str], count: int = 40) -> dict[str, Any]:
    """Empty snapshots of every time that a rule about days, weeks and years could keep."""
    (root,) = forger.store([(TREE, tree([]))])
    times = [
        f"{2000 + number % 100}-{number % 12 + 1:02}-{number % 28 + 1:02}T12:00:00Z"
        for number in range(count)
    ]
    return {"snapshots": [forger.snapshot(root, time=time, hostname=host, tags=tags) for time in times]}


# T8, T9: what no restic can read, sealed or not


def nonsense(forger: Forger, kind: str) -> dict[str, Any]:
    """Files that are sealed as they should be and hold nothing that makes sense."""
    contents = [b"", b"x", b"null", b"[]", b"{}", b'"x"', b"\x02", b"\x02junk", b"\x03", b'{"packs":7}', b'{"packs":[{"id":7}]}',
                b'{"packs":[{"id":"00","blobs":[]}]}', b'{"time":"x","tree":7}', b'{"tree":"' + b"f" * 64 + b'"}',
                b"[" * 100_000, b"\xff" * 1000, zstd(b"{")]  # fmt: skip
    return {"names": [forger.seal(kind, content) for content in contents]}


def odd_places(forger: Forger) -> dict[str, Any]:
    """An index whose numbers leave every bound."""
    names = []
    for offset, length in ((0, 0), (-1, 5), (1 << 62, 1 << 62), (0, 1 << 31), (1 << 63, 1), (0, 4294967295)):
        blob = Blob(os.urandom(32).hex(), DATA, offset, length)
        names.append(forger.index({os.urandom(32).hex(): [blob]}))
    return {"names": names}


# T10, T12: locks and keys


def locks(forger: Forger, pid: int = 1, hostname: str = "elsewhere") -> dict[str, Any]:
    """Exclusive and shared locks of a year far away, junk, and one in the name of a process of the server itself.

    restic finds out whether that process lives by sending it SIGHUP, which ends most programs.
    """
    aimed = forger.lock(pid=pid, hostname=hostname)
    return {"locks": [forger.lock(), forger.lock(exclusive=False), aimed, forger.way.put("locks", b"junk")]}


def keys_valid(forger: Forger, count: int = 40) -> dict[str, Any]:
    """More keys than restic tries, each well-formed, none of the password in use."""
    return {"keys": [forger.way.put("keys", key_file(forger.master, f"other {n}")) for n in range(count)]}


def keys_odd(forger: Forger) -> dict[str, Any]:
    """Keys that make restic stop, panic or work for ever; others each time, since a name is taken once."""
    own = os.urandom(8).hex()
    odd = [b"junk " + own.encode(), json.dumps({"made": own}).encode(),
           key_file(forger.master, "x", N=1 << 40), key_file(forger.master, "x", N=3),
           key_file(forger.master, "x", data="AAAA"), key_file(forger.master, "x", r=1 << 30, p=1 << 30)]  # fmt: skip
    return {"keys": [forger.way.put("keys", content) for content in odd]}


# T14, T15: small outside, large inside


def index_bomb(forger: Forger, size: int) -> dict[str, Any]:
    """An index that unpacks to `size` bytes."""
    return {"index": forger.bomb("index", size, b'{"packs":[', b"]}")}


def tree_blob_bomb(forger: Forger, size: int, **fields: Any) -> dict[str, Any]:
    """A snapshot whose root unpacks to `size` bytes."""
    inside = zstd(b'{"nodes":[', (b" ", size), b"]}\n")
    return _compressed(forger, inside, 3, min(size + 13, 0xFFFFFFFF), fields)


def data_blob_bomb(forger: Forger, size: int, **fields: Any) -> dict[str, Any]:
    """A file that unpacks to `size` bytes from one blob."""
    pack = Pack()
    name = pack.put(
        forger.master.seal(zstd((b"\0", size))), os.urandom(32).hex(), ZDATA, min(size, 0xFFFFFFFF)
    )
    root = pack.add(forger.master, tree([node("big", size=size, content=[name])]), TREE)
    forger.index({forger.pack(pack): pack.blobs})
    return {"snapshot": forger.snapshot(root, **fields)}


def _compressed(
    forger: Forger, frame: bytes, kind: int, plain: int, fields: dict[str, Any]
) -> dict[str, Any]:
    pack = Pack()
    root = pack.put(forger.master.seal(frame), os.urandom(32).hex(), kind, plain)
    forger.index({forger.pack(pack): pack.blobs})
    return {"snapshot": forger.snapshot(root, **fields)}


def ladder(forger: Forger, depth: int = 28, **fields: Any) -> dict[str, Any]:
    """2 ** depth folders in a few kilobytes."""
    return {"snapshot": forger.snapshot(forger.ladder(depth), **fields)}


def shaft(forger: Forger, depth: int = 3000, **fields: Any) -> dict[str, Any]:
    """Folders within folders, deeper than any path can be."""
    return {"snapshot": forger.snapshot(forger.ladder(depth, width=1), **fields)}


def giant(forger: Forger, size: int = 1 << 40, piece: int = 1 << 20, **fields: Any) -> dict[str, Any]:
    """A file of a terabyte that is one small blob many times over."""
    return {"snapshot": forger.plant([forger.giant(size, piece)], **fields)}


# T16, T17: what lies in a tree


def names(forger: Forger, **fields: Any) -> dict[str, Any]:
    """A tree of names that lead out of it, break a terminal or are markup, beside one honest file."""
    (content,) = forger.store([(DATA, b"owned")])
    bad = ["..", ".", "", "/etc/pbs-was-here", "a/b", "../../../../../../tmp/pbs-was-here", "nul\\x00byte", "\\x1b[31mred",
           "<script>alert(1)</script>", "line\\nbreak", "\\q", "\\u202egnp.exe", "x" * 300, "\\xff\\xfe", "]]>", "-rf", "~"]  # fmt: skip
    nodes = [node(name, size=5, content=[content]) for name in ("good", *bad)]
    nodes.append(node("link", "symlink", linktarget="../../../../etc/shadow"))
    return {"snapshot": forger.plant(nodes, **fields)}


def through_a_link(forger: Forger, target: str, **fields: Any) -> dict[str, Any]:
    """The same name twice: a link out of the tree, and a folder with a file in it that would land behind the link."""
    (content,) = forger.store([(DATA, b"owned")])
    (inner,) = forger.store([(TREE, tree([node("pbs-was-here", size=5, content=[content])]))])
    nodes = [node("way", "symlink", linktarget=target), node("way", "dir", subtree=inner)]
    return {"snapshot": forger.plant(nodes, sort=False, **fields)}


def specials(forger: Forger, **fields: Any) -> dict[str, Any]:
    """Programs that run as somebody else, devices and pipes."""
    (content,) = forger.store([(DATA, b"#!/bin/sh\nid\n")])
    shell: dict[str, Any] = {"size": 13, "content": [content], "uid": 0, "gid": 0}
    nodes = [
        node("plain", size=13, content=[content]),
        node("setuid", mode=SETUID | 0o4755, **shell),
        node("setgid", mode=SETGID | 0o2755, **shell),
        node("disk", "dev", mode=DEVICE | 0o666, device=(8 << 8), links=1),
        node("kmem", "chardev", mode=DEVICE | CHARACTER | 0o666, device=(1 << 8) | 2, links=1),
        node("fifo", "fifo", mode=PIPE | 0o666, links=1),
        node("odd", "strange", mode=DIRECTORY | 0o777),
    ]
    return {"snapshot": forger.plant(nodes, **fields)}


# T13: filling up


def sub_repositories(forger: Forger, count: int = 3) -> dict[str, Any]:
    """Repositories within the repository, and a configuration larger than any quota."""
    ask = forger.way.ask  # type: ignore[attr-defined]  # only a door can be asked
    made = [ask("POST", f"/sub{number}/?create=true", b"")[0] for number in range(count)]
    return {"create": made, "config": ask("POST", "/sub0/config", b"x" * 6_000_000)[0]}


def flood(forger: Forger, files: int, size: int) -> dict[str, Any]:
    """Packs of random bytes until the door says no."""
    done = 0
    for _ in range(files):
        try:
            forger.way.put("data", os.urandom(size))
        except (Refused, OSError, HTTPException):
            break
        done += 1
    return {"uploaded": done}


def refused_uploads(forger: Forger, count: int = 300) -> dict[str, Any]:
    """Uploads that are refused: each leaves something behind where the door does not clean up."""
    ask = forger.way.ask  # type: ignore[attr-defined]  # only a door can be asked
    return {"answers": [ask("POST", f"/data/{number:064x}", b"wrong")[0] for number in range(count)]}

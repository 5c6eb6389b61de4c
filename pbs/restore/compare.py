"""Two trees, compared byte by byte and in their metadata: the proof behind every `ok`. It only reads.

Names are bytes. Not compared: times of access and change, holes in files, sockets (nobody backs them up).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 1 << 20
MOST_DIFFERENCES = 200
# A file's number → the first name that it was met under.
Groups = dict[tuple[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same, at a path below both trees."""

    path: bytes
    what: str
    left: str
    right: str

    def __str__(self) -> str:
        return f"{os.fsdecode(self.path)!r}: {self.what}: {self.left} / {self.right}"


@dataclass(slots=True)
class Differences:
    """What was compared and what differs: the first `MOST_DIFFERENCES`, and how many in all."""

    names: int = 0
    content_bytes: int = 0
    total: int = 0
    first: list[Difference] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.total > 0

    def __str__(self) -> str:
        return "\n".join(map(str, self.first)) if self.total else "no differences"

    def add(self, path: bytes, what: str, left: object, right: object) -> None:
        """Note one."""
        self.total += 1
        if len(self.first) < MOST_DIFFERENCES:
            self.first.append(Difference(path, what, str(left)[:200], str(right)[:200]))


@dataclass(frozen=True, slots=True)
class Rules:
    """What is compared besides names, types, content and link targets.

    `owners`: uid and gid. `times`: modification times. `modes`: permissions. `attributes`: extended attributes and ACLs,
    where both sides have them. `links`: which names share a file. `devices`: device numbers. `root`: the folders
    themselves too.
    """

    owners: bool = True
    times: bool = True
    modes: bool = True
    attributes: bool = True
    links: bool = True
    devices: bool = True
    root: bool = False


EVERYTHING = Rules()


def compare(left: Path, right: Path, rules: Rules = EVERYTHING) -> Differences:
    """What differs between two trees.

    Raises:
        OSError: a tree cannot be read.
    """
    found = Differences()
    groups: tuple[Groups, Groups] = ({}, {})
    if rules.root:
        _metadata(found, b".", left, right, rules)
    for path, one, other in _pairs(left, right, b""):
        found.names += 1
        if one is None or other is None:
            found.add(path, "is there", one is not None, other is not None)
            continue
        _entry(found, path, one, other, rules)
        if rules.links:
            _hard_links(found, path, (one, other), groups)
    return found


def _pairs(left: Path, right: Path, below: bytes) -> Iterator[tuple[bytes, Path | None, Path | None]]:
    """Every name below either tree, folders before what they hold."""
    ours, theirs = (
        {entry.name: entry for entry in side.iterdir() if not _socket(entry)} for side in (left, right)
    )
    for name in sorted(ours.keys() | theirs.keys()):
        path = below + os.fsencode(name)
        one, other = ours.get(name), theirs.get(name)
        yield path, one, other
        if one and other and _is_folder(one) and _is_folder(other):
            yield from _pairs(one, other, path + b"/")


def _socket(path: Path) -> bool:
    return stat.S_ISSOCK(path.lstat().st_mode)


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _entry(found: Differences, path: bytes, one: Path, other: Path, rules: Rules) -> None:
    first, second = one.lstat(), other.lstat()
    if stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
        found.add(path, "type", stat.filemode(first.st_mode)[0], stat.filemode(second.st_mode)[0])
        return
    _metadata(found, path, one, other, rules)
    if stat.S_ISLNK(first.st_mode):
        _same(found, path, "target", os.readlink(one), os.readlink(other))  # noqa: PTH115 - Path tidies up
    elif stat.S_ISREG(first.st_mode):
        _same(found, path, "size", first.st_size, second.st_size)
        if first.st_size == second.st_size:
            _content(found, path, one, other)
    elif rules.devices and (stat.S_ISBLK(first.st_mode) or stat.S_ISCHR(first.st_mode)):
        _same(found, path, "device", first.st_rdev, second.st_rdev)


def _metadata(found: Differences, path: bytes, one: Path, other: Path, rules: Rules) -> None:
    first, second = one.lstat(), other.lstat()
    if rules.modes and not stat.S_ISLNK(first.st_mode):
        _same(found, path, "mode", oct(stat.S_IMODE(first.st_mode)), oct(stat.S_IMODE(second.st_mode)))
    if rules.owners:
        _same(found, path, "owner", (first.st_uid, first.st_gid), (second.st_uid, second.st_gid))
    if rules.times:
        _same(found, path, "mtime", first.st_mtime_ns, second.st_mtime_ns)
    if rules.attributes:
        have, has = _attributes(one), _attributes(other)
        if have is not None and has is not None:
            _same(found, path, "extended attributes", have, has)


def _attributes(path: Path) -> dict[str, bytes] | None:
    """Extended attributes, ACLs among them; None where the file system has none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return None
    values = {}
    for name in names:
        with suppress(OSError):
            values[name] = os.getxattr(path, name, follow_symlinks=False)
    return values


def _content(found: Differences, path: bytes, one: Path, other: Path) -> None:
    place = 0
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            have, has = first.read(CHUNK), second.read(CHUNK)
            if have != has:
                found.add(path, "content", f"from byte {_first_other(have, has, place)}", "differs")
                return
            if not have:
                break
            place += len(have)
    found.content_bytes += place


def _first_other(have: bytes, has: bytes, place: int) -> int:
    for number, (one, other) in enumerate(zip(have, has, strict=False)):
        if one != other:
            return place + number
    return place + min(len(have), len(has))


def _hard_links(
    found: Differences,
    path: bytes,
    both: tuple[Path, Path],
    groups: tuple[Groups, Groups],
) -> None:
    """Each side's first name of the same file must be the same name."""
    firsts = []
    for name, known in zip(both, groups, strict=True):
        status = name.lstat()
        shared = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
        firsts.append(known.setdefault((status.st_dev, status.st_ino), path) if shared else path)
    _same(found, path, "is one file with", firsts[0], firsts[1])


def _same(found: Differences, path: bytes, what: str, left: object, right: object) -> None:
    if left != right:
        found.add(path, what, left, right)

"""A snapshot, or some paths of it, into a folder. It refuses a folder that holds something unless told otherwise.

Devices are left out unless asked for; which names are devices is looked up first, by their exact bytes. It never
chooses the snapshot, never deletes without being told to, and counts what it could not write instead of hiding it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pbs import files
from pbs.errors import NotFound, RestoreError
from pbs.model import RootMeta
from pbs.program import Program
from pbs.text import clean_line, size

DEVICES = frozenset({"dev", "chardev"})
OVERWRITE = ("always", "if-changed", "if-newer", "never")
MOST_WARNINGS_KEPT = 200
# As the kernel's refusal reads in restic.
FULL = "no space left on device"
# A file that grew while it was read holds more than was told of it; nothing else honest does, nor so much.
SLACK_BYTES, SLACK_PERCENT = 1 << 30, 10
# The kernel takes about 2 MB of arguments.
MOST_ARGUMENT_BYTES = 1 << 20
MOST_ENTRIES = 100_000_000
_PATTERN = re.compile(rb"[\\*?\[]")


class Listed(Protocol):
    """What has to be known of a name in a snapshot."""

    @property
    def raw(self) -> bytes:
        """Its exact path from the snapshot's root."""
        ...

    @property
    def type(self) -> str:
        """`file`, `dir`, `dev`, …."""
        ...

    @property
    def size(self) -> int | None:
        """Its bytes, where it has content."""
        ...

    @property
    def inode(self) -> int:
        """Its number on the source: names of one file share it."""
        ...


Listing = Callable[[bytes], AsyncIterator[Listed]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is."""

    files: int
    bytes: int
    total_files: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done: names written, bytes, names left alone because they were the same, deleted ones, devices left out,
    names that failed, and the first of the complaints about them.
    """

    files: int
    bytes: int
    unchanged: int
    deleted: int
    specials: int
    failed: int
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Plan:
    """What the snapshot holds under the wanted paths. With `exact`, content that several names share counts once."""

    exact: bool = False
    size: int = 0
    devices: list[bytes] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, entry: Listed) -> None:
        if entry.type in DEVICES:
            self.devices.append(entry.raw)
        content = entry.size or 0
        if self.exact and content and entry.inode:
            if (entry.inode, content) in self.seen:
                return
            self.seen.add((entry.inode, content))
        self.size += content


async def restore(
    restic: Program,
    snapshot: str,
    directory: Path,
    listing: Listing,
    *,
    paths: Sequence[bytes] = (),
    overwrite: str | None = None,
    delete: bool = False,
    special: bool = False,
    root: RootMeta | None = None,
    space: bool = True,
    spare: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Restored:
    """Restore a snapshot, or the `paths` in it, below `directory`.

    Args:
        restic: Bound to the repository or a view of it.
        snapshot: The whole id.
        directory: Where; made if missing.
        listing: All that lies at and below a path of the snapshot; raises NotFound where it holds none.
        paths: Exact paths from the snapshot's root; none = everything.
        overwrite: How files that are there already are treated; None = the folder must be empty.
        delete: Whether what the snapshot does not hold is deleted.
        special: Whether devices are made too (root only).
        root: The backed-up folder's own metadata, set last when everything was restored.
        space: Whether too little free space is refused beforehand; holes in files cannot be known then.
        spare: Bytes that must stay free.
        progress: Called with how far it is.

    Raises:
        RestoreError: refused, or not enough space: nothing was written then; or restic could not go on.
        NotFound: the snapshot holds no such path: nothing was written.

    Cancelling ends restic; what it wrote stays.
    """
    place = Path(os.path.realpath(directory))
    occupied = _occupied(place)
    if overwrite is not None and overwrite not in OVERWRITE:
        raise RestoreError(f"{overwrite!r} is no way to overwrite", f"give one of {', '.join(OVERWRITE)}")
    if occupied and overwrite is None:
        raise RestoreError(f"{directory} is not empty", "give --overwrite, or an empty or new folder")
    wanted = tuple(_normal(path) for path in paths)
    plan = await _look(listing, wanted)
    if space and not occupied and plan.size > _free_bytes(place) - spare:
        _check_space(place, (await _look(listing, wanted, exact=True)).size, spare)
    arguments = _arguments(
        snapshot, place, wanted, plan.devices if not special else [], overwrite, delete=delete
    )
    files.make_folder(place)
    ending = _Ending(progress, plan.size + plan.size * SLACK_PERCENT // 100 + SLACK_BYTES)
    done = await restic.run(
        *arguments, allow=frozenset(range(-64, 256)), on_line=ending.line, on_complaint=ending.complain
    )
    if done.code and not (done.code == 1 and ending.failed and ending.summary):
        error = restic.explain(restic.argv, done)
        raise RestoreError(f"the restore broke off: {error.message}", error.hint)
    if root is not None and not wanted:
        owner = (root.uid, root.gid) if os.geteuid() == 0 else None
        files.set_metadata(place, root.mode & 0o7777, owner, root.mtime_ns)
    return ending.result(0 if special else len(plan.devices))


def _occupied(place: Path) -> bool:
    try:
        return any(place.iterdir())
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise RestoreError(
            f"{place} is no folder", "give a folder, or a name that does not exist yet"
        ) from None
    except PermissionError:
        raise RestoreError(
            f"{place} may not be read", "run as the user that owns it, or give another folder"
        ) from None


def _normal(path: bytes) -> bytes:
    parts = path.split(b"/")
    if not path.startswith(b"/") or b"\0" in path or b".." in parts:
        raise NotFound(
            f"{clean_line(os.fsdecode(path))!r} is no path in a snapshot", "paths begin with / and hold no .."
        )
    return b"/" + b"/".join(part for part in parts if part not in (b"", b"."))


async def _look(listing: Listing, paths: Sequence[bytes], *, exact: bool = False) -> _Plan:
    plan = _Plan(exact)
    seen = 0
    for path in paths or (b"/",):
        async for entry in listing(path):
            plan.add(entry)
            seen += 1
            if seen > MOST_ENTRIES:
                raise RestoreError(
                    f"the snapshot holds more than {MOST_ENTRIES} names", "restore parts of it by PATH"
                )
    return plan


def _free_bytes(place: Path) -> int:
    while not place.exists():
        place = place.parent
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def _check_space(place: Path, wanted: int, spare: int) -> None:
    free = max(0, _free_bytes(place) - spare)
    if wanted > free:
        kept = f", beside the {size(spare)} that `reserve` keeps" if spare else ""
        raise RestoreError(
            f"{size(wanted)} would be restored and the disk of {place.parent} has {size(free)} free{kept}",
            "free some space, restore parts of it by PATH, or look into it with `pbs mount`",
        )


def pattern(path: bytes) -> bytes:
    """A restic pattern that matches this one path and what is below it."""
    return _PATTERN.sub(lambda found: b"\\" + found[0], path)


def _arguments(
    snapshot: str,
    place: Path,
    paths: Sequence[bytes],
    without: Sequence[bytes],
    overwrite: str | None,
    *,
    delete: bool,
) -> list[str | bytes]:
    arguments: list[str | bytes] = ["restore", "--json", "--sparse", "--target", os.fsencode(place)]
    arguments += [f"--overwrite={overwrite}"] if overwrite else []
    arguments += ["--delete"] if delete else []
    some = [path for path in paths if path != b"/"]
    if some and len(some) == len(paths):
        arguments += [b"--include=" + pattern(path) for path in some]
        # restic takes no --exclude beside --include; a pattern that begins with ! takes back what another matched.
        arguments += [b"--include=!" + pattern(path) for path in without]
    else:
        arguments += [b"--exclude=" + pattern(path) for path in without]
    if sum(len(argument) + 9 for argument in arguments) > MOST_ARGUMENT_BYTES:
        raise RestoreError(
            "there are more devices or paths than can be told apart", "restore parts of it, or give --special"
        )
    return [*arguments, snapshot]


class _Ending:
    """Collects what restic says of its work, and ends one that writes more than the snapshot lists."""

    def __init__(self, progress: Callable[[Progress], None], most: int) -> None:
        self._progress = progress
        self._most = most
        self._warnings: list[str] = []
        self.failed = 0
        self.summary: dict[str, Any] = {}

    def line(self, line: bytes) -> None:
        values = _record(line)
        if _count(values, "bytes_restored") > self._most:
            raise RestoreError(
                "the restore broke off: a file of the snapshot holds far more than the snapshot lists of it",
                "a hostile source makes such; what it wrote is not whole: restore what is needed by PATH",
            )
        if values.get("message_type") == "status":
            self._progress(
                Progress(*(_count(values, name) for name in
                           ("files_restored", "bytes_restored", "total_files", "total_bytes")))
            )  # fmt: skip
        elif values.get("message_type") == "summary":
            self.summary = values

    def complain(self, line: bytes) -> None:
        values = _record(line)
        error = values.get("error")
        if values.get("message_type") != "error" or not isinstance(error, dict):
            return
        told = str(error.get("message"))
        if FULL in told:
            # Every name that is left would fail as well, and some would be torn.
            raise RestoreError(
                "the restore broke off: the disk that it writes to is full",
                "free some space, or restore to another disk; what it wrote is not whole",
            )
        self.failed += 1
        if len(self._warnings) < MOST_WARNINGS_KEPT:
            self._warnings.append(clean_line(f"{values.get('item')}: {told}"))

    def result(self, specials: int) -> Restored:
        return Restored(
            files=_count(self.summary, "files_restored"),
            bytes=_count(self.summary, "bytes_restored"),
            unchanged=_count(self.summary, "files_skipped"),
            deleted=_count(self.summary, "files_deleted"),
            specials=specials,
            failed=self.failed,
            warnings=tuple(self._warnings),
        )


def _record(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _count(values: dict[str, Any], name: str) -> int:
    value = values.get(name, 0)
    return value if type(value) is int else 0

"""The source's files: real ones from this machine, and every awkward thing that a file system allows.

It only ever writes below the folder that it is given, and copies, never links, what it takes from the machine.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pbs.process import find_tool, run

MOST_FILES = 4000
MOST_BYTES = 48 << 20
LARGEST_TAKEN = 384 << 10
LARGEST_BIG = 24 << 20
HOLE = 24 << 20
RECORDING = 6 << 20
# 2020-09-13, with nanoseconds; one second after the beginning of time; beyond 32 bits.
MOMENTS = (1_600_000_000_123_456_789, 1_000_000_000, 4_102_444_800_000_000_000)
ODD_NAMES = (
    b"new\nline", b"it's \"quoted\"", b"-rf", b"--delete", b"\xff\xfe no utf-8 \x80", b"long-" + b"x" * 250,
    "emoji \U0001f4be".encode(), b";$(touch pwned)`id`", b"back\\slash", b"*?[a-z]", b" blank ", b"tab\there",
    b"escape \x1b[31mred", "right \u202e to left".encode(), b"...", b"%s%n", b"CON",
)  # fmt: skip
NOT_UTF8 = b"odd/" + ODD_NAMES[4]


def make(source: Path, root: bool) -> None:
    """The tree as it was on the first day. `root`: with foreign owners and files that nobody may read."""
    source.mkdir(mode=0o755)
    _take_real_files(source / "machine")
    _big(source / "big")
    _odd(source / "odd")
    _links(source / "links")
    _modes(source / "modes", root)
    for moment, name in zip(MOMENTS, ("then", "beginning", "far-future"), strict=True):
        path = source / "odd" / name
        path.write_text(f"{name}\n")
        os.utime(path, ns=(moment, moment))


def _take_real_files(target: Path) -> None:
    files = total = 0
    for place in _places():
        for path in _regular(place):
            if files >= MOST_FILES or total >= MOST_BYTES:
                return
            copy = target / place.name / path.relative_to(place)
            try:
                length = path.stat().st_size
                if length > LARGEST_TAKEN:
                    continue
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
            except OSError:
                copy.unlink(missing_ok=True)
                continue
            files, total = files + 1, total + length


def _places() -> list[Path]:
    """Folders with many ordinary files, on every machine that runs this; the first is always there."""
    wanted = (sysconfig.get_path("stdlib"), "/usr/share/doc", "/usr/share/perl", "/usr/share/zoneinfo")
    return [Path(place) for place in wanted if place and Path(place).is_dir()]


def _regular(place: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(set(folders) - {"site-packages", "__pycache__", "test"})
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _big(folder: Path) -> None:
    folder.mkdir()
    program = Path(sys.executable).resolve()
    if program.stat().st_size <= LARGEST_BIG:
        shutil.copy2(program, folder / "program.bin")
    (folder / "recording.bin").write_bytes(os.urandom(RECORDING))
    with (folder / "disk.img").open("wb") as image:
        image.truncate(HOLE)
        image.seek(HOLE // 2)
        image.write(b"an island in a hole")


def _odd(folder: Path) -> None:
    folder.mkdir()
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"odd " + name + b"\n")
    (folder / "empty-folder").mkdir()
    (folder / "empty-file").touch()
    deep = folder / "/".join(["deep"] * 40)
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("found\n")
    # Data like any other: only the one at the top of a legacy tree is rdiff-backup's.
    (folder / "rdiff-backup-data").mkdir()
    (folder / "rdiff-backup-data/mine").write_text("not a tool's\n")
    os.mkfifo(folder / "pipe")


def _links(folder: Path) -> None:
    folder.mkdir()
    (folder / "one").write_text("one file, three names\n")
    for name in ("two", "three"):
        os.link(folder / "one", folder / name)
    targets = {
        "dangling": "nowhere/at all", "loop": "loop", "up": "../odd", "absolute": "/etc/hostname",
        "odd-target": " $(id)\n",
    }  # fmt: skip
    for name, target in targets.items():
        (folder / name).symlink_to(target)


def _modes(folder: Path, root: bool) -> None:
    folder.mkdir()
    modes = {"read-only": 0o400, "open": 0o666, "program": 0o755, "setuid": 0o4755, "setgid": 0o2755}
    if root:
        modes |= {"nobody": 0o000, "write-only": 0o200}
    for name, mode in modes.items():
        (folder / name).write_text(f"{name}\n")
        if root:
            os.chown(folder / name, 12345, 54321)
        (folder / name).chmod(mode)
    for name, mode in {"sticky": 0o1777, "locked": 0o500, "shared": 0o2770}.items():
        (folder / name).mkdir()
        (folder / name / "inside").write_text("inside\n")
        (folder / name).chmod(mode)


async def adorn(source: Path) -> list[str]:
    """Give some names extended attributes and ACLs; returns what this machine does not have."""
    folder, notes = source / "attributes", []
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_text("with attributes\n")
    try:
        os.setxattr(folder / "file", "user.comment", b"any bytes \x00\xff")
        os.setxattr(folder / "below", "user.colour", b"blue")
    except OSError as error:
        notes.append(f"no extended attributes in this try: {error.strerror}")
    setfacl = find_tool("setfacl")
    if setfacl is None:
        return [*notes, "no ACLs in this try: setfacl is not installed"]
    file = await run([setfacl, "-m", "u:1:r", folder / "file"], timeout=20)
    below = await run([setfacl, "-d", "-m", "g:2:rx", folder / "below"], timeout=20)
    if file.code or below.code:
        notes.append(f"no ACLs in this try: {file.stderr or below.stderr}")
    return notes


def live_a_day(source: Path, day: int) -> None:
    """What a day changes: some files grow, some come, some go, one gets another mode."""
    names = sorted((source / "machine").rglob("*.py"))
    for path in names[day * 40 : day * 40 + 20]:
        _grow(path, f"\n# day {day}\n")
    for path in names[day * 40 + 20 : day * 40 + 25]:
        path.unlink()
    (source / "diary").mkdir(exist_ok=True)
    (source / "diary" / f"day {day}").write_text(f"day {day}\n" * 2000)
    names[day * 40 + 30].chmod(0o640 + day)


def live_a_wild_day(source: Path) -> None:
    """What strains a backup: big files renamed, one with bytes put before it, types exchanged, folders moved."""
    live_a_day(source, 5)
    moved = source / "moved"
    moved.mkdir()
    recording = source / "big/recording.bin"
    recording.write_bytes(b"inserted before all else" + recording.read_bytes())
    for path in (source / "big").iterdir():
        path.rename(moved / f"renamed-{path.name}")
    largest = max((source / "machine").iterdir(), key=lambda folder: sum(1 for _ in folder.rglob("*")))
    largest.rename(moved / largest.name)
    (source / "links/two").unlink()
    (source / "links/two").write_text("a file of its own now\n")
    (source / "odd/empty-file").unlink()
    (source / "odd/empty-file").mkdir()
    (source / "odd/empty-folder").rmdir()
    (source / "odd/empty-folder").symlink_to("../links")
    (source / "modes/open").chmod(0o600)
    (source / "fresh.bin").write_bytes(os.urandom(1 << 20))


def _grow(path: Path, text: str) -> None:
    with suppress(PermissionError), path.open("a") as file:
        file.write(text)


def count(source: Path) -> dict[str, int]:
    """Files, folders, links and bytes; a file with several names counts once."""
    found = {"files": 0, "folders": 0, "links": 0, "others": 0, "bytes": 0}
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(os.fsencode(source)):
        for name in (*folders, *names):
            status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - names are bytes
            if stat.S_ISDIR(status.st_mode):
                found["folders"] += 1
            elif stat.S_ISLNK(status.st_mode):
                found["links"] += 1
            elif not stat.S_ISREG(status.st_mode):
                found["others"] += 1
            elif (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                found["files"] += 1
                found["bytes"] += status.st_size
    return found

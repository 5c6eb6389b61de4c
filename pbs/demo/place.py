"""The demo's own folder, and the proof that nothing outlives it: no process, no mount, no file.

It ends a process only where its command line, program or current folder lies in that folder, or where it descends
from the demo's sshd.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pbs import files
from pbs.clock import Clock
from pbs.errors import HomeError, ToolMissing
from pbs.process import find_tool, run

PREFIX = "pbs-demo-"
# Below it lie sockets, whose paths may have 107 bytes.
LONGEST_PARENT = 40
PLAIN = re.compile(r"/[A-Za-z0-9/._-]*")
LEAST_FREE_BYTES = 600 << 20
GOING_SECONDS = 10.0
AT_ONCE_SECONDS = 1.0
FUSE = Path("/dev/fuse")
MOUNTINFO = Path("/proc/self/mountinfo")
BOOTSTRAP = "`./bootstrap install` in a checkout of pbs installs everything that the demo needs"
TOOLS = (
    ("sshd",), ("ssh-keygen",), ("rdiff-backup",), ("restic",), ("rest-server", "restic-rest-server"),
    ("fusermount3", "fusermount"),
)  # fmt: skip


def check_tools() -> None:
    """Raise unless this machine has all that the demo needs; everything that is missing is named at once.

    Raises:
        ToolMissing: with the way out.
    """
    missing = [names[0] for names in TOOLS if find_tool(*names) is None]
    if missing:
        raise ToolMissing(f"the demo needs what this machine lacks: {', '.join(missing)}", BOOTSTRAP)
    try:
        os.close(os.open(FUSE, os.O_RDWR))
    except OSError as error:
        hint = "as root: modprobe fuse"
        if isinstance(error, PermissionError):
            hint = f"as root: chmod 666 {FUSE} (that is its usual mode), or run the demo as root"
        raise ToolMissing(f"the demo mounts snapshots, and {FUSE}: {error.strerror}", hint) from error


def make() -> Path:
    """A new private folder with a short path.

    Raises:
        HomeError: there is no room for it.
    """
    parent = Path(tempfile.gettempdir()).resolve()
    if len(os.fsencode(parent)) > LONGEST_PARENT or not PLAIN.fullmatch(str(parent)):
        parent = Path("/tmp")  # noqa: S108 - the folder made there is private
    with files.explained("make the demo's folder", parent):
        free = shutil.disk_usage(parent).free
        if free < LEAST_FREE_BYTES:
            raise HomeError(
                f"the demo needs {LEAST_FREE_BYTES >> 20} MB, {parent} has {free >> 20} MB free",
                "free some space, or name another short folder in TMPDIR",
            )
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))


def processes_of(folder: Path) -> list[int]:
    """Every process that names the folder or anything below it, runs a program from it, or works in it."""
    name = os.fsencode(folder)
    inside = re.compile(re.escape(name) + rb"(?![\w.-])")
    found = []
    for process in _processes():
        with suppress(OSError):
            seen = [(process / "cmdline").read_bytes()]
            for link in ("exe", "cwd"):
                with suppress(PermissionError):
                    seen.append(os.fsencode((process / link).readlink()))
            if any(inside.search(text) for text in seen):
                found.append(int(process.name))
    return [number for number in found if number != os.getpid()]


def descendants(ancestor: int) -> list[int]:
    """Every living descendant of a process; sshd's own lose its name and leave its group."""
    parents: dict[int, int] = {}
    for process in _processes():
        with suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything, blanks and parentheses too.
            after = (process / "stat").read_bytes().rpartition(b")")[2].split()
            parents[int(process.name)] = int(after[1])
    found, wanted = [], {ancestor}
    while wanted:
        wanted = {number for number, parent in parents.items() if parent in wanted}
        found += sorted(wanted)
    return found


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def living(numbers: Iterable[int]) -> list[int]:
    """Those that still run; one that has ended and was not waited for by its parent does not."""
    found = []
    for number in numbers:
        with suppress(OSError):
            state = (Path("/proc") / str(number) / "stat").read_bytes().rpartition(b")")[2].split()[0]
            if state not in (b"Z", b"X"):
                found.append(number)
    return found


def send(numbers: Iterable[int], signal_number: int) -> None:
    """Send a signal; whoever has ended meanwhile is fine."""
    for number in numbers:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal_number)


async def gone(numbers: Iterable[int], clock: Clock, seconds: float = GOING_SECONDS) -> list[int]:
    """Wait until these processes have ended; returns those that have not."""
    deadline = clock.monotonic() + seconds
    left = living(numbers)
    while left and clock.monotonic() < deadline:
        await clock.sleep(0.05)
        left = living(left)
    return left


def mounts_below(folder: Path) -> list[str]:
    """Every mount point in the folder, the deepest first."""
    fields = (line.split(" ") for line in MOUNTINFO.read_text(errors="surrogateescape").splitlines())
    found = {parts[4] for parts in fields if len(parts) > 4 and parts[4].startswith(f"{folder}/")}
    return sorted(found, key=len, reverse=True)


async def clear(folder: Path, clock: Clock, *, early: bool = False) -> list[str]:
    """End, unmount and remove whatever is left; returns what had to be ended by force, and what could not be.

    Args:
        folder: The demo's folder.
        clock: The time.
        early: The demo was stopped in the middle: what was just starting is asked to end, which is no fault.
    """
    problems = []
    left = await _emptied(folder, clock, AT_ONCE_SECONDS if early else GOING_SECONDS)
    if left and early:
        send(left, signal.SIGTERM)
        left = await _emptied(folder, clock, GOING_SECONDS)
    if left:
        problems.append(f"{len(left)} process(es) had to be ended: {', '.join(map(_named, left))}")
        for number in (signal.SIGTERM, signal.SIGKILL):
            send(left, number)
            left = await _emptied(folder, clock, GOING_SECONDS)
    for point in mounts_below(folder):
        problems.append(f"{point} was still mounted")
        fusermount = find_tool("fusermount3", "fusermount") or "fusermount3"
        await run([fusermount, "-uz", "--", point], timeout=20)
    if not mounts_below(folder):
        _open_up(folder)
        files.remove_tree(folder)
    if folder.exists():
        problems.append(f"{folder} could not be removed whole")
    return problems


async def _emptied(folder: Path, clock: Clock, seconds: float) -> list[int]:
    """Wait until no process of the folder runs, also none that was started meanwhile; returns those that do."""
    deadline = clock.monotonic() + seconds
    while (left := living(processes_of(folder))) and clock.monotonic() < deadline:
        await clock.sleep(0.1)
    return left


def _named(number: int) -> str:
    with suppress(OSError):
        words = (Path("/proc") / str(number) / "cmdline").read_bytes().split(b"\0")
        return f"{number} ({os.fsdecode(b' '.join(words))[:120]})"
    return str(number)


def _open_up(folder: Path) -> None:
    """Let us delete what lies in folders that their owner may not write to."""
    for place, _, _ in os.walk(os.fsencode(folder)):
        with suppress(OSError):
            mode = os.lstat(place).st_mode
            if mode & 0o700 != 0o700:
                os.chmod(place, 0o700)  # noqa: PTH101 - names are bytes

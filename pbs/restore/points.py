"""What is mounted where, as the kernel tells it, and how a FUSE mount is taken away. It never mounts."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pbs.errors import RestoreError
from pbs.process import find_tool, run

MOUNTINFO = Path("/proc/self/mountinfo")
FUSE_DEVICE = Path("/dev/fuse")
DETACH_SECONDS = 20.0
INSTEAD = "use `pbs restore` for trees or `pbs get` for single files instead"
_OCTAL = re.compile(rb"\\([0-7]{3})")


def mount_points(table: bytes) -> frozenset[bytes]:
    """Every mount point in a mountinfo table, without its escapes."""
    fields = (line.split(b" ") for line in table.split(b"\n"))
    return frozenset(
        _OCTAL.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), parts[4])
        for parts in fields
        if len(parts) > 4
    )


def mounted(directory: Path) -> bool:
    """Whether something is mounted at this very folder, alive or dead."""
    return os.fsencode(settled(directory)) in mount_points(MOUNTINFO.read_bytes())


def settled(directory: Path) -> Path:
    """The absolute path with links resolved, but for its last part, which may be a dead mount."""
    whole = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() would look at the last part too
    return Path(os.path.realpath(whole.parent)) / whole.name


def fusermount() -> Path:
    """The program that mounts and unmounts for ordinary users.

    Raises:
        RestoreError: mounting cannot work here; says what to do instead.
    """
    found = find_tool("fusermount3", "fusermount")
    if found is None:
        raise RestoreError(
            "mounting needs fusermount3, which is not installed", f"install fuse3, or {INSTEAD}"
        )
    if not FUSE_DEVICE.exists():
        raise RestoreError("mounting needs /dev/fuse, which this machine does not have", INSTEAD)
    return found


async def detach(directory: Path, *, lazy: bool = False) -> bool:
    """Take a mount away; False where it is in use. `lazy` takes it out of sight at once, users or not."""
    if not mounted(directory):
        return True
    program = find_tool("fusermount3", "fusermount") or "fusermount3"
    await run([program, "-uz" if lazy else "-u", "--", settled(directory)], timeout=DETACH_SECONDS)
    return not mounted(directory)

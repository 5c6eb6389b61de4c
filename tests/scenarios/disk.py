"""A small file system in the place of a folder, and how it is filled. Needs root, for the mounts."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

MEGABYTE = 1 << 20


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own in place of this folder, with what the folder holds. The image that it lies in."""
    image, aside = folder.with_name(f"{folder.name}.img"), folder.with_name(f"{folder.name}.aside")
    with image.open("wb") as file:
        file.truncate(megabytes * MEGABYTE)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    aside.mkdir()
    subprocess.run(["mount", "-o", "loop", image, aside], check=True)
    subprocess.run(["cp", "-a", f"{folder}/.", aside], check=True)
    subprocess.run(["umount", aside], check=True)
    aside.rmdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    # Nobody of ours made it, and a folder of sockets must be ours alone.
    (folder / "lost+found").rmdir()
    try:
        yield image
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Leave so many bytes, or not a single block."""
    if leave:
        space = os.statvfs(disk)
        if (size := space.f_bavail * space.f_frsize - leave) > 0:
            with contextlib.suppress(OSError), (disk / "fill").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        return
    for name, piece in (("fill", MEGABYTE), ("fill", 4096), ("fill-more", 512)):
        with contextlib.suppress(OSError), (disk / name).open("ab", buffering=0) as file:
            while file.write(bytes(piece)) == piece:
                pass
    assert os.statvfs(disk).f_bavail == 0


def free(disk: Path) -> None:
    """Give the space back."""
    for name in ("fill", "fill-more"):
        (disk / name).unlink(missing_ok=True)

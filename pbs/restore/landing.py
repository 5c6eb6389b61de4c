"""Where runs restore into: a folder gets its name only once everything lies in it and on the disk.

What is half there has a name of its own and goes: with the run that broke off, or soon after a run that died. A folder that has
its name is never touched: whoever asked for it may still want it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from pbs import files, removal, scratch
from pbs.clock import Clock
from pbs.scratch import Scratch
from pbs.threads import in_thread

HALF = "half-"
# Whoever cancelled a run waits for no longer than this; what is left goes with a sweep.
CLEAR_SECONDS = 5.0


@asynccontextmanager
async def landing(parent: Path, name: str, clock: Clock) -> AsyncIterator[Scratch]:
    """A private folder, which becomes `parent/name` when the block ends well, and goes when it does not.

    Children that inherit its descriptor keep it from being swept.

    Raises:
        HomeError: it cannot be made, or not be written out to the disk.
    """
    files.make_folder(parent)
    half, whole = scratch.make(parent, HALF), False
    try:
        yield half
        await in_thread(files.sync_disk, half.path)
        files.move(half.path, parent / name)
        # From here on nothing is waited for: who is cancelled now has come to the end.
        whole = True
    finally:
        try:
            if not whole:
                await in_thread(_clear, half.path, clock)
        finally:
            os.close(half.descriptor)


def halves(parent: Path) -> list[Path]:
    """What is half restored, whether somebody is at it or not."""
    return scratch.left(parent, HALF)


def clear_halves(parent: Path, clock: Clock) -> None:
    """Remove what nobody is at any more, for some seconds; the next call goes on."""
    scratch.sweep(parent, HALF, partial(_clear, clock=clock))


def _clear(half: Path, clock: Clock) -> None:
    until = clock.monotonic() + CLEAR_SECONDS
    # What cannot be removed now must not hide how the run ended; it is tried again.
    with suppress(OSError):
        removal.remove(half, lambda: clock.monotonic() > until)

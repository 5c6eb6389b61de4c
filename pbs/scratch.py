"""Private folders that end with their holder: for views, half-made repositories and imports.

A scratch folder is its own lock. It is removed when its block ends; what a killed holder left is removed by the
next call with the same prefix. It never removes a folder that somebody, or a child that inherited the lock, holds.
"""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pbs import files
from pbs.errors import HomeError

ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Scratch:
    """A private folder and the descriptor of its lock: it lives as long as somebody holds the descriptor."""

    path: Path
    descriptor: int


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Scratch]:
    """A new private folder `parent/PREFIXxxxxxxxx` for the length of a block.

    Raises:
        HomeError: where it cannot be made.
    """
    files.make_folder(parent)
    sweep(parent, prefix)
    made = make(parent, prefix)
    try:
        yield made
    finally:
        files.remove_tree(made.path)
        os.close(made.descriptor)


def make(parent: Path, prefix: str) -> Scratch:
    """A new private folder that is held; whoever made it lets go of the descriptor, and removes the folder.

    Raises:
        HomeError: where it cannot be made.
    """
    for _ in range(ATTEMPTS):
        path = parent / f"{prefix}{secrets.token_hex(4)}"
        files.make_folder(path)
        # A sweep of somebody else may take it before we have the lock: then try another name.
        descriptor = files.lock_folder(path)
        if descriptor is not None:
            return Scratch(path, descriptor)
    raise HomeError(f"no folder in {parent} can be locked", "use a file system that knows flock")


def left(parent: Path, prefix: str) -> list[Path]:
    """The scratch folders of this prefix that there are, whoever may hold them."""
    return sorted(parent.glob(glob.escape(prefix) + 8 * "[0-9a-f]"))


def sweep(parent: Path, prefix: str, remove: Callable[[Path], object] = files.remove_tree) -> None:
    """Remove the scratch folders of this prefix whose holders are gone."""
    for path in left(parent, prefix):
        descriptor = files.lock_folder(path)
        if descriptor is not None:
            try:
                remove(path)
            finally:
                os.close(descriptor)

"""A repository as it would be if it held only the snapshots that count: a folder of hard links to its small files.

What a source put beside them cannot be reached through it: not as `latest`, not by its time, not at all. It never
copies packs, never lies inside the repository (where the endpoint would serve it), and never outlives its holders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pbs import files
from pbs.errors import HomeError, NotFound, RepositoryMissing
from pbs.repository.contents import inventory
from pbs.repository.restic import full_id
from pbs.scratch import scratch

PREFIX = "view-"


@dataclass(frozen=True, slots=True)
class View:
    """The view's folder, and the descriptor that keeps it: every child that reads it inherits that."""

    path: Path
    descriptor: int


@contextmanager
def view(
    repository: Path,
    work: Path,
    snapshots: Collection[str],
    key: str | None,
    index: Collection[str] | None = None,
) -> Iterator[View]:
    """A view of these snapshots, for the length of a block; left-overs of killed holders are removed.

    Args:
        repository: The repository's folder.
        work: A folder of ours on the same file system, outside the repository.
        snapshots: The whole ids of the snapshots that it shall hold.
        key: The id of our key; None = all keys.
        index: The index files that were admitted, which name admitted packs alone; None = all.

    Raises:
        RepositoryMissing: there is no repository.
        NotFound: it holds no such snapshot or key.
        HomeError: `work` is on another file system, or full.
    """
    have = inventory(repository)
    if not have.config:
        raise RepositoryMissing(
            f"there is no repository at {repository}", "is its disk mounted? nothing new was made", 10
        )
    missing = sorted(set(map(full_id, snapshots)) - have.snapshots)
    if missing:
        raise NotFound(f"the repository does not hold the snapshot {missing[0][:8]}", "see `pbs snapshots`")
    if key is not None and key not in have.keys:
        raise NotFound(f"the repository does not hold our key {key[:8]}", "see `pbs doctor`")
    listed = have.index if index is None else frozenset(index)
    if not listed <= have.index:
        raise RepositoryMissing(
            f"{len(listed - have.index)} index file(s) that were admitted are gone from {repository}",
            "put them back from a copy of the repository, or see `pbs doctor`",
        )
    wanted = {"snapshots": snapshots, "keys": have.keys if key is None else {key}, "index": listed}
    with ExitStack() as stack:
        try:
            made = stack.enter_context(_filled(repository, work, PREFIX, wanted, files.hard_link))
        except HomeError as error:
            if getattr(error.__cause__, "errno", None) not in files.NO_ROOM:
                raise
            # On a disk that is full or read-only not even a folder can be made; a restore must work all the same.
            made = stack.enter_context(
                _filled(repository, files.SYSTEM_TEMPORARY, f"pbs-{PREFIX}", wanted, files.copy_file)
            )
        yield made


@contextmanager
def _filled(
    repository: Path,
    place: Path,
    prefix: str,
    wanted: Mapping[str, Collection[str]],
    take: Callable[[Path, Path], None],
) -> Iterator[View]:
    with scratch(place, prefix) as folder:
        for kind, names in wanted.items():
            files.make_folder(folder.path / kind)
            for name in names:
                take(repository / kind / name, folder.path / kind / name)
        files.make_folder(folder.path / "locks")
        files.symbolic_link(os.path.realpath(repository / "data"), folder.path / "data")
        take(repository / "config", folder.path / "config")
        yield View(folder.path, folder.descriptor)

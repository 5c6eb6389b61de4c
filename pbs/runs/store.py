"""What a run needs of the repository of its source, as Protocols. The real one is handed in by `pbs.assemble`, as the other tools are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pbs.model import Receipt
from pbs.runs.brought import Restored
from pbs.space import Space


class Inventory(Protocol):
    """The names of what lies in a repository; nothing of it has been read."""

    @property
    def snapshots(self) -> frozenset[str]:
        """Ids of snapshots."""
        ...


class Reading(Protocol):
    """What came of reading packs again."""

    @property
    def files(self) -> int:
        """How many."""
        ...

    @property
    def bytes(self) -> int:
        """How much."""
        ...

    @property
    def lying(self) -> frozenset[str]:
        """Those of the wrong ones that were so when they came."""
        ...

    @property
    def bad(self) -> Mapping[str, str]:
        """What is wrong with which."""
        ...


class Touched(Protocol):
    """What of a snapshot lies in a pack."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Files of it."""
        ...

    @property
    def blobs(self) -> frozenset[str]:
        """Blobs of it."""
        ...

    @property
    def whole(self) -> bool:
        """Whether its folders themselves cannot be read any more."""
        ...


class Repository(Protocol):
    """The repository of one source, seen from inside."""

    @property
    def key(self) -> str | None:
        """The id of our own key."""
        ...

    async def verify(self) -> None:
        """Raise unless it lies where it should and is the one that the ledger knows."""
        ...

    def inventory(self) -> Inventory:
        """What lies there now."""
        ...

    def clear_locks(self) -> int:
        """Remove the locks that were left there; only while nobody but us can reach the repository."""
        ...

    def packed_bytes(self) -> int:
        """What its packs take."""
        ...

    def index_bytes(self) -> int:
        """What its index takes."""
        ...

    def changing(self, run: str, damaged: frozenset[str] = frozenset()) -> AbstractContextManager[None]:
        """A block in which this run alone changes admitted files; refused where more than these packs is not as it was."""
        ...

    async def prune(self, unused: int, most: int) -> None:
        """Remove what no snapshot needs; `unused` per cent of it may stay, `most` bytes may be written anew for it."""
        ...

    async def present_blobs(self, wanted: Collection[str]) -> frozenset[str]:
        """Which of these blobs are there."""
        ...

    async def salvage(self, packs: Sequence[str]) -> None:
        """Save what is left of damaged packs, and do without them."""
        ...

    def reread(self, reason: str) -> None:
        """Have the next run read every file of the source again."""
        ...

    async def check(self) -> None:
        """Look at its structure; raises with what is wrong."""
        ...

    async def read_again(self, folder: str) -> Reading:
        """Read every pack of a folder that should be there."""
        ...

    def holds(self, pack: str) -> bool:
        """Whether there is a file of this pack's name."""
        ...

    async def touched(self, snapshot: str, pack: str) -> Touched | None:
        """What of a snapshot lies in a pack; None where nothing does."""
        ...

    async def tree_blobs(self, pack: str) -> frozenset[str]:
        """The folders that lie in a pack."""
        ...

    async def forget(self, snapshots: Sequence[str]) -> None:
        """Remove these snapshots, by their whole ids; only while nobody but us can reach the repository."""
        ...

    async def bring_back(
        self, receipt: Receipt, path: bytes, name: str, spare: int, progress: Callable[[Any], None]
    ) -> tuple[Path, Restored]:
        """Restore what lies at a path of a snapshot into a new folder of this name; where that is, and what came of it.

        There is no such folder unless it came to its end; `spare` bytes stay free beside it.
        """
        ...

    def space_for_restores(self) -> Space:
        """How full the file system is that runs restore to."""
        ...

    def password(self) -> str | None:
        """What opens it; None where it has none."""
        ...

    def space(self) -> Space:
        """How full its file system is."""
        ...

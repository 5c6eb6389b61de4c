"""Where the tools are put together for one source: the place where mypy proves that they fit the Protocols of a run.

It wires; it decides nothing and does nothing by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from pbs import legacy, repository, restore, tunnel
from pbs.admission import Desk, Place, begin_own_work, differences, prove, settle
from pbs.clock import Clock
from pbs.endpoint import Endpoint, Supervisor
from pbs.errors import AdmissionRefused, RepositoryMissing, RepositoryReplaced
from pbs.files import FileLock, make_folder
from pbs.home import Home
from pbs.journal import FileJournal
from pbs.ledger import Ledger
from pbs.legacy.importing import PREFIX as IMPORTS
from pbs.model import Receipt, Repository, RootMeta, Run, Source
from pbs.opening import admitted_index, handle_of, showing
from pbs.repository.inspection import PREFIX as INSPECTIONS
from pbs.repository.views import PREFIX as VIEWS
from pbs.runs.halt import Halt
from pbs.runs.ports import Event, Line
from pbs.runs.report import Report
from pbs.runs.stages import Stages
from pbs.runs.work import Work
from pbs.scratch import sweep
from pbs.space import Space, space_of
from pbs.threads import in_thread, in_thread_until


def place_of(home: Home, known: Repository, inherit: tuple[int, ...] = ()) -> Place:
    """The repository that the ledger knows for a source, with the folders that admission needs."""
    return Place(
        known.source,
        known.id,
        handle_of(home, known, inherit),
        home.work(known.source),
        home.quarantine(known.source),
    )


class KnownRepository:
    """The repository of one source as a run sees it: the one that the ledger knows, or an error."""

    def __init__(
        self, home: Home, ledger: Ledger, name: str, clock: Clock, inherit: tuple[int, ...] = ()
    ) -> None:
        known = ledger.repository(name)
        if known is None:
            raise RepositoryMissing(
                f"{name} has no repository yet", f"`pbs source add {name} …` makes it, `pbs reload` as well"
            )
        self._known = known
        self._ledger = ledger
        self._clock = clock
        self._restored = home.restored
        self.place = place_of(home, known, inherit)
        self.handle = self.place.handle

    @property
    def key(self) -> str | None:
        """The id of our own key."""
        return self._known.key

    async def verify(self) -> None:
        """Raise unless the repository that the ledger knows lies in its place and our key opens it.

        Raises:
            RepositoryMissing, RepositoryReplaced: a disk that is not mounted must not start a second history.
        """
        path = self.handle.path
        if not (path / "config").exists():
            raise RepositoryMissing(
                f"the repository of {self._known.source} is not at {path}",
                "is its disk mounted? It is never made anew while the ledger knows it",
            )
        found = await in_thread(repository.own_id, self.handle) or await repository.identity(self.handle)
        if found != self._known.id:
            raise RepositoryReplaced(
                f"the repository at {path} is another one ({found[:8]}) than the ledger knows ({self._known.id[:8]})",
                "put the right one back; to begin anew, remove the source with --purge and add it again",
            )

    def inventory(self) -> repository.Inventory:
        """What lies there now."""
        return repository.inventory(self.handle.path)

    def clear_locks(self) -> int:
        """Remove the locks that were left there; only while nobody but us can reach the repository."""
        return repository.clear_locks(self.handle.path)

    def packed_bytes(self) -> int:
        """What its packs take."""
        return sum(repository.packs(self.handle.path).values())

    def index_bytes(self) -> int:
        """What its index takes."""
        return repository.index_bytes(self.handle.path)

    @contextmanager
    def changing(self, run: str, damaged: frozenset[str] = frozenset()) -> Iterator[None]:
        """A block in which this run changes admitted files; what lies there after it is what is admitted.

        Raises:
            AdmissionRefused: something but these damaged packs is not what was admitted.
        """
        manifest = self._ledger.manifests.of(self.place.id)
        if manifest is not None and manifest.own is not None:
            # A run of ours was killed at such work, and no door was opened since: a pull would have settled it.
            settle(self.place, self._ledger, run)
        told = [
            each
            for each in differences(self.place, self._ledger)
            if not damaged & set(re.split("[/:]", each))
        ]
        if told:
            raise AdmissionRefused(
                f"the repository is not exactly what was admitted: {told[0]} ({len(told)} such)",
                f"nothing was changed; `pbs pull {self._known.source}` deals with what a source left there",
            )
        begin_own_work(self.place, self._ledger, run)
        try:
            yield
        finally:
            # Only we were there: whatever it is now, restic made it of what was admitted.
            settle(self.place, self._ledger, run)

    def _clear(self) -> None:
        """Remove what a restic of ours that was killed left behind."""
        repository.clear_locks(self.handle.path)
        repository.clear_uploads(self.handle.path)

    async def prune(self, unused: int, most: int) -> None:
        """Remove what no snapshot needs; `unused` per cent of it may stay, `most` bytes may be written anew for it."""
        self._clear()
        await repository.prune(self.handle, unused, most)

    async def present_blobs(self, wanted: Collection[str]) -> frozenset[str]:
        """Which of these blobs are there."""
        return await repository.present_blobs(self.handle, wanted)

    async def salvage(self, packs: Sequence[str]) -> None:
        """Save what is left of damaged packs, and do without them; a copy of each goes into quarantine."""
        self._clear()
        there = [pack for pack in packs if self.holds(pack)]
        if there:
            aside = self.place.quarantine / "damaged"
            make_folder(aside)
            await repository.salvage(self.handle, there, aside)
        if len(there) < len(packs):
            await repository.rebuild_index(self.handle)

    def reread(self, reason: str) -> None:
        """Have the next run read every file of the source again."""
        self._ledger.manifests.reread(self.place.id, reason)

    async def check(self) -> None:
        """Look at its structure; raises with what is wrong."""
        await repository.check(self.handle)

    async def read_again(self, folder: str) -> repository.Reading:
        """Read every pack of a folder that should be there, and look into those that nobody has looked into."""
        known = self._ledger.manifests.names(self.place.id, "data", folder)
        place = self.handle.path / "data" / folder
        found = await in_thread_until(partial(repository.read_again, place, known))
        lying = await prove(self.place, self._ledger, folder, found.bad)
        return replace(found, bad={**lying, **found.bad}, lying=frozenset(lying))

    def holds(self, pack: str) -> bool:
        """Whether there is a file of this pack's name."""
        return (self.handle.path / "data" / pack[:2] / pack).exists()

    async def touched(self, snapshot: str, pack: str) -> repository.Touched | None:
        """What of a snapshot lies in a pack; None where nothing does."""
        return await repository.touched(self.handle, snapshot, pack)

    async def tree_blobs(self, pack: str) -> frozenset[str]:
        """The folders that lie in a pack."""
        return await repository.tree_blobs(self.handle, pack)

    async def forget(self, snapshots: Sequence[str]) -> None:
        """Remove these snapshots, by their whole ids; only while nobody but us can reach the repository."""
        await repository.drop(self.handle, snapshots)

    async def bring_back(
        self,
        receipt: Receipt,
        path: bytes,
        name: str,
        spare: int,
        progress: Callable[[restore.Progress], None],
    ) -> tuple[Path, restore.Restored]:
        """Restore what lies at a path of a snapshot into a new folder of this name; devices are left out.

        There is no such folder until it is whole; `spare` bytes stay free beside it.
        """
        index = admitted_index(self._ledger, self._known, receipt.id)
        with showing(self.handle, self.place.work, [receipt.id], index) as handle:
            async with restore.landing(self._restored, name, self._clock) as half:
                done = await restore.restore(
                    replace(handle, inherit=(*handle.inherit, half.descriptor)).program(),
                    receipt.id,
                    half.path,
                    partial(repository.listing, handle, receipt.id, recursive=True),
                    paths=[path] if path != b"/" else [],
                    root=receipt.root,
                    spare=spare,
                    progress=progress,
                )
        return self._restored / name, done

    def space_for_restores(self) -> Space:
        """How full the file system is that runs restore to."""
        make_folder(self._restored)
        return space_of(self._restored)

    def password(self) -> str | None:
        """What opens it."""
        return self.handle.password

    def space(self) -> Space:
        """How full its file system is."""
        return space_of(self.handle.path)


class LegacyTree:
    """The rdiff-backup tree of one source, imported into its repository."""

    def __init__(self, home: Home, source: Source, handle: repository.Handle, clock: Clock) -> None:
        self._path = home.legacy(source.name)
        self._work = home.work(source.name)
        self._clock = clock
        self._source = source
        self._handle = handle

    def present(self) -> bool:
        """Whether there is something to import."""
        return legacy.find(self._path) is not None

    def root(self) -> RootMeta | None:
        """The metadata of the tree's own folder."""
        tree = legacy.find(self._path)
        return legacy.root_meta(tree) if tree is not None else None

    def obstacle(self) -> str | None:
        """Why it must not be removed by a program; None where nothing is odd about it."""
        return legacy.obstacle(self._path, self._path.parent)

    def half_gone(self) -> bool:
        """Whether its removal began and did not come to its end."""
        return legacy.half_gone(self._work)

    async def size(self) -> int:
        """Bytes that its removal frees."""
        return await in_thread(legacy.size_of, self._path)

    async def set_aside(self) -> None:
        """Take it out of its place, so that nobody sees half of it."""
        await in_thread(legacy.set_aside, self._path, self._path.parent, self._work)

    async def remove(self, until: float) -> bool:
        """Go on removing it until this moment of the monotonic clock; True when nothing of it is left."""
        return await in_thread(legacy.remove, self._work, lambda: self._clock.monotonic() > until)

    async def import_newest(
        self, run: Run, report: Callable[[Event], None], look: Callable[[], None]
    ) -> tuple[str, datetime]:
        """Make a snapshot of the tree's newest state."""
        tree = legacy.find(self._path)
        assert tree is not None  # noqa: S101 - present() was asked
        return await legacy.import_newest(
            tree,
            self._handle,
            source=self._source.name,
            run=run.id,
            work=self._work,
            progress=report,
            look=look,
        )


@dataclass(frozen=True, slots=True)
class Tools:
    """What every run of a service shares."""

    home: Home
    ledger: Ledger
    supervisor: Supervisor
    clock: Clock


def clear_scratch(home: Home, name: str) -> None:
    """Remove views and half-done imports of a source whose holders were killed; they may be as large as a backup."""
    for prefix in (VIEWS, INSPECTIONS, IMPORTS):
        sweep(home.work(name), prefix)


def endpoint_of(tools: Tools, source: Source) -> Endpoint:
    """The append-only door of a source."""
    return Endpoint(tools.home, source, tools.supervisor, tools.clock)


def work_of(tools: Tools, source: Source, run: Run, run_lock: FileLock, in_use: FileLock, halt: Halt) -> Work:
    """Everything that one run may touch, under the run lock of the source and the lock of its repository.

    `halt` tells it why its task is cancelled.

    Raises:
        PbsError: the source has no repository or a tool is missing.
    """
    home, ledger = tools.home, tools.ledger
    known = KnownRepository(home, ledger, source.name, tools.clock, (run_lock.descriptor, in_use.descriptor))
    journal = FileJournal(home.run_log(source.name, run.id), tools.clock)
    line: Callable[[], AbstractAsyncContextManager[Line]] = partial(
        tunnel.connect, source.address, tools.clock
    )
    return Work(
        run=run,
        source=source,
        clock=tools.clock,
        journal=journal,
        stages=Stages(journal, source.timeout),
        report=Report(journal, ledger.newest(source.name), tools.clock),
        records=ledger,
        repository=known,
        desk=Desk(known.place, ledger, run, source, tools.clock, journal),
        endpoint=endpoint_of(tools, source),
        legacy=LegacyTree(home, source, known.handle, tools.clock),
        connect=line,
        halt=halt,
        alone=in_use.alone,
    )

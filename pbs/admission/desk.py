"""Admission of one run's arrivals: before the door opens, while it is open, and after it was shut for good.

The manifest in the ledger is the truth; whatever lies on the disk beside it has not arrived yet, whoever left it there.
So the order is everything: packs are read, our index of them is put into the repository, then one transaction makes both
part of the manifest. A death before that leaves files that the next look treats like any arrival; after it, nothing is
left to do. The same holds for a snapshot and its receipt.

The shared repository lock is enough for all of this: admitted files are never changed or removed here, and every reader
takes the names of index files and snapshots from the manifest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from pbs import files
from pbs.admission.alarm import alarm
from pbs.admission.aside import DEFAULT_ROOM, Aside, Found
from pbs.admission.doubts import Doubts
from pbs.admission.exact import drop_forgotten, settle
from pbs.admission.judgement import (
    FOREIGN_KEY,
    LEFT_OVER,
    NOT_NAMED,
    STRANGE,
    UNSEALED,
    Place,
    counted,
    fits,
    must_reread,
    never_before,
    told,
)
from pbs.admission.packs import Packs
from pbs.clock import Clock
from pbs.errors import AdmissionRefused, HomeError, LedgerError, PbsError
from pbs.journal import FileJournal
from pbs.ledger import Ledger
from pbs.model import (
    SNAPSHOT_ID,
    Manifest,
    Outcome,
    Quarantined,
    Receipt,
    ReceiptState,
    RootMeta,
    Run,
    Snapshot,
    Source,
    Verified,
)
from pbs.repository import (
    Survey,
    Tree,
    UnsoundTree,
    clear_locks,
    clear_uploads,
    config_digest,
    inventory,
    junk,
    patience,
    snapshot,
    sound,
    steady,
    survey,
    together,
)
from pbs.runs.evidence import admitted_facts
from pbs.runs.ports import Verdict
from pbs.threads import in_thread

MOST_TOLD = 100
IMPORTED = frozenset({"legacy"})


class Desk:
    """What a run asks when something may have arrived. It belongs to one run of one source."""

    def __init__(
        self, place: Place, ledger: Ledger, run: Run, source: Source, clock: Clock, journal: FileJournal
    ) -> None:
        self._place = place
        self._ledger = ledger
        self._run = run
        self._source = source
        self._clock = clock
        self._journal = journal
        self._packs = Packs(place, ledger, run.id, clock, journal, full=source.admission is Verified.FULL)
        self._aside = Aside(
            place.handle.path, place.quarantine, place.source, run.id, ledger, place.id,
            source.quota or DEFAULT_ROOM, source.reserve,
        )  # fmt: skip
        self._doubts = Doubts(place, ledger, run, source, clock, journal)
        self._moved: list[Quarantined] = []
        self.reread: str | None = None

    async def ready(self) -> Verdict:
        """Deal with what an earlier run left, before anything new can arrive; says what it was.

        Raises:
            AdmissionRefused: something that was admitted is gone or changed.
        """
        manifest = self._manifest()
        verdict = Verdict()
        await self._take_in(manifest, None, verdict, LEFT_OVER)
        self.reread = must_reread(self._manifest(), self._source.reread_every)
        return verdict

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Inspect packs as they arrive, for the length of a block, so that little is left at its end."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._packs.rounds(stop), name="admission rounds")
        try:
            yield
            stop.set()
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(
        self, promised: str | None, outcome: Outcome, root: RootMeta | None, imported: datetime | None = None
    ) -> Verdict:
        """Inspect what arrived in this run, and admit the snapshot that it was to make.

        Args:
            promised: The snapshot that the agent named; None where it named none.
            outcome: What the agent said of it.
            root: What the agent said of the folder itself.
            imported: When the state was taken that we imported ourselves; None where a source sent it.

        Raises:
            AdmissionRefused: something that was admitted is gone or changed.
        """
        verdict = Verdict()
        if promised is not None and SNAPSHOT_ID.fullmatch(promised) is None:
            verdict.refusal = AdmissionRefused(
                "the agent named a snapshot by something that is no id", "look at that machine"
            )
            promised = None
        manifest = self._manifest()
        # What the snapshot says of itself needs no pack: it is read beside them.
        arrived, claimed = await together(
            self._take_in(manifest, promised, verdict, NOT_NAMED), self._claimed(promised)
        )
        if promised is not None:
            if promised in arrived.new["snapshots"]:
                await self._admit(promised, claimed, outcome, root, imported, verdict)
            else:
                verdict.refusal = AdmissionRefused(
                    f"the agent named the snapshot {promised[:8]}, which did not arrive in this run",
                    "look at that machine: its agent does not tell the truth",
                )
        if verdict.incidents or verdict.refusal:
            self._ledger.manifests.reread(self._place.id, f"after {self._run.id}")
        return verdict

    def clear(self, looked: Mapping[str, int] | None = None) -> None:
        """Remove locks and torn uploads; only while no source can reach the repository.

        `looked`: the pack folders with their times when they were looked through, and nothing torn lay in them.
        """
        path = self._place.handle.path
        cleared = clear_locks(path) + clear_uploads(path, looked or {})
        if cleared:
            self._journal.write("cleared", count=cleared)

    # what lies there

    def _manifest(self) -> Manifest:
        """The manifest; a repository that has none begins with nothing admitted, whatever lies in it."""
        place = self._place
        found = self._ledger.manifests.of(place.id)
        if found is None:
            path = place.handle.path
            keys = {place.handle.key} if place.handle.key else inventory(path).keys
            sizes = {key: (path / "keys" / key).stat().st_size for key in keys}
            found = self._ledger.manifests.begin(place.id, config_digest(path), self._run.id, sizes)
            if any(each.state is ReceiptState.ADMITTED for each in self._ledger.usable(place.source)):
                self._ledger.manifests.reread(place.id, "nothing is known of how its snapshots came")
        drop_forgotten(place, self._ledger)
        if found.own is not None:
            self._journal.write("stage", stage="settle", work=found.own)
            settle(place, self._ledger, self._run.id)
            found = self._ledger.manifests.of(place.id) or found
        return found

    def _known(self, kind: str, folder: str) -> dict[str, int]:
        return self._ledger.manifests.names(self._place.id, kind, folder)

    async def _take_in(self, manifest: Manifest, promised: str | None, verdict: Verdict, why: str) -> Survey:
        """Everything but the promised snapshot: packs are inspected, all that nobody asked for is put aside."""
        self.clear(manifest.folders)
        self._journal.write("stage", stage="inventory")
        found = await in_thread(survey, self._place.handle.path, self._known, manifest.folders)
        refusal = alarm(
            self._place, self._ledger, self._journal, found, manifest, self._run.id, self._clock.now()
        )
        # Still whole from before this program kept a manifest: its receipt says so, and what it holds is read now.
        received = self._ledger.usable_of(self._place.source, found.new["snapshots"])
        taken_over = {each.id for each in received}
        bad = await self._packs.admit(found.new["data"], self._journal)
        if taken_over:
            await self._take_over(taken_over, found)
        unsealed = await in_thread(junk, self._place.handle, "index", found.new["index"])
        aside = [Found("data", f"data/{name[:2]}/{name}", reason) for name, reason in sorted(bad.items())]
        aside += [Found("keys", f"keys/{name}", FOREIGN_KEY) for name in sorted(found.new["keys"])]
        aside += [Found("index", f"index/{name}", UNSEALED) for name in sorted(unsealed)]
        aside += [Found("stray", path, STRANGE) for path in sorted(found.strays)]
        snapshots = sorted(found.new["snapshots"].keys() - {promised} - taken_over)
        aside += [Found("snapshots", f"snapshots/{name}", why) for name in snapshots]
        await self._put_aside(aside)
        await in_thread(self._supersede, found.new["index"].keys() - unsealed)
        self._tell(verdict, len(snapshots), named=promised is not None, left_over=why == LEFT_OVER)
        dirty = {name[:2] for name in bad} | {
            path.split("/")[1] for path in found.strays if path.startswith("data/")
        }
        now = self._clock.now().timestamp()
        folders = steady(found.folders, now, dirty)
        if folders != manifest.folders:
            self._ledger.manifests.looked(self._place.id, folders)
        if refusal is not None:
            raise refusal
        return found

    def _supersede(self, names: Iterable[str]) -> None:
        """Remove the index files that the source made: ours name all that they could."""
        count = sum(files.remove_file(self._place.handle.path / "index" / name) for name in names)
        if count:
            self._journal.write("superseded", index=count)

    async def _put_aside(self, found: list[Found]) -> None:
        if not found:
            return
        self._journal.write("stage", stage="aside", count=len(found))
        moved = await in_thread(self._aside.take, found, self._clock.now())
        for each in moved[:MOST_TOLD]:
            self._journal.write("quarantined", kind=each.kind, name=each.name, reason=each.reason)
        for what in found[:MOST_TOLD]:
            if what.kind == "snapshots":
                self._ledger.add_receipt(self._quarantined(what.path.rpartition("/")[2], what.reason))
        self._moved += moved

    def _tell(self, verdict: Verdict, snapshots: int, *, named: bool, left_over: bool) -> None:
        # An honest agent that dies may leave the one snapshot of its run unnamed; two, or one beside the named, none leaves.
        honest = snapshots == 1 and not named
        incidents = told(self._moved, 0 if honest else snapshots)
        if honest:
            whose = (
                "of an earlier run that broke off was found; it was"
                if left_over
                else "came that nobody named; it was"
            )
            verdict.remarks.append(f"1 snapshot {whose} not admitted")
        if not incidents:
            return
        verdict.incidents += incidents
        self._ledger.note(
            self._clock.now(), "quarantined", {"what": incidents, "left_over": left_over},
            about=self._place.source, by=self._run.id,
        )  # fmt: skip
        self._ledger.manifests.reread(self._place.id, f"after {self._run.id}")
        self._moved.clear()

    # snapshots

    async def _sound(self, wanted: Snapshot) -> Tree:
        """What a walk through its tree counts, or counted when the very tree was admitted before.

        Raises:
            UnsoundTree: it is not whole, or none that a system could hold.
        """
        known = self._known("snapshots", "")
        same = self._ledger.same(self._place.source, wanted.tree) if wanted.tree is not None else []
        damaged = self._ledger.custody.damaged(self._place.source)[1] if same else frozenset()
        for receipt in same:
            if receipt.id in known and receipt.id not in damaged and (tree := counted(receipt, wanted.tree)):
                return tree
        usable = self._ledger.usable(self._place.source)
        tree = await sound(
            self._place.handle, self._place.work, wanted.id, self._known("index", ""), self._patience(),
            self._source.max_entries, max((each.files or 0 for each in usable), default=0),
        )  # fmt: skip
        self._journal.write("counted", files=tree.files, bytes=tree.bytes, special=tree.special)
        return tree

    def _patience(self) -> float:
        """The seconds that a look through a snapshot may take, by how long its source took to make it."""
        begun = self._run.started or self._run.queued
        return patience((self._clock.now() - begun).total_seconds())

    async def _claimed(self, promised: str | None) -> Snapshot | str:
        """What a snapshot says of itself; why it cannot be read where that is so."""
        try:
            return await snapshot(self._place.handle, promised) if promised else ""
        except PbsError as error:
            return f"it cannot be read ({error.message})"

    async def _admit(
        self,
        promised: str,
        claimed: Snapshot | str,
        outcome: Outcome,
        root: RootMeta | None,
        imported: datetime | None,
        verdict: Verdict,
    ) -> None:
        self._journal.write("stage", stage="snapshot")
        if isinstance(claimed, str):
            # Junk beside it may have been in the way, which is gone now.
            claimed = await self._claimed(promised)
        tree = await self._judged(claimed, IMPORTED if imported else frozenset())
        if isinstance(tree, str) or isinstance(claimed, str):
            await self._put_aside([Found("snapshots", f"snapshots/{promised}", str(tree))])
            self._moved.clear()
            verdict.refusal = AdmissionRefused(
                f"the snapshot {promised[:8]} is not the one that this run was to make: {tree}",
                "look at that machine",
            )
            return
        # Counted here; what the source says of itself is a claim.
        found = replace(claimed, files=tree.files, bytes=tree.bytes)
        if imported is None:
            verdict.remarks += await self._doubts.look(found, self._packs.arrived, self._patience())
        self._journal.write("stage", stage="receipt")
        value = replace(
            self._receipt(found), outcome=outcome, root=root, verified=self._level(), tree=found.tree
        )
        time = imported or never_before(self._ledger.newest(self._place.source), value.received)
        value = replace(value, state=ReceiptState.LEGACY if imported else value.state, time=time)
        self._ledger.manifests.add_snapshot(value, self._place.id, self._size(promised))
        # After the fact: what the log calls admitted was, should the ledger be lost.
        self._journal.write("admitted", **admitted_facts(value))
        if imported is None:
            self._doubts.next_reading(self.reread)
        verdict.snapshot = found

    async def _judged(self, claimed: Snapshot | str, more: frozenset[str]) -> Tree | str:
        """What a snapshot holds; why it is not the one that the run was to make, where it is not."""
        if isinstance(claimed, str):
            return claimed
        try:
            return fits(claimed, self._place.source, self._run.id, more) or await self._sound(claimed)
        except UnsoundTree as error:
            return error.message
        except (AdmissionRefused, HomeError, LedgerError):
            raise
        except PbsError as error:
            return f"it cannot be read ({error.message})"

    def _level(self) -> Verified:
        if self._source.admission is not Verified.FULL:
            return Verified.STRUCTURE
        return self._ledger.manifests.weakest(self._place.id)

    def _note(self, name: str, detail: dict[str, object], now: datetime) -> None:
        self._ledger.note(now, name, detail, about=self._place.source, by=self._run.id)

    async def _take_over(self, ids: set[str], found: Survey) -> None:
        """Snapshots that an earlier version of this program admitted by their names: read them now, once."""
        self._journal.write("stage", stage="take-over", snapshots=len(ids))
        for receipt in self._ledger.usable(self._place.source):
            if receipt.id not in ids:
                continue
            verified, tree = self._level(), None
            try:
                known = await snapshot(self._place.handle, receipt.id)
                tree = known.tree
                await self._sound(known)
            except PbsError as error:
                # It was promised to somebody: it stays, as what it is.
                verified = Verified.NONE
                self._journal.write("unsound", snapshot=receipt.id, reason=error.message)
                self._note("unsound", {"snapshot": receipt.id, "reason": error.message}, self._clock.now())
            value = replace(receipt, verified=verified, tree=tree)
            self._ledger.manifests.add_snapshot(value, self._place.id, found.new["snapshots"][receipt.id])

    def _size(self, snapshot_id: str) -> int:
        with files.explained("look at a snapshot", self._place.handle.path):
            return (self._place.handle.path / "snapshots" / snapshot_id).stat().st_size

    def _receipt(self, found: Snapshot) -> Receipt:
        now = self._clock.now()
        return Receipt(
            id=found.id, source=self._place.source, run=self._run.id, received=now, time=now,
            claimed=found.claimed, state=ReceiptState.ADMITTED, outcome=Outcome.OK, paths=found.paths,
            files=found.files, bytes=found.bytes, added_bytes=found.added_bytes,
        )  # fmt: skip

    def _quarantined(self, snapshot_id: str, reason: str) -> Receipt:
        # Nothing of it is read: only its name is known, and only its name is written down.
        nothing = Snapshot(snapshot_id, None, "", (), ())
        return replace(
            self._receipt(nothing), state=ReceiptState.QUARANTINED, outcome=Outcome.REFUSED, reason=reason
        )

"""Admission against a forger who holds the repository's password: what is sound counts, everything else is set aside."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scenarios"))
from disk import fill, free, small_disk
from forge import Folder, Forger, attacks, node

from pbs.admission import Desk, Place, begin_own_work, differences, discard, prove, settle
from pbs.admission.judgement import never_before
from pbs.admission.packs import batches
from pbs.bounds import Bounds
from pbs.clock import SystemClock
from pbs.errors import AdmissionRefused, PbsError, RestoreError
from pbs.journal import FileJournal
from pbs.ledger import Ledger, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import (
    Address,
    Cause,
    Damage,
    DamageState,
    Kind,
    Outcome,
    QuarantineState,
    Receipt,
    ReceiptState,
    Repository,
    Run,
    RunState,
    Source,
    Tripwires,
    Verified,
)
from pbs.repository import Handle, Inspector, identity, inspection, listing, packs, view
from pbs.restore import compare, restore
from pbs.runs.ports import Verdict

ADDRESS = Address("h", 22, "u", "k", "f")
BOMB_BYTES = 6 << 30


async def back_up(handle: Handle, folder: Path, *arguments: str) -> str:
    """A snapshot of a folder, made from inside it, as an agent does; its id."""
    lines: list[bytes] = []
    await handle.program(writing=True).run(
        "backup", "--json", "--force", *arguments, "--", ".", cwd=folder, on_line=lines.append
    )
    return str(json.loads(lines[-1])["snapshot_id"])


@dataclass
class Stage:
    """A repository with a ledger, and runs that a source fills as it likes."""

    handle: Handle
    ledger: Ledger
    folder: Path
    data: Path
    id: str
    source: Source = field(default_factory=lambda: Source("web1", ADDRESS))
    number: int = 0
    desk: Desk = field(init=False)
    run: Run = field(init=False)

    @property
    def place(self) -> Place:
        """Where everything of the source lies."""
        base = self.handle.path.parent
        return Place("web1", self.id, self.handle, base / "web1.work", base / "web1.quarantine")

    def begin(self, kind: Kind = Kind.PULL) -> Verdict:
        """A new run, up to where the source may send."""
        self.number += 1
        now = datetime.now(UTC)
        self.run = Run(f"run-{self.number}", "web1", kind, Cause.ASKED, RunState.RUNNING, now, started=now)
        journal = FileJournal(self.folder / f"{self.run.id}.jsonl", SystemClock())
        self.desk = Desk(self.place, self.ledger, self.run, self.source, SystemClock(), journal)
        return asyncio.run(self.desk.ready())

    @property
    def fields(self) -> dict[str, Any]:
        """What an honest snapshot of this run says of itself."""
        return {"hostname": "web1", "tags": ["source=web1", f"run={self.run.id}"],
                "time": datetime.now(UTC).isoformat().replace("+00:00", "Z")}  # fmt: skip

    def send(self, *more: str) -> str:
        """What an honest agent sends; the snapshot."""
        tags = [f"--tag={tag}" for tag in self.fields["tags"]]
        return asyncio.run(back_up(self.handle, self.data, "--host=web1", *tags, *more))

    def end(self, promised: str | None, outcome: Outcome = Outcome.OK) -> Verdict:
        """What becomes of it."""
        return asyncio.run(self.desk.close(promised, outcome, None))

    def pull(self) -> str:
        """An honest run that is admitted without a word."""
        assert not self.begin().incidents
        verdict = self.end(self.send())
        assert verdict.snapshot is not None, verdict
        assert not verdict.incidents
        self.exact()
        return verdict.snapshot.id

    def forger(self) -> Forger:
        """The source, out of control."""
        return Forger(Folder(self.handle.path), self.handle.password or "")

    def restic(self, *words: str) -> str:
        """What restic says of the repository as it lies there."""
        return asyncio.run(self.handle.program(writing=True).run(*words)).stdout.decode()

    def exact(self) -> None:
        """The repository holds what was admitted and nothing else; restic itself finds no fault in it."""
        assert differences(self.place, self.ledger) == []
        assert not list(self.place.work.glob("*"))

    def restores(self, snapshot: str, like: Path) -> None:
        """A snapshot comes back as this tree, through a view as every verb uses it."""
        index = self.ledger.manifests.names(self.id, "index")
        target = self.folder / f"out-{snapshot[:8]}"
        with view(self.handle.path, self.place.work, [snapshot], self.handle.key, index) as shown:
            there = replace(self.handle, path=shown.path)
            asyncio.run(there.program().run("restore", snapshot, "--target", str(target)))
        assert not compare(like, target)
        shutil.rmtree(target)

    def aside(self) -> list[str]:
        """The kinds of what lies in the quarantine."""
        return sorted(each.kind for each in self.ledger.quarantine.list("web1"))

    def states(self) -> dict[str, str]:
        """Every receipt."""
        return {each.id: each.state.value for each in self.ledger.receipts("web1")}


@pytest.fixture
def stage(tmp_path: Path, handle: Handle) -> Iterator[Stage]:
    """A repository with nothing in it, and a small tree."""
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    for number in range(6):
        (data / "sub" / f"file-{number}").write_bytes(os.urandom(30_000))
    upgrade(tmp_path / "ledger.sqlite", tmp_path / "lock")
    with contextlib.closing(open_ledger(tmp_path / "ledger.sqlite")) as ledger:
        ledger.add_source("web1", datetime.now(UTC))
        known = asyncio.run(identity(handle))
        ledger.add_repository(Repository(known, "web1", str(handle.path), handle.key), datetime.now(UTC))
        yield Stage(handle, ledger, tmp_path, data, known)


def kept(stage: Stage) -> dict[str, str]:
    """Every file of the repository with its hash."""
    return {
        str(path.relative_to(stage.handle.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in stage.handle.path.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }


# What is sound


def test_an_honest_run_is_admitted_and_its_index_is_ours(stage: Stage) -> None:
    """Every byte was read: the receipt says so, its counts are ours, and the source's index is gone."""
    stage.begin()
    snapshot = stage.send()
    sent = set(os.listdir(stage.handle.path / "index"))
    verdict = stage.end(snapshot)
    assert (verdict.incidents, verdict.remarks, verdict.refusal) == ([], [], None)
    (receipt,) = stage.ledger.usable("web1")
    assert (receipt.verified, receipt.files, receipt.bytes) == (Verified.FULL, 6, 180_000)
    assert not sent & set(os.listdir(stage.handle.path / "index"))
    stage.exact()
    stage.restores(snapshot, stage.data)
    assert "no errors were found" in stage.restic("check", "--read-data")


def test_what_did_not_change_is_not_looked_at_again(stage: Stage) -> None:
    """A run that sends no pack reads no pack, and a tree that was admitted before is not walked again."""
    stage.pull()
    before = kept(stage)
    stage.begin()
    stage.end(stage.send())
    log = (stage.folder / "run-2.jsonl").read_text()
    assert '"inspected"' not in log
    assert '"counted"' not in log
    assert before.items() <= kept(stage).items()
    stage.exact()


def test_admitting_twice_changes_nothing(stage: Stage) -> None:
    """Idempotent: the same arrivals, the same end."""
    snapshot = stage.pull()
    before = kept(stage)
    stage.begin()
    assert stage.end(None).snapshot is None
    assert before == kept(stage)
    assert [snapshot] == list(stage.states())


def test_what_a_broken_run_sent_is_not_sent_again(stage: Stage) -> None:
    """Packs of an interrupted run are admitted by the same inspection, and its snapshot is not."""
    stage.begin()
    snapshot = stage.send()
    packs = {path for path in kept(stage) if path.startswith("data/")}
    verdict = stage.begin()
    assert "1 snapshot of an earlier run" in verdict.remarks[0]
    assert stage.states() == {snapshot: "quarantined"}
    stage.exact()
    stage.end(stage.send())
    assert packs == {path for path in kept(stage) if path.startswith("data/")}
    stage.exact()


def test_an_import_of_ours_is_dated_by_its_increment(stage: Stage) -> None:
    """What our own restic wrote goes the same way and is a receipt of its own state."""
    stage.begin(Kind.MIGRATE)
    snapshot = stage.send("--tag=legacy", "--time=2020-02-03 04:05:06")
    moment = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
    verdict = asyncio.run(stage.desk.close(snapshot, Outcome.OK, None, moment))
    assert not verdict.remarks
    (receipt,) = stage.ledger.usable("web1")
    assert (receipt.state, receipt.time, receipt.verified) == (ReceiptState.LEGACY, moment, Verified.FULL)


def test_a_repository_from_before_is_read_once(stage: Stage) -> None:
    """Snapshots that were admitted by their names alone: everything is read, and the receipts then say so."""
    snapshot = stage.pull()
    (receipt,) = stage.ledger.usable("web1")
    stage.ledger.manifests.drop("web1")
    assert not stage.begin().incidents
    (again,) = stage.ledger.usable("web1")
    assert (again.id, again.verified, again.time) == (snapshot, Verified.FULL, receipt.time)
    assert '"inspected"' in (stage.folder / "run-2.jsonl").read_text()
    assert "nothing is known of how its snapshots came" == stage.desk.reread
    stage.exact()
    stage.restores(snapshot, stage.data)
    assert stage.end(stage.send()).snapshot is not None
    stage.begin()
    assert stage.desk.reread is None


def test_the_level_structure_reads_headers_and_says_so(stage: Stage) -> None:
    """For slow machines: whole trees and our own index, no content; a later full run does not claim more."""
    stage.source = replace(stage.source, admission=Verified.STRUCTURE)
    stage.pull()
    stage.source = replace(stage.source, admission=Verified.FULL)
    (stage.data / "more").write_text("more")
    stage.pull()
    assert [Verified.STRUCTURE] * 2 == [each.verified for each in stage.ledger.usable("web1")]


def test_what_was_admitted_by_its_headers_is_read_later(stage: Stage) -> None:
    """T1: the rolling reading looks into what nobody has looked into: honest packs count as read, a lying one is named."""
    stage.source = replace(stage.source, admission=Verified.STRUCTURE)
    (stage.data / "big").write_bytes(os.urandom(3_000_000))
    stage.pull()
    stage.begin()
    made = (attacks.second_home_sealed(stage.forger(), 2), attacks.other_lengths(stage.forger()))
    lies = {name for each in made for name in each["homes"]}
    stage.end(None, Outcome.FAILED)
    manifests, folders = stage.ledger.manifests, [f"{number:02x}" for number in range(256)]
    packs = manifests.names(stage.id, "data")
    assert lies < packs.keys()
    assert packs == {
        name: size for folder in folders for name, size in manifests.unproven(stage.id, folder).items()
    }
    for _ in range(2):
        found = [asyncio.run(prove(stage.place, stage.ledger, each)) for each in {name[:2] for name in packs}]
        assert lies == {name for each in found for name in each}
        assert lies == {name for folder in folders for name in manifests.unproven(stage.id, folder)}
    assert Verified.STRUCTURE is manifests.weakest(stage.id)
    manifests.remove(stage.id, "data", lies)
    assert Verified.FULL is manifests.weakest(stage.id)
    assert not any(stage.place.work.iterdir())


def test_packs_are_inspected_while_they_arrive(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds: what came during the transfer is part of the manifest before its end, and nothing is read twice."""
    monkeypatch.setattr("pbs.admission.packs.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("pbs.admission.packs.LEAST_ROUND_BYTES", 1)
    stage.begin()

    async def transfer() -> str:
        async with stage.desk.watching():
            tags = [f"--tag={tag}" for tag in stage.fields["tags"]]
            snapshot = await back_up(stage.handle, stage.data, "--host=web1", *tags)
            while not stage.ledger.manifests.names(stage.id, "data"):
                await asyncio.sleep(0.05)
        return snapshot

    verdict = stage.end(asyncio.run(transfer()))
    assert verdict.snapshot is not None
    log = [json.loads(line) for line in (stage.folder / "run-1.jsonl").read_text().splitlines()]
    read = [each for each in log if each["event"] == "inspected"]
    assert any(each["during_transfer"] for each in read)
    assert sum(each["packs"] for each in read) == len(stage.ledger.manifests.names(stage.id, "data"))
    stage.exact()
    stage.restores(verdict.snapshot.id, stage.data)


def test_batches_lose_nothing() -> None:
    """Every pack is in exactly one batch, and none is larger than asked for, unless one pack alone is."""
    packs = {f"{number:02}": number for number in range(100)}
    parts = list(batches(packs, 300))
    assert packs == {name: size for part in parts for name, size in part.items()}
    assert all(sum(part.values()) <= 300 for part in parts)
    assert [{"a": 7}] == list(batches({"a": 7}, 1))


# What a forger sends


@pytest.mark.parametrize(
    "attack", [attacks.second_home_garbage, attacks.second_home_sealed, attacks.second_home_unindexed],
    ids=lambda each: each.__name__,
)  # fmt: skip
def test_a_second_home_is_set_aside(stage: Stage, attack: Any) -> None:
    """T1: packs that claim what is there already, with something else inside, never count; nothing good is touched."""
    first = stage.pull()
    before = kept(stage)
    stage.begin()
    told = attack(stage.forger())
    (stage.data / "new").write_text("new")
    verdict = stage.end(stage.send())
    assert verdict.snapshot is not None
    assert f"{len(told['homes'])} pack(s)" in verdict.incidents[0]
    assert ["data"] * len(told["homes"]) == stage.aside()
    assert before.items() <= kept(stage).items()
    stage.exact()
    stage.restores(verdict.snapshot.id, stage.data)
    assert "no errors were found" in stage.restic("check", "--read-data")
    (stage.data / "new").unlink()
    stage.restores(first, stage.data)


def test_a_pack_that_lies_about_lengths_is_set_aside(stage: Stage) -> None:
    """T1: content that is what its name says, in a pack that says that it is shorter, bends no restore, old or new."""
    (stage.data / "big").write_bytes(os.urandom(3_000_000))
    first = stage.pull()
    stage.begin()
    attacks.other_lengths(stage.forger())
    verdict = stage.end(None)
    assert ["1 pack(s) that do not hold what they say"] == verdict.incidents
    (lie,) = stage.ledger.quarantine.list("web1")
    assert "it says of a blob that it is longer or shorter than it is" == lie.reason
    stage.restores(first, stage.data)
    stage.restores(stage.pull(), stage.data)


@pytest.mark.parametrize(
    "attack", [attacks.home_in_garbage, attacks.home_sealed, attacks.home_absent, attacks.home_in_old_pack],
    ids=lambda each: each.__name__,
)  # fmt: skip
def test_content_that_was_never_sent_is_missed(stage: Stage, attack: Any) -> None:
    """T2, T3: a snapshot that relies on a lying index is refused, and the next honest run sends what is missing."""
    content = os.urandom(20_000)
    stage.pull()
    stage.begin()
    attack(stage.forger(), content)
    (stage.data / "victim").write_bytes(content)
    snapshot = stage.send()
    verdict = stage.end(snapshot)
    assert verdict.snapshot is None
    assert verdict.refusal is not None
    assert "not whole" in verdict.refusal.message
    assert "quarantined" == stage.states()[snapshot]
    stage.exact()
    stage.begin()
    assert stage.desk.reread == "after run-2"
    verdict = stage.end(stage.send())
    assert verdict.snapshot is not None, (verdict, stage.ledger.quarantine.list("web1"))
    stage.restores(verdict.snapshot.id, stage.data)


def test_a_lying_index_alone_leaves_nothing(stage: Stage) -> None:
    """T2: what an index of the source says is never read by anything of ours, so the next run is told no lie."""
    content = os.urandom(20_000)
    stage.pull()
    stage.begin()
    attacks.home_absent(stage.forger(), content)
    attacks.superseding(stage.forger())
    stage.end(None, Outcome.FAILED)
    stage.exact()
    (stage.data / "victim").write_bytes(content)
    stage.restores(stage.pull(), stage.data)


def test_every_file_is_read_again_after_an_incident_and_now_and_then(stage: Stage) -> None:
    """T4: once after anything that no honest source sends, and every so many runs; a run that did it ends the wish."""
    stage.source = replace(stage.source, reread_every=3)
    stage.pull()
    assert stage.desk.reread is None
    stage.begin()
    attacks.keys_valid(stage.forger(), 1)
    assert stage.end(stage.send()).incidents
    stage.begin()
    assert stage.desk.reread == "after run-2"
    stage.end(None, Outcome.FAILED)
    stage.begin()
    assert stage.desk.reread == "after run-2"
    stage.end(stage.send())
    wishes = []
    for _ in range(4):
        stage.pull()
        wishes.append(stage.desk.reread)
    assert wishes == [None, None, "every 3 runs", None]


def test_a_known_tree_is_what_it_was_counted_to_be(stage: Stage) -> None:
    """T6, T29: a snapshot of a tree that is there already and tells no size, or a wrong one, blinds nobody to the next run."""
    stage.source = replace(stage.source, tripwires=Tripwires(least_files=5))
    stage.pull()
    (first,) = stage.ledger.usable("web1")
    told = json.loads(stage.restic("cat", "snapshot", first.id))
    for summary in ({}, {"summary": {"total_files_processed": 9, "total_bytes_processed": 1 << 50}}):
        stage.begin()
        verdict = stage.end(
            stage.forger().snapshot(told["tree"], paths=told["paths"], **stage.fields, **summary)
        )
        assert verdict.snapshot is not None
        again = stage.ledger.usable("web1")[-1]
        assert (6, 180_000) == (again.files, again.bytes) == (first.files, first.bytes)
    assert stage.desk.reread is None
    shutil.rmtree(stage.data / "sub")
    (stage.data / "left").write_text("nothing else")
    stage.begin()
    verdict = stage.end(stage.send())
    assert "6 of 6 files are gone" in verdict.remarks[0]
    assert stage.ledger.custody.held("web1") is not None
    stage.begin()
    assert "after run-4, which tripped a wire" == stage.desk.reread
    assert stage.end(stage.send()).snapshot is not None
    stage.begin()
    assert stage.desk.reread is None


def test_a_known_tree_that_is_damaged_is_looked_through_again(stage: Stage) -> None:
    """T21: a snapshot that claims a tree of which a pack is lost is not `ok` for having been so once."""
    first = stage.pull()
    told = json.loads(stage.restic("cat", "snapshot", first))
    (pack,) = {
        path
        for path in (stage.handle.path / "data").rglob("*")
        if path.is_file() and path.stat().st_size > 100_000
    }
    stage.ledger.custody.record_damage(
        "web1", Damage(pack.name, "check-1", datetime.now(UTC), DamageState.FOUND, {first: frozenset()})
    )
    begin_own_work(stage.place, stage.ledger, "check-1")
    pack.unlink()
    stage.restic("repair", "index")
    settle(stage.place, stage.ledger, "check-1")
    stage.begin()
    verdict = stage.end(stage.forger().snapshot(told["tree"], paths=told["paths"], **stage.fields))
    assert verdict.snapshot is None
    assert verdict.refusal is not None
    assert "a tree that is not whole" in verdict.refusal.message


def test_what_cannot_be_compared_holds_a_source(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """T29: a tree that keeps us from looking at what changed trips a wire itself; where no wire is set, it is told."""
    stage.source = replace(stage.source, tripwires=Tripwires(canaries=("/sub/file-0",)))
    stage.pull()
    monkeypatch.setattr("pbs.repository.comparing.MOST_OF_A_FOLDER", 100)
    (stage.data / "new").write_text("new")
    stage.begin()
    verdict = stage.end(stage.send())
    assert verdict.snapshot is not None
    assert "could not be compared" in verdict.remarks[0]
    held = stage.ledger.custody.held("web1")
    assert held is not None
    assert "could not be compared" in held.detail["why"]


def test_a_file_that_holds_more_than_it_says_fills_no_disk(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T15: a file of five bytes that is one blob a thousand times over ends its restore long before the disk is full."""
    monkeypatch.setattr("pbs.restore.tree.SLACK_BYTES", 10_000)
    stage.begin()
    forger = stage.forger()
    (blob,) = forger.store([(0, os.urandom(4000))])
    snapshot = forger.plant([node("five", size=5, content=[blob] * 1000)], **stage.fields)
    assert stage.end(snapshot).snapshot is not None
    index, out = stage.ledger.manifests.names(stage.id, "index"), stage.folder / "out"
    with view(stage.handle.path, stage.place.work, [snapshot], stage.handle.key, index) as shown:
        there = replace(stage.handle, path=shown.path)
        below = partial(listing, there, snapshot, recursive=True)
        with pytest.raises(RestoreError, match="holds far more than the snapshot lists"):
            asyncio.run(restore(there.program(), snapshot, out, below))


def test_packs_that_cost_too_much_cost_it_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """T14: which of many packs breaks restic is looked for only for so long; what was not read is set aside as that."""
    monkeypatch.setattr("pbs.repository.inspection.memory_limit", lambda: 16 << 20)
    monkeypatch.setattr("pbs.repository.inspection.MOST_FAILED_SECONDS", -1.0)
    stage.begin()
    for number in range(4):
        stage.forger().store([(0, os.urandom(1000 + number))])
    verdict = stage.end(None)
    assert ["4 pack(s) that do not hold what they say"] == verdict.incidents
    assert {"it was not read: too much of what came with it could not be"} == {
        each.reason for each in stage.ledger.quarantine.list("web1")
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_accuses_no_pack(stage: Stage) -> None:
    """F8: whatever rest of space it meets, an inspection finds honest packs good, or says that it could not look."""
    for number in range(300):
        # What restic prints of an index is longer than the index.
        (stage.data / f"small-{number}").write_bytes(os.urandom(50))
    stage.begin()
    stage.send()
    repository, told = stage.handle.path, list[str]()
    with small_disk(stage.folder, 32):
        found = packs(repository)
        for rest in range(2, 30, 2):
            fill(stage.folder)
            with (stage.folder / "fill").open("r+b") as file:
                file.truncate(os.fstat(file.fileno()).st_size // 4096 * 4096 - rest * 4096)
            try:
                seen = asyncio.run(Inspector(stage.handle, stage.place.work).inspect(found))
            except PbsError as error:
                told.append(error.message)
            else:
                assert not seen.bad
            free(stage.folder)
    assert 0 < len(told) < 14
    assert [] == [each for each in told if "full" not in each and "no space" not in each.lower()]


@pytest.mark.parametrize(("deaths", "accused"), [(1, 0), (2, 1)])
def test_a_restic_that_breaks_once_accuses_no_pack(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, deaths: int, accused: int
) -> None:
    """T14: it may break for reasons that are no pack's fault; one that breaks each restic that reads it alone is refused."""
    stage.begin()
    stage.forger().store([(0, os.urandom(1000))])
    short, real = iter([600 << 20] * deaths), inspection.bounded

    def bounded(handle: Handle, path: Path, lock: int, bounds: Bounds, *, gentle: bool = False) -> Handle:
        return real(handle, path, lock, replace(bounds, memory=next(short, bounds.memory)), gentle=gentle)

    monkeypatch.setattr("pbs.repository.inspection.bounded", bounded)
    assert accused == len(stage.end(None, Outcome.FAILED).incidents)
    assert accused == len(stage.ledger.quarantine.list("web1"))
    assert next(short, None) is None


def test_snapshots_that_nobody_named_are_set_aside(stage: Stage) -> None:
    """T5, T7: forty of any time win nothing; the named one is admitted."""
    stage.begin()
    attacks.many_snapshots(stage.forger(), "web1", ["source=web1"], 40)
    snapshot = stage.send()
    verdict = stage.end(snapshot)
    assert "40 snapshot(s) that the run did not name" in verdict.incidents
    assert [snapshot] == [each.id for each in stage.ledger.usable("web1")]
    stage.exact()


@pytest.mark.parametrize("kind", ["index", "snapshots"])
def test_nonsense_stops_nothing(stage: Stage, kind: str) -> None:
    """T8, T9: sealed or not, what makes no sense is out of the way before anything reads the repository."""
    first = stage.pull()
    stage.begin()
    forger = stage.forger()
    attacks.nonsense(forger, kind)
    for content in (b"junk", b"", os.urandom(300)):
        forger.way.put(kind, content)
    assert stage.end(None, Outcome.FAILED).incidents
    stage.exact()
    stage.restores(first, stage.data)
    stage.pull()


def test_numbers_out_of_bounds_stop_nothing(stage: Stage) -> None:
    """T8: an index whose places make no sense is gone with all that a source says of its packs."""
    stage.begin()
    attacks.odd_places(stage.forger())
    assert stage.end(None, Outcome.FAILED).incidents == []
    stage.exact()
    stage.pull()


def test_locks_and_keys_and_foreign_names_are_out_of_the_way(stage: Stage) -> None:
    """T10, T12, T13: locks are removed; keys and what belongs in no repository are set aside, told by kind."""
    stage.pull()
    stage.begin()
    forger = stage.forger()
    attacks.locks(forger)
    attacks.keys_valid(forger)
    attacks.keys_odd(forger)
    (stage.handle.path / "sub" / "data").mkdir(parents=True)
    (stage.handle.path / "sub" / "config").write_bytes(b"x" * 1000)
    (stage.handle.path / "data" / "zz").mkdir()
    (stage.handle.path / "data" / "00" / "not a pack").write_bytes(b"x")
    verdict = stage.end(None, Outcome.FAILED)
    assert "46 repository key(s) that nobody asked for" in verdict.incidents
    assert "3 file(s) or folder(s) that belong in no repository" in verdict.incidents
    assert not list((stage.handle.path / "locks").iterdir())
    stage.exact()
    stage.pull()


def test_things_that_no_request_makes_are_out_of_the_way_too(stage: Stage) -> None:
    """T13, T16: links, pipes, sparse and empty files, folders in the place of files, names of any bytes, times to come."""
    first = stage.pull()
    stage.begin()
    data = stage.handle.path / "data" / "ab"
    data.mkdir(exist_ok=True)
    outside = stage.folder / "outside"
    outside.write_text("stays")
    (data / ("ab" * 32)).symlink_to(outside)
    (data / ("abcd" * 16)).mkdir()
    (data / ("abce" * 16)).write_bytes(b"")
    with (data / ("abcf" * 16)).open("wb") as sparse:
        sparse.truncate(1 << 40)
    os.mkfifo(data / ("abc0" * 16))
    os.link(outside, data / ("abc1" * 16))
    for name in (
        b"\xff\xfe",
        "\u00fcn\u00ef\u202ecode".encode(),
        b"n" * 255,
        b"\x1b[31m",
        b"-rf",
        b"AB" * 32,
    ):
        (data / os.fsdecode(name)).write_bytes(b"x")
    (stage.handle.path / "snapshots" / ("cd" * 32)).symlink_to(outside)
    (stage.handle.path / "index" / ("cd" * 32)).mkdir()
    (stage.handle.path / "more").symlink_to("/")
    os.utime(data, (1 << 33, 1 << 33))
    verdict = stage.end(None, Outcome.FAILED)
    assert "3 pack(s) that do not hold what they say" in verdict.incidents
    assert "12 file(s) or folder(s) that belong in no repository" in verdict.incidents
    assert outside.read_text() == "stays"
    stage.exact()
    stage.pull()
    assert first in stage.states()


@pytest.mark.parametrize("what", ["tree_blob_bomb", "data_blob_bomb"])
def test_a_bomb_is_no_pack(stage: Stage, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T14: a few kilobytes that unpack to gigabytes end in a refusal within bounds, and honest packs beside them count."""
    # No more than this restic needs here: each gigabyte that a bomb may fill costs seconds, three times.
    monkeypatch.setattr("pbs.repository.inspection.LEAST_MEMORY", 5 << 29)
    stage.pull()
    stage.begin()
    told = getattr(attacks, what)(stage.forger(), BOMB_BYTES, **stage.fields)
    (stage.data / "honest").write_bytes(os.urandom(1000))
    stage.send()
    verdict = stage.end(told["snapshot"])
    assert verdict.snapshot is None
    assert "1 pack(s) that do not hold what they say" in verdict.incidents
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 << 20
    stage.exact()
    stage.pull()


def test_a_bomb_in_an_index_is_never_unpacked(stage: Stage) -> None:
    """T14: nothing of ours reads an index of the source."""
    stage.begin()
    attacks.index_bomb(stage.forger(), BOMB_BYTES)
    verdict = stage.end(None, Outcome.FAILED)
    assert verdict.incidents == []
    stage.exact()


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (attacks.shaft, "deep|breaks over"),
        (attacks.names, "breaks over|impossible name|cannot be listed"),
        (attacks.through_a_link, "twice in a folder|not whole"),
        (attacks.specials, "not whole|no kind that restic knows"),
    ],
)
def test_a_tree_that_no_system_holds_is_refused(stage: Stage, attack: Any, reason: str) -> None:
    """T15, T16: too deep, names that lead out of it, the same name twice: never admitted, and said why."""
    stage.begin()
    more = {"target": "/tmp"} if attack is attacks.through_a_link else {}
    told = attack(stage.forger(), **more, **stage.fields)
    verdict = stage.end(told["snapshot"])
    assert verdict.snapshot is None
    assert verdict.refusal is not None
    assert re.search(reason, verdict.refusal.message), verdict.refusal.message
    stage.exact()


def test_a_tree_without_end_is_refused_in_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """T15: 2^28 folders in a few kilobytes: listing them is given up, and the reason says so."""
    monkeypatch.setattr("pbs.repository.trees.LEAST_SECONDS", 1.0)
    stage.begin()
    told = attacks.ladder(stage.forger(), **stage.fields)
    verdict = stage.end(told["snapshot"])
    assert verdict.refusal is not None
    assert "more entries than could be listed" in verdict.refusal.message
    stage.exact()


def test_a_tree_without_end_is_refused_by_its_count(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """T15: it is listed only as far as what was sent explains it: seconds, and not the minutes that a clock gives."""
    monkeypatch.setattr("pbs.repository.trees.LEAST_ENTRIES", 20_000)
    stage.begin()
    told = attacks.ladder(stage.forger(), **stage.fields)
    verdict = stage.end(told["snapshot"])
    assert verdict.refusal is not None
    assert "entries, which what was sent does not explain" in verdict.refusal.message
    stage.exact()


def test_what_was_sent_explains_a_large_tree(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many files, and the same folders in many places, are let through; `max_entries` says otherwise where it is given."""
    monkeypatch.setattr("pbs.repository.trees.LEAST_ENTRIES", 10)
    for number in range(300):
        (stage.data / f"new-{number}").write_bytes(b"")
    first = stage.pull()
    assert (stage.ledger.find_receipt("web1", first).files or 0) >= 300
    stage.begin()
    forger = stage.forger()
    verdict = stage.end(forger.snapshot(forger.ladder(2, width=16), **stage.fields))
    assert verdict.snapshot is not None, verdict.refusal
    stage.source = replace(stage.source, max_entries=20)
    (stage.data / "one more").write_bytes(b"")
    stage.begin()
    verdict = stage.end(stage.send())
    assert verdict.refusal is not None
    assert "more than 20 entries" in verdict.refusal.message


def test_a_giant_of_small_pieces_is_counted(stage: Stage) -> None:
    """T15: a file that is large only when unpacked is sound; its size is in the receipt."""
    stage.begin()
    told = attacks.giant(stage.forger(), 1 << 34, **stage.fields)
    verdict = stage.end(told["snapshot"])
    assert verdict.snapshot is not None, verdict.refusal
    assert stage.ledger.usable("web1")[-1].bytes == 1 << 34


def test_a_wrong_clock_is_told_and_refuses_nothing(stage: Stage) -> None:
    """T7: a machine whose clock is off has its backup; the time that counts is ours, and the run says what is off."""
    for claimed, words in (("2099-01-01 00:00:00", "days ahead"), ("2001-01-01 00:00:00", "days behind")):
        stage.begin()
        verdict = stage.end(stage.send(f"--time={claimed}"))
        assert verdict.snapshot is not None
        assert words in verdict.remarks[0]
    newest = stage.ledger.find_receipt("web1", "latest")
    assert newest.id == verdict.snapshot.id
    assert abs(newest.time - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_clock_that_was_set_back_makes_no_older_snapshot_the_newest() -> None:
    """A receipt's time never lies before one that is there; when it was received is told as our clock said it."""
    now = datetime.now(UTC)
    late = Receipt(
        "a" * 64, "web1", "r", now, now + timedelta(days=900), None, ReceiptState.ADMITTED, Outcome.OK
    )
    assert never_before(late, now) > late.time
    assert never_before(None, now) == now


# What nobody may do


@pytest.mark.parametrize("harm", ["gone pack", "gone snapshot", "short index", "config", "gone key"])
def test_what_was_admitted_and_is_gone_is_an_alarm(stage: Stage, harm: str) -> None:
    """Invariant 1: nothing is repaired or admitted in silence where an admitted file is not what it was."""
    snapshot = stage.pull()
    path = stage.handle.path
    packs = [each for each in (path / "data").rglob("*") if each.is_file()]
    victim = {
        "gone pack": packs[0],
        "gone snapshot": path / "snapshots" / snapshot,
        "short index": next((path / "index").iterdir()),
        "config": path / "config",
        "gone key": path / "keys" / (stage.handle.key or ""),
    }[harm]
    if harm in ("short index", "config"):
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        victim.unlink()
    with pytest.raises(AdmissionRefused, match="ALARM: 1 file"):
        stage.begin()
    assert stage.ledger.noted("vanished", about="web1")
    assert differences(stage.place, stage.ledger)
    # What a check can look at and do without.
    found = stage.ledger.custody.damages("web1")
    assert [victim.name] * (harm == "gone pack") == [
        each.pack for each in found if each.state is DamageState.FOUND
    ]


def test_our_own_work_becomes_what_is_admitted(stage: Stage) -> None:
    """Retention: what a restic of ours removed and wrote anew is the manifest afterwards, also where it was killed."""
    first = stage.pull()
    (stage.data / "sub" / "file-1").write_bytes(os.urandom(30_000))
    second = stage.pull()
    begin_own_work(stage.place, stage.ledger, "retain-1")
    assert "retain-1" in differences(stage.place, stage.ledger)[0]
    stage.restic("forget", first, "--prune", "--max-unused=0")
    settle(stage.place, stage.ledger, "retain-1")
    stage.exact()
    begin_own_work(stage.place, stage.ledger, "retain-2")
    stage.restic("forget", second, "--prune")
    stage.begin()
    stage.exact()
    stage.pull()


def test_what_retention_forgot_is_no_alarm(stage: Stage) -> None:
    """A snapshot whose removal was written down is gone because we removed it, also where its run died before it said so."""
    first = stage.pull()
    (stage.data / "more").write_text("more")
    stage.pull()
    stage.ledger.custody.intend("web1", [first], "retain-1")
    stage.restic("forget", first)
    assert not stage.begin().incidents
    stage.exact()


# Setting aside


def test_the_quarantine_is_bounded_and_says_what_it_removed(stage: Stage) -> None:
    """Never silently deleted: beyond the quota only the record is kept, and a person can discard the rest."""
    stage.source = replace(stage.source, quota=5000)
    stage.begin()
    forger = stage.forger()
    for number in range(4):
        forger.way.put("keys", b"%d" % number * 2000)
    stage.end(None, Outcome.FAILED)
    everything = stage.ledger.quarantine.list("web1", all_states=True)
    assert [2, 2] == [sum(each.state is state for each in everything)
                      for state in (QuarantineState.KEPT, QuarantineState.REMOVED)]  # fmt: skip
    assert all(
        "it was removed" in each.reason for each in everything if each.state is QuarantineState.REMOVED
    )
    there = [path for path in stage.place.quarantine.rglob("*") if path.is_file()]
    assert 3 == len(there)
    assert 2 == discard(stage.ledger, stage.place.quarantine, stage.ledger.quarantine.list("web1"))
    assert not list(stage.place.quarantine.rglob("*"))
    assert not stage.ledger.quarantine.list("web1")


def test_a_million_of_anything_is_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much to record one by one is removed, and a record says how many and why."""
    monkeypatch.setattr("pbs.admission.aside.MOST_RECORDED", 5)
    stage.begin()
    forger = stage.forger()
    for number in range(12):
        forger.way.put("keys", b"%d" % number)
    verdict = stage.end(stage.send())
    assert verdict.snapshot is not None
    names = [each.name for each in stage.ledger.quarantine.list("web1", all_states=True)]
    assert "7 more" in names
    stage.exact()

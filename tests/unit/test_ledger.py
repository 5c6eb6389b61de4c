"""The ledger on a real SQLite: nothing is claimed twice, nothing ended twice, nothing lost, every refusal a sentence."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_workers import claim_all, copy_without_room, full_disk, write_older

from pbs.errors import LeaseHeld, LeaseLost, LedgerError, NotFound, SchemaMismatch, UsageError
from pbs.files import locked
from pbs.ledger import Ledger, open_ledger, schema
from pbs.ledger.engine import make_engine
from pbs.ledger.files import copy
from pbs.ledger.upgrade import upgrade
from pbs.model import (
    Cause,
    Ending,
    Kind,
    Outcome,
    Receipt,
    ReceiptState,
    Repository,
    RootMeta,
    Run,
    RunState,
    Verified,
)
from pbs.retention import facts_of

NOW = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
DONE = Ending(Outcome.OK, "every file was read", snapshot="a" * 64, files=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty ledger of this version, below a folder whose name a URL would misread."""
    folder = tmp_path / "odd ?name%20 #x"
    folder.mkdir()
    assert upgrade(folder / "ledger.sqlite", folder / "lock")
    return folder / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """The same, open, with the source `web` and its repository."""
    opened = open_ledger(path)
    opened.add_source("web", NOW)
    opened.add_repository(Repository("f" * 64, "web", "srv/web.restic", None), NOW)
    yield opened
    opened.close()


def receipt(number: int = 0, **more: Any) -> Receipt:
    """An admitted snapshot; a later number was received later."""
    moment = NOW + timedelta(minutes=number)
    values = {"id": f"{number:064x}", "source": "web", "run": "r", "received": moment, "time": moment,
              "claimed": None, "state": ReceiptState.ADMITTED, "outcome": Outcome.OK}  # fmt: skip
    return Receipt(**values | more)


# runs


def test_four_processes_claim_each_of_200_runs_once(path: Path) -> None:
    """Four workers that claim at the same time never get the same run, and leave none."""
    ledger = open_ledger(path)
    wanted = {ledger.queue.request(f"s{number}", Kind.PULL, Cause.ASKED, NOW).id for number in range(200)}
    ledger.close()
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(4), context.Queue()
    workers = [context.Process(target=claim_all, args=(path, f"l{n}", barrier, won)) for n in range(4)]
    for worker in workers:
        worker.start()
    claimed, left = [], len(workers)
    while left:
        found = won.get(timeout=100)
        claimed.append(found) if found else None
        left -= found is None
    for worker in workers:
        worker.join()
    assert len(claimed) == 200
    assert wanted == set(claimed)


def test_a_request_joins_the_one_that_waits_and_never_the_one_that_runs(ledger: Ledger) -> None:
    """Ten requests are one queued run; during a run ten more are exactly one follow-up; another kind is its own."""
    asked = {ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW).id for _ in range(10)}
    assert len(asked) == 1
    first = ledger.queue.waiting()[0]
    assert ledger.queue.claim(first, "l", NOW, at_most=1)
    more = {ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW).id for _ in range(10)}
    assert len(more) == 1
    assert not asked & more
    assert ledger.queue.request("web", Kind.MIGRATE, Cause.ASKED, NOW).id not in more
    assert ledger.queue.request("db", Kind.PULL, Cause.ASKED, NOW).id not in more
    assert len(ledger.runs()) == 4


def test_no_more_runs_go_on_than_the_server_may_have(ledger: Ledger) -> None:
    """A claim beyond the limit is left in the queue, and is had once another run has ended."""
    for name in ("web", "db"):
        ledger.queue.request(name, Kind.PULL, Cause.ASKED, NOW)
    one, two = ledger.queue.waiting()
    assert ledger.queue.claim(one, "l", NOW, at_most=1)
    assert ledger.queue.claim(two, "l", NOW, at_most=1) is None
    ledger.queue.end(one, "l", DONE, NOW)
    assert ledger.queue.claim(two, "l", NOW, at_most=1)


def test_an_import_and_the_pull_that_waits_for_it_count_once(ledger: Ledger) -> None:
    """Two rows of one source take the room of one run."""
    for name in ("web", "db"):
        ledger.queue.request(name, Kind.PULL, Cause.ASKED, NOW)
    one, two = ledger.queue.waiting()
    assert ledger.queue.claim(one, "l", NOW, at_most=2)
    ledger.queue.begin_before(one, Kind.MIGRATE, "l", NOW)
    assert ledger.queue.claim(two, "l", NOW, at_most=2)


@pytest.mark.parametrize("year", [1, 999, 1970, 9999])
def test_whatever_time_a_source_claims_its_snapshots_can_be_listed(ledger: Ledger, year: int) -> None:
    """A snapshot that claims to be of the year 1 is read back like any other."""
    claimed = NOW.replace(year=year)
    ledger.add_receipt(receipt(1, claimed=claimed))
    assert [claimed] == [each.claimed for each in ledger.receipts("web")]


def test_a_person_goes_before_the_schedule(ledger: Ledger) -> None:
    """Waiting runs are told by cause, then by kind, then by age."""
    ledger.queue.request("a", Kind.PULL, Cause.DUE, NOW)
    ledger.queue.request("b", Kind.MIGRATE, Cause.ASKED, NOW)
    ledger.queue.request("c", Kind.PULL, Cause.NOTICE, NOW)
    ledger.queue.request("d", Kind.PULL, Cause.ASKED, NOW)
    assert ["d", "b", "c", "a"] == [run.source for run in ledger.queue.waiting()]


def test_a_run_ends_once(ledger: Ledger) -> None:
    """What a run was is kept; a second end, and an end with another lease, are refused."""
    run = ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW)
    assert ledger.queue.claim(run, "mine", NOW, at_most=9)
    with pytest.raises(LeaseLost):
        ledger.queue.end(run, "other", DONE, NOW)
    ended = ledger.queue.end(run, "mine", DONE, NOW + timedelta(seconds=5))
    assert (RunState.ENDED, Outcome.OK, "a" * 64, 3, 5.0) == (
        ended.state, ended.outcome, ended.snapshot, ended.files, ended.seconds,
    )  # fmt: skip
    assert ended == ledger.run(run.id)
    with pytest.raises(LeaseLost):
        ledger.queue.end(run, "mine", DONE, NOW)


def running(ledger: Ledger, source: str, kind: Kind, lease: str) -> Run:
    """A run that was asked for and claimed."""
    claimed = ledger.queue.claim(ledger.queue.request(source, kind, Cause.ASKED, NOW), lease, NOW, at_most=9)
    assert claimed is not None
    return claimed


def test_an_import_before_a_pull_stays_the_older_of_the_two(ledger: Ledger) -> None:
    """The pull that waited is listed as the newer run, and its time does not hold the import's."""
    pull = running(ledger, "web", Kind.PULL, "l")
    before = ledger.queue.begin_before(pull, Kind.MIGRATE, "l", NOW)
    ledger.queue.end(before, "l", DONE, NOW + timedelta(seconds=50))
    ledger.queue.begin_anew(pull, "l", NOW + timedelta(seconds=50))
    ended = ledger.queue.end(pull, "l", DONE, NOW + timedelta(seconds=52))
    assert ended.seconds == 2
    assert [pull.id, before.id] == [run.id for run in ledger.runs("web")]
    later = running(ledger, "web", Kind.PULL, "l")
    assert later.id == ledger.runs("web")[0].id


def test_the_runs_of_a_dead_worker_end_as_interrupted_and_it_writes_no_more(ledger: Ledger) -> None:
    """Every running run of the source ends, the queued ones and other sources' stay; the dead one's lease is void."""
    pull = ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW)
    assert ledger.queue.claim(pull, "dead", NOW, at_most=9)
    before = ledger.queue.begin_before(pull, Kind.MIGRATE, "dead", NOW)
    follow_up = ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW)
    other = running(ledger, "db", Kind.PULL, "alive")
    assert {pull.id, before.id} == {run.id for run in ledger.queue.interrupt("web", NOW)}
    assert Outcome.INTERRUPTED is ledger.run(pull.id).outcome is ledger.run(before.id).outcome
    assert [other.id] == [run.id for run in ledger.queue.running()]
    assert [follow_up.id] == [run.id for run in ledger.queue.waiting()]
    assert ledger.queue.interrupt("web", NOW) == []
    with pytest.raises(LeaseLost):
        ledger.queue.end(pull, "dead", DONE, NOW)


def test_the_newest_run_is_found_by_kind_and_outcome(ledger: Ledger) -> None:
    """Runs that go on have no outcome; what is asked by outcome is about those that ended."""
    run = running(ledger, "web", Kind.MIGRATE, "l")
    running(ledger, "web", Kind.PULL, "l")
    going = ledger.newest_run("web", kind=Kind.MIGRATE), ledger.newest_run("web")
    assert [each and each.kind for each in going] == [Kind.MIGRATE, Kind.PULL]
    assert ledger.newest_run("web", *Outcome, kind=Kind.MIGRATE) is None
    ledger.queue.end(run, "l", Ending(Outcome.FAILED, "no"), NOW)
    found = ledger.newest_run("web", *Outcome, kind=Kind.MIGRATE)
    assert found is not None
    assert run.id == found.id
    assert ledger.newest_run("web", Outcome.OK) is None
    assert {run.id: "web"} == ledger.ended_since(NOW)
    assert ledger.ended_since(NOW + timedelta(microseconds=1)) == {}


# receipts

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
counts = st.none() | st.integers(0, 2**63 - 1)
any_text = st.text(st.characters(exclude_categories=["Cs"]))
roots = st.builds(
    RootMeta, st.integers(0, 0o7777), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63)
)  # fmt: skip
receipts = st.builds(
    Receipt, id=st.just(""), source=st.just("web"), run=any_text,
    received=moments, time=moments, claimed=st.none() | moments, state=st.sampled_from(ReceiptState),
    outcome=st.sampled_from(Outcome), verified=st.sampled_from(Verified), paths=st.lists(any_text).map(tuple),
    files=counts, bytes=counts, added_bytes=counts, root=st.none() | roots, pinned=st.booleans(),
    reason=st.none() | any_text,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(receipts)
def test_a_receipt_comes_back_as_it_was_given(ledger: Ledger, value: Receipt) -> None:
    """Every field of a receipt survives, whatever the source called its paths and whenever its clock thought it was."""
    value = replace(value, id=uuid.uuid4().hex * 2)
    ledger.add_receipt(value)
    ledger.add_receipt(replace(value, state=ReceiptState.FORGOTTEN, reason="again"))
    assert [value] == [each for each in ledger.receipts("web") if each.id == value.id]


def test_of_many_receipts_only_those_that_are_asked_for_are_told(ledger: Ledger) -> None:
    """The newest, those of some snapshots, of a tree, of a state, and those that go: each as all of them together tell."""
    states = (*ReceiptState, ReceiptState.ADMITTED)
    for number, state in enumerate(states):
        ledger.add_receipt(receipt(number, state=state, tree="a" * 64 if number % 2 else None))
    ledger.custody.intend("web", [receipt(len(states) - 1).id], "r")
    everything, usable = ledger.receipts("web"), ledger.usable("web")
    assert usable[-1] == ledger.newest("web")
    assert ledger.newest("db") is None
    ids = [each.id for each in everything]
    assert usable == ledger.usable_of("web", ids)
    assert usable[:1] == ledger.usable_of("web", [usable[0].id, "b" * 64])
    assert ledger.usable_of("web", []) == []
    assert [each for each in usable if each.tree] == ledger.same("web", "a" * 64)
    for state in ReceiptState:
        assert [each for each in everything if each.state is state] == ledger.receipts("web", state)
    assert {
        each.id: each.state is ReceiptState.FORGOTTEN
        for each in everything
        if each.state is ReceiptState.FORGOTTEN or each.leaving
    } == ledger.custody.going("web", ids)


def test_receipts_are_told_by_our_time(ledger: Ledger) -> None:
    """`latest` is the newest usable one by our clock: never a quarantined one, never what a source claims."""
    ledger.add_receipt(receipt(2))
    ledger.add_receipt(receipt(1, claimed=NOW + timedelta(days=30_000)))
    ledger.add_receipt(receipt(0, state=ReceiptState.LEGACY))
    ledger.add_receipt(receipt(3, state=ReceiptState.QUARANTINED))
    assert [0, 1, 2, 3] == [int(each.id, 16) for each in ledger.receipts("web")]
    assert [0, 1, 2] == [int(each.id, 16) for each in ledger.usable("web")]
    assert int(ledger.find_receipt("web", "latest").id, 16) == 2


def test_a_snapshot_is_found_by_an_unambiguous_prefix(ledger: Ledger) -> None:
    """Eight digits or more name a snapshot where they name only one, and a quarantined one is never found."""
    one, two, bad = "abcdef01" + "0" * 56, "abcdef01" + "1" * 56, "bad0bad0" + "0" * 56
    for number, (wanted, state) in enumerate(
        [(one, ReceiptState.ADMITTED), (two, ReceiptState.ADMITTED), (bad, ReceiptState.QUARANTINED)]
    ):
        ledger.add_receipt(receipt(number, id=wanted, state=state))
    assert one == ledger.find_receipt("web", one[:9]).id == ledger.find_receipt("web", one).id
    for wrong in ("abcdef01", "bad0bad0", "00000000", bad, one.upper(), f"{one[:9]}%", f"{one[:9]}\udc80"):
        with pytest.raises(NotFound):
            ledger.find_receipt("web", wrong)
    with pytest.raises(UsageError):
        ledger.find_receipt("web", "abcdef0")
    with pytest.raises(NotFound, match="no snapshot yet"):
        ledger.find_receipt("db", "latest")


def test_a_source_keeps_its_one_repository(ledger: Ledger) -> None:
    """A second repository for a source is refused; a removed source comes back with the first; --purge forgets it."""
    with pytest.raises(LedgerError, match="already has"):
        ledger.add_repository(Repository("e" * 64, "web", "elsewhere", None), NOW)
    ledger.add_receipt(receipt())
    ledger.remove_source("web", NOW, purge=False)
    assert ledger.sources() == []
    ledger.add_source("web", NOW)
    assert (["web"], 1) == (ledger.sources(), len(ledger.receipts("web")))
    ledger.remove_source("web", NOW, purge=True)
    assert (None, []) == (ledger.repository("web"), ledger.receipts("web"))


# the file


def test_the_steps_make_what_the_tables_say(path: Path) -> None:
    """A ledger that was brought forward step by step has exactly the tables, columns and indexes of `schema`."""
    engine = make_engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_a_ledger_of_the_first_version_is_brought_forward(path: Path) -> None:
    """What the first version wrote is there after the upgrade, each run as a first try."""
    path.unlink()
    values = "('r', 'web', 'pull', 'asked', 'ended', 'ok', '2026-01-01T00:00:00.000000Z', 0)"
    columns = "(id, source, kind, cause, state, outcome, queued, warnings)"
    write_older(path, "0001", (f"INSERT INTO run {columns} VALUES {values}", ()))
    assert upgrade(path, path.with_name("lock"))
    ledger = open_ledger(path)
    run = ledger.run("r")
    ledger.close()
    assert (Outcome.OK, 1, None) == (run.outcome, run.attempt, run.due)


def set_version(path: Path, version: str) -> None:
    """Have the ledger say that another version wrote it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.commit()


def test_another_schema_is_refused_by_all_but_the_upgrade(path: Path) -> None:
    """A process of another version stops with what to do, and an upgrade never touches what it does not know."""
    set_version(path, "9999")
    with pytest.raises(SchemaMismatch, match="9999") as refusal:
        open_ledger(path)
    assert refusal.value.exit_code == 2
    before = path.read_bytes()
    with pytest.raises(SchemaMismatch, match="9999"):
        upgrade(path, path.with_name("lock"))
    assert before == path.read_bytes()


def one_more_step(folder: Path, also: str = "") -> Path:
    """The steps that there are, and one more that adds a table."""
    steps = folder / "steps"
    shutil.copytree(Path(schema.__file__).parent / "steps", steps)
    (steps / "versions/last.py").write_text(
        f"from alembic import op\nrevision = '9000'\ndown_revision = '{schema.HEAD}'\n\n"
        f"def upgrade():\n    op.execute('CREATE TABLE more (x INTEGER)')\n{also}"
    )
    return steps


def test_an_upgrade_keeps_a_copy_and_is_done_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the schema changes, the file is copied beside itself, and of the copies of earlier upgrades the newest stays; a
    second upgrade has nothing to do.
    """
    monkeypatch.setattr("pbs.ledger.upgrade._STEPS", one_more_step(tmp_path))
    oldest, older, own = (
        path.with_name(f"{path.name}.before-{word}") for word in ("0003", "0005", "we-moved")
    )
    for each in (oldest, older, own):
        each.write_bytes(b"from before")
    ledger = open_ledger(path)
    ledger.add_source("web", NOW)
    ledger.close()
    assert upgrade(path, path.with_name("lock"))
    assert not upgrade(path, path.with_name("lock"))
    with closing(sqlite3.connect(path)) as new, closing(sqlite3.connect(f"{path}.before-9000")) as old:
        assert [("9000",)] == new.execute("SELECT version_num FROM alembic_version").fetchall()
        assert [("web",)] == old.execute("SELECT name FROM source").fetchall()
        assert old.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall() == []
    assert path.with_name(f"{path.name}.before-9000").stat().st_mode & 0o077 == 0
    assert [each.exists() for each in (oldest, older, own)] == [False, True, True]
    with pytest.raises(SchemaMismatch):
        open_ledger(path)


def test_a_step_that_fails_changes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade is whole or did not happen."""
    monkeypatch.setattr("pbs.ledger.upgrade._STEPS", one_more_step(tmp_path, "    op.execute('nonsense')\n"))
    with pytest.raises(LedgerError, match="nonsense"):
        upgrade(path, path.with_name("lock"))
    open_ledger(path).close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall() == []


def test_two_upgrades_at_once_do_not_meet(path: Path) -> None:
    """An upgrade under way is not joined by a second one."""
    with locked(path.with_name("lock")), pytest.raises(LeaseHeld):
        upgrade(path, path.with_name("lock"))


def test_a_missing_ledger_and_one_that_is_none_are_told_apart(path: Path) -> None:
    """No ledger, junk in its place, and a folder in its place are each one sentence."""
    with pytest.raises(LedgerError, match="there is no ledger"):
        open_ledger(path.with_name("nothing"))
    path.with_name("junk").write_bytes(b"this is no database at all, and long enough to look like one" * 20)
    with pytest.raises(LedgerError, match="damaged"):
        open_ledger(path.with_name("junk"))
    path.with_name("folder").mkdir()
    with pytest.raises(LedgerError, match="cannot be opened"):
        open_ledger(path.with_name("folder"))


def test_a_damaged_page_is_named(ledger: Ledger, path: Path) -> None:
    """Damage found later is a LedgerError that says so, not a trace of the database's."""
    for number in range(200):
        ledger.add_receipt(receipt(number, reason="x" * 500))
    ledger.close()
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * (path.stat().st_size - 4096 * 3))
    with pytest.raises(LedgerError, match="damaged"):
        open_ledger(path).receipts("web")


def test_a_ledger_that_somebody_holds_is_a_sentence(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that waits too long for another process fails as such, and reading goes on meanwhile."""
    monkeypatch.setattr("pbs.ledger.engine.BUSY_SECONDS", 0.1)
    impatient = open_ledger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked by another process"):
            impatient.queue.request("web", Kind.PULL, Cause.ASKED, NOW)
        assert impatient.runs() == []
    assert impatient.queue.request("web", Kind.PULL, Cause.ASKED, NOW)
    impatient.close()


def test_no_space_is_a_sentence_and_loses_nothing_that_was_written(ledger: Ledger, path: Path) -> None:
    """Where the file cannot grow, the write fails as a LedgerError, and what was written before stays readable."""
    context = multiprocessing.get_context("spawn")
    heard = context.Queue()
    writer = context.Process(target=full_disk, args=(path, heard))
    writer.start()
    message = heard.get(timeout=60)
    assert "cannot be" in message
    assert heard.get(timeout=60) == [run.source for run in ledger.queue.waiting()]
    writer.join()
    assert ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW)


def test_half_a_copy_does_not_stay(ledger: Ledger, path: Path) -> None:
    """Where there is no room for a copy of the ledger, a sentence says so, and the room that was left is free again."""
    context = multiprocessing.get_context("spawn")
    heard = context.Queue()
    target = path.with_name("copy")
    copier = context.Process(target=copy_without_room, args=(path, target, heard))
    copier.start()
    message = heard.get(timeout=60)
    copier.join()
    assert f"could not be copied to {target}" in message
    assert [*path.parent.glob("copy*")] == []
    assert ledger.sources() == ["web"]


def test_a_copy_that_fails_leaves_the_one_before(ledger: Ledger, path: Path) -> None:
    """A ledger that cannot be read any more does not take the last sound copy with it."""
    target, broken = path.with_name("copy"), path.with_name("broken")
    copy(path, target)
    broken.write_bytes(path.read_bytes()[:100] + os.urandom(20000))
    with pytest.raises(LedgerError, match="could not be copied"):
        copy(broken, target)
    with closing(sqlite3.connect(target)) as kept:
        assert [("web",)] == kept.execute("SELECT name FROM source").fetchall()


# holds


def test_a_source_is_held_until_a_person_resumes_it(ledger: Ledger) -> None:
    """Each reason is kept, the first one's time stays, and a person who resumes says that the newest snapshot is right."""
    custody, later = ledger.custody, NOW + timedelta(hours=1)
    assert custody.held("web") is None
    assert not custody.resume("web", NOW)
    ledger.add_receipt(receipt(1))
    ledger.add_receipt(receipt(2))
    custody.hold("web", "files are gone", NOW, run="r1", snapshot="a" * 64)
    custody.hold("web", "an audit", later, by="anna")
    custody.hold("web", "an audit", later, by="anna")
    held = custody.held("web")
    assert held is not None
    assert (NOW.replace(microsecond=held.time.microsecond), "files are gone; an audit") == (
        held.time,
        held.detail["why"],
    )
    assert {"web"} == set(custody.holds(["web", "nobody"]))
    plan = facts_of(ledger, "web")
    assert plan.held is not None
    assert "pbs source resume web" in plan.held
    assert custody.resume("web", later, "anna")
    assert custody.held("web") is None
    assert {} == custody.holds(["web"])
    facts = facts_of(ledger, "web")
    assert (facts.held, facts.confirmed) == (None, receipt(2).id)
    custody.hold("web", "again", later)
    assert custody.held("web") is not None
    known = ledger.repository("web")
    assert known is not None
    ledger.manifests.begin(known.id, "c", "r3", {})
    assert custody.resume("web", later)
    begun = ledger.manifests.of(known.id)
    assert begun is not None
    assert begun.reread == "a person has looked at the source and resumed it"
    custody.hold("web", "again", later)
    ledger.remove_source("web", later, purge=True)
    assert custody.held("web") is None

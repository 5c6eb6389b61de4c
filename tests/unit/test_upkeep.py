"""What is kept and what may go: logs of runs, copies of the server, long texts of the ledger; and the recovery key."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from pbs import runlogs, servercopy
from pbs.errors import HomeError, LedgerError, UsageError
from pbs.home import Home
from pbs.ledger import Ledger, open_ledger
from pbs.ledger.files import copy, faults
from pbs.ledger.upgrade import upgrade
from pbs.model import Cause, Kind, Outcome, Run, RunLogs, RunState
from pbs.repository import Kept

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    upgrade(tmp_path / "ledger", tmp_path / "lock")
    made = open_ledger(tmp_path / "ledger")
    yield made
    made.close()


def logs(source: str, count: int, size: int = 10, apart: timedelta = DAY) -> list[runlogs.LogFile]:
    """So many logs of a source, one each day, the newest of now."""
    return [
        runlogs.LogFile(Path(f"/{source}/{number:04}.jsonl"), source, NOW - number * apart, size)
        for number in range(count)
    ]


def gone(found: list[runlogs.LogFile], keep: RunLogs, running: frozenset[str] = frozenset()) -> set[str]:
    """The logs that go, as source/number."""
    return {f"{each.source}/{each.path.stem}" for each in runlogs.superfluous(found, keep, NOW, running)}


def test_logs_go_by_age_and_number_and_size() -> None:
    """Too old, too many of a source, or more than fits: the oldest go, and each rule counts."""
    found = logs("a", 50) + logs("b", 30)
    assert set() == gone(found, RunLogs(400, 50, 800))
    assert {f"a/{number:04}" for number in range(41, 50)} == gone(found, RunLogs(40, 50, 800))
    assert {f"a/{number:04}" for number in range(25, 50)} | {
        f"b/{number:04}" for number in range(25, 30)
    } == gone(found, RunLogs(400, 25, 800))
    assert {"a/0049", "a/0048", "a/0047"} == gone(found, RunLogs(400, 50, 770))


def test_the_newest_logs_and_those_of_running_runs_stay() -> None:
    """Whatever age and size say, 20 of each source stay, and no log goes whose run goes on."""
    found = logs("a", 50, size=1000, apart=1000 * DAY)
    left = {f"a/{number:04}" for number in range(20, 50)} - {"a/0042"}
    assert left == gone(found, RunLogs(1, 20, 1), frozenset({"0042"}))


def test_logs_are_removed_from_the_disk(tmp_path: Path) -> None:
    """The files go, nothing else in the folder does, and a missing folder is fine."""
    assert 0 == runlogs.thin_out(tmp_path / "none", RunLogs(), NOW, ())
    folder = tmp_path / "runs" / "web"
    folder.mkdir(parents=True)
    for number in range(25):
        path = folder / f"{number:04}.jsonl"
        path.write_text("{}")
        moment = (NOW - number * DAY).timestamp()
        os.utime(path, (moment, moment))
    (folder / "other").write_text("")
    os.utime(folder / "other", (0, 0))
    assert 5 == runlogs.thin_out(tmp_path / "runs", RunLogs(days=1), NOW, ())
    assert {"other", *(f"{number:04}.jsonl" for number in range(20))} == {
        each.name for each in folder.iterdir()
    }


def test_copies_are_thinned_out() -> None:
    """The five newest, one of each of the last 14 days and of the last 12 months stay, whatever else was made."""
    daily = [Kept(f"{number}", NOW - number * DAY) for number in range(500)]
    stays = {each.id for each in daily} - set(servercopy.superfluous(daily))
    assert {str(number) for number in range(14)} <= stays
    assert 14 + 11 >= len(stays) >= 14 + 10
    many = [Kept(f"m{number}", NOW - timedelta(minutes=number)) for number in range(100)]
    stays = {each.id for each in many + daily} - set(servercopy.superfluous(many + daily))
    assert {"0", "m0", "m1", "m2", "m3", "1", "13"} <= stays
    assert [] == servercopy.superfluous([])


def test_a_recovery_key_survives_being_typed() -> None:
    """Small letters, blanks, missing dashes and look-alike digits open the same; anything else is refused."""
    key = servercopy.new_key()
    assert key == servercopy.typed_key(f" {key.lower().replace('-', ' ')}\n")
    assert key == servercopy.typed_key(
        key.replace("-", "").replace("O", "0").replace("I", "1").replace("B", "8")
    )
    assert key != servercopy.new_key()
    for wrong in ("", key[:-1], f"{key}A", key.replace("-", "_"), "é" * 32):
        with pytest.raises(UsageError):
            servercopy.typed_key(wrong)


def test_a_recovery_key_is_made_once_and_never_over_a_copy(tmp_path: Path) -> None:
    """It is made where there is none; where copies lie that only the lost one opens, its loss is said."""
    home = Home.at(tmp_path / "home")
    home.make()
    with pytest.raises(HomeError):
        servercopy.recovery_key(home)
    made = servercopy.recovery_key(home, make=True)
    assert made == servercopy.recovery_key(home, make=True)
    assert 0o600 == home.recovery_key.stat().st_mode & 0o777
    home.recovery_key.write_text("damaged")
    with pytest.raises(HomeError, match="no recovery key"):
        servercopy.recovery_key(home, make=True)
    home.recovery_key.unlink()
    home.server_copy.mkdir()
    with pytest.raises(HomeError):
        servercopy.recovery_key(home, make=True)


def test_a_sound_ledger_has_no_faults_and_a_damaged_one_has(tmp_path: Path, ledger: Ledger) -> None:
    """Missing, empty, no database, an overwritten page, a row that names one that is not there: each is found."""
    path = tmp_path / "ledger"
    ledger.add_source("web", NOW)
    assert [] == faults(path)
    assert faults(tmp_path / "none")
    (tmp_path / "empty").touch()
    assert ["it is empty"] == faults(tmp_path / "empty")
    (tmp_path / "text").write_text("this is no database" * 100)
    assert any("damaged" in each for each in faults(tmp_path / "text"))
    copy(path, tmp_path / "torn")
    data = bytearray((tmp_path / "torn").read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    (tmp_path / "torn").write_bytes(data)
    assert faults(tmp_path / "torn")
    copy(path, tmp_path / "orphan")
    with sqlite3.connect(tmp_path / "orphan") as database:
        database.execute(
            "INSERT INTO repository (id, source, engine, path, created) VALUES ('i', 'nobody', 'restic', 'p', 't')"
        )
    database.close()
    assert ["a row of repository names one of source that is not there"] == faults(tmp_path / "orphan")


def test_a_copy_is_whole_while_others_write(tmp_path: Path, ledger: Ledger) -> None:
    """What is committed stands in the copy, what is not does not, and the copy is private."""
    ledger.add_source("web", NOW)
    with sqlite3.connect(tmp_path / "ledger") as other:
        other.execute("UPDATE source SET name = 'torn'")
        copy(tmp_path / "ledger", tmp_path / "copy")
        other.rollback()
    other.close()
    assert 0o600 == (tmp_path / "copy").stat().st_mode & 0o777
    copied = open_ledger(tmp_path / "copy")
    assert ["web"] == copied.sources()
    copied.close()
    with pytest.raises(LedgerError):
        copy(tmp_path / "ledger", tmp_path / "no" / "such" / "folder")


def test_long_outputs_are_cut_with_age(ledger: Ledger) -> None:
    """Only of old runs, only long ones, once, and it says so."""
    run = Run(
        "r1", "web", Kind.PULL, Cause.ASKED, RunState.ENDED, NOW, Outcome.OK, NOW, NOW, output="é" * 9000
    )
    assert ledger.upkeep.restore_run(run)
    assert not ledger.upkeep.restore_run(replace(run, output="other"))
    ledger.upkeep.restore_run(replace(run, id="r2", ended=NOW + DAY))
    ledger.upkeep.restore_run(replace(run, id="r3", output="short"))
    assert 1 == ledger.upkeep.shorten_outputs(NOW + DAY)
    assert 0 == ledger.upkeep.shorten_outputs(NOW + DAY)
    cut = ledger.run("r1").output or ""
    assert cut.startswith("é" * 2000 + "\n")
    assert "let go of" in cut
    assert ("é" * 9000, "short") == (ledger.run("r2").output, ledger.run("r3").output)


def test_long_outputs_are_found_without_a_look_at_all_runs(ledger: Ledger, tmp_path: Path) -> None:
    """However many runs there ever were: those that printed much have an index of their own, and it is used."""
    asked: list[tuple[str, Any]] = []

    def take(_db: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", take)
    try:
        ledger.upkeep.shorten_outputs(NOW)
    finally:
        event.remove(Engine, "before_cursor_execute", take)
    ((statement, values),) = [each for each in asked if each[0].startswith("SELECT")]
    with closing(sqlite3.connect(tmp_path / "ledger")) as db:
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values))
    assert "run_by_long_output" in plan, plan


def test_old_events_go(ledger: Ledger) -> None:
    """Of each name about each source the newest stay, those about the server as well."""
    for number in range(12):
        ledger.note(NOW + number * DAY, "seen", {"number": number}, about="web")
        ledger.note(NOW + number * DAY, "seen", {"number": number}, about=None)
    ledger.note(NOW, "other", {}, about="web")
    assert 14 == ledger.upkeep.drop_old_events(5)
    for about in ("web", None):
        assert [7, 8, 9, 10, 11] == [each["number"] for each in ledger.noted("seen", about=about)]
        assert NOW + 11 * DAY == ledger.upkeep.last_noted("seen", about)
    assert 1 == len(ledger.noted("other", about="web"))
    assert ledger.upkeep.last_noted("never") is None

"""What is asked again and again costs no more with years of runs than with days: counted in the steps that SQLite takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from pbs.ledger import Ledger, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import Kind, Outcome, Repository
from pbs.retention import all_frozen, facts_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = [f"s{number}" for number in range(5)]
DAYS, YEARS = 60, 3000
ENDS = ("cancelled", "failed", "partial", "ok", "interrupted")
A_STEP = 20


def snapshot_of(name: str, number: int) -> str:
    """The id of a snapshot."""
    return f"{name.encode().hex()}{number:08x}".ljust(64, "0")


QUESTIONS: dict[str, Callable[[Ledger], Any]] = {
    "where all sources stand": lambda ledger: ledger.overview.standings(NAMES),
    "how many snapshots there are": lambda ledger: ledger.overview.counts(NAMES),
    "the newest run of some outcomes": lambda ledger: ledger.overview.newest_runs(NAMES, Kind.PULL, Outcome),
    "a picture of the newest runs": lambda ledger: ledger.overview.strips(NAMES, 30),
    "since when bytes are unread": lambda ledger: ledger.overview.unread(NAMES),
    "by how much they grow": lambda ledger: ledger.overview.rates(NAMES, NOW),
    "who is held": lambda ledger: ledger.custody.holds(NAMES),
    "what stands against removal": lambda ledger: all_frozen(
        ledger.overview,
        ledger.custody,
        {name: each.pull for name, each in ledger.overview.standings(NAMES).items()},
        ledger.custody.holds(NAMES),
    ),
    "the same of one": lambda ledger: facts_of(ledger, "s1"),
    "all vital signs": lambda ledger: ledger.vitals.of_all(),
    "which run is settled": lambda ledger: ledger.vitals.settled(),
    "what was counted since": lambda ledger: ledger.vitals.tallies_between(ledger.vitals.settled(), None),
    "the feed of a source": lambda ledger: ledger.runs("s1", limit=30, ended=True),
    "the feed of all": lambda ledger: ledger.runs(limit=30, ended=True),
    "the newest runs": lambda ledger: ledger.runs(limit=30),
    "the newest failed runs": lambda ledger: ledger.runs("s1", outcome=Outcome.FAILED, limit=10),
    "what waits": lambda ledger: ledger.queue.waiting(NOW),
    "what goes on": lambda ledger: ledger.queue.running(),
    "what ended of late": lambda ledger: ledger.ended_since(NOW - timedelta(minutes=5)),
    "the newest run": lambda ledger: ledger.newest_run("s1"),
    "the newest check, of which there is none": lambda ledger: ledger.newest_run("s1", kind=Kind.CHECK),
    "the newest snapshot": lambda ledger: ledger.newest("s1"),
    "the newest snapshots": lambda ledger: ledger.usable("s1", last=10),
    "a snapshot by its id": lambda ledger: ledger.usable_of("s1", [snapshot_of("s1", 1)]),
    "a snapshot by the begin of its id": lambda ledger: ledger.find_receipt("s1", snapshot_of("s1", 1)[:16]),
    "old outputs": lambda ledger: ledger.upkeep.shorten_outputs(NOW),
}


def filled(path: Path, length: int) -> Path:
    """A ledger of five sources with a run and a snapshot every hour, so many of them."""
    upgrade(path, path.with_name("lock"))
    with closing(open_ledger(path)) as ledger:
        for number, name in enumerate(NAMES):
            ledger.add_source(name, NOW)
            ledger.add_repository(Repository(f"{number:064x}", name, f"{name}.restic", None), NOW)
    with closing(sqlite3.connect(path)) as db:
        for number in range(length):
            # Weeks apart, but for the newest: what is asked about the last days is the same in both.
            age = (
                timedelta(hours=length - number)
                if length - number <= DAYS
                else timedelta(weeks=length - number)
            )
            moment = f"{NOW - age:%Y-%m-%dT%H:%M:%S.%f}Z"
            # The newest five ended as ever five before them.
            outcome = ENDS[(length - number) % len(ENDS)]
            for known, name in enumerate(NAMES):
                snapshot = snapshot_of(name, number)
                db.executemany(
                    "INSERT INTO event (time, source, run, name, detail) VALUES (?, ?, ?, ?, '{}')",
                    [(moment, name, f"{name}-{number}", word) for word in ("unreadable", "key-exported", "forgotten")],
                )  # fmt: skip
                values = (f"{name}-{number}", name, outcome, moment, moment, moment, snapshot)
                db.execute(
                    "INSERT INTO run (id, source, kind, cause, state, outcome, queued, started, ended, snapshot, warnings, "
                    "tunnel_bytes, attempt) VALUES (?, ?, 'pull', 'due', 'ended', ?, ?, ?, ?, ?, 0, 1, 1)", values,
                )  # fmt: skip
                db.execute(
                    "INSERT INTO receipt (repository, reference, run, received, time, state, outcome, verified, paths, pinned, tree) "
                    "VALUES (?, ?, ?, ?, ?, 'admitted', 'ok', 'full', '[]', 0, ?)",
                    (f"{known:064x}", snapshot, values[0], moment, moment, f"{number:064x}"),
                )
        db.execute("UPDATE repository SET snapshots = ?", (length,))
        db.commit()
    return path


class Steps:
    """Counts the steps of SQLite's machine on every connection that is made while it lives."""

    def __init__(self) -> None:
        self.taken = 0

    def watch(self, connection: Any, _record: Any) -> None:
        """On a new connection."""
        connection.set_progress_handler(self._step, A_STEP)

    def _step(self) -> None:
        self.taken += A_STEP


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Steps, Ledger, Ledger]]:
    """One of days and one of years."""
    steps = Steps()
    event.listen(Engine, "connect", steps.watch)
    try:
        paths = [tmp_path_factory.mktemp("ledger") / "ledger.sqlite" for _ in range(2)]
        opened = [
            open_ledger(filled(path, length)) for path, length in zip(paths, (DAYS, YEARS), strict=True)
        ]
        yield steps, opened[0], opened[1]
        for each in opened:
            each.close()
    finally:
        event.remove(Engine, "connect", steps.watch)


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_costs_no_more_with_years_of_runs(ledgers: tuple[Steps, Ledger, Ledger], question: str) -> None:
    """Fifty times as many runs and snapshots, and hardly a step more."""
    steps, *each = ledgers
    taken = []
    for ledger in each:
        before = steps.taken
        QUESTIONS[question](ledger)
        taken.append(steps.taken - before)
    days, years = taken
    assert years <= days * 1.2 + 100, (question, days, years)

"""Who may work on what: joining, claiming and ending runs, each in one transaction.

Every write of a run carries the lease it was claimed with, so a worker that lost its run writes nothing more.
The kernel's run lock says who lives; this module never asks whether a process does.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Engine, Row, func, insert, select, update

from pbs.errors import LeaseLost
from pbs.ledger import rows
from pbs.ledger.schema import run as runs
from pbs.ledger.schema import writer
from pbs.model import Cause, Ending, Kind, Outcome, Run, RunState

# A person before a notice before the schedule; pull before push before the rest.
_CAUSES = {Cause.ASKED: 0, Cause.FOLLOW_UP: 1, Cause.NOTICE: 2, Cause.DUE: 3}
_KINDS = {
    Kind.PULL: 0,
    Kind.MIGRATE: 1,
    Kind.RESTORE: 2,
    Kind.PUSH: 3,
    Kind.RETAIN: 4,
    Kind.CHECK: 5,
    Kind.DRILL: 6,
}


def run_id(source: str, kind: Kind, now: datetime) -> str:
    """`YYYYMMDDTHHMMSSZ-NAME-KIND-xxxx`: sorts by time, never re-used."""
    return f"{now:%Y%m%dT%H%M%SZ}-{source}-{kind.value}-{secrets.token_hex(4)}"


class Queue:
    """Runs that wait, runs that go on, and how they end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def request(self, source: str, kind: Kind, cause: Cause, now: datetime) -> Run:
        """Ask for a run: the queued one of its kind where there is one, else a new one.

        A running one is never joined here: what it read may be older than the wish.
        """
        with self._writer.begin() as db:
            waiting = db.execute(
                select(runs).where(
                    runs.c.source == source, runs.c.kind == kind, runs.c.state == RunState.QUEUED
                )
            ).first()
            if waiting is not None:
                return rows.run(waiting)
            made = Run(run_id(source, kind, now), source, kind, cause, RunState.QUEUED, now)
            db.execute(insert(runs).values(**rows.run_values(made)))
            return made

    def waiting(self) -> list[Run]:
        """The queued runs, in the order in which they should be claimed."""
        with self._engine.connect() as db:
            found = db.execute(select(runs).where(runs.c.state == RunState.QUEUED).order_by(runs.c.seq)).all()
        return sorted(map(rows.run, found), key=lambda run: (_CAUSES[run.cause], _KINDS[run.kind]))

    def running(self) -> list[Run]:
        """The runs that somebody works on, or worked on when it died."""
        with self._engine.connect() as db:
            return [rows.run(row) for row in db.execute(select(runs).where(runs.c.state == RunState.RUNNING))]

    def claim(self, run: Run, lease: str, now: datetime, at_most: int) -> Run | None:
        """Make a queued run ours; None where somebody else was first or the server has enough to do.

        The caller holds the run lock of the source.
        """
        with self._writer.begin() as db:
            busy = db.execute(
                # By source: an import and the pull that waits for it are one piece of work.
                select(func.count(runs.c.source.distinct())).where(runs.c.state == RunState.RUNNING)
            ).scalar_one()
            if busy >= at_most:
                return None
            done = db.execute(
                update(runs)
                .where(runs.c.id == run.id, runs.c.state == RunState.QUEUED)
                .values(state=RunState.RUNNING, lease=lease, started=now)
            )
            return replace(run, state=RunState.RUNNING, started=now) if done.rowcount == 1 else None

    def begin_before(self, later: Run, kind: Kind, lease: str, now: datetime) -> Run:
        """A run that starts at once, under the lease of `later`, which waits for it and stays the newer of the two."""
        made = Run(
            run_id(later.source, kind, now),
            later.source,
            kind,
            Cause.FOLLOW_UP,
            RunState.RUNNING,
            now,
            started=now,
        )
        with self._writer.begin() as db:
            db.execute(insert(runs).values(**rows.run_values(made), lease=lease))
            newest = select(func.max(runs.c.seq) + 1).scalar_subquery()
            db.execute(update(runs).where(runs.c.id == later.id, runs.c.lease == lease).values(seq=newest))
        return made

    def begin_anew(self, run: Run, lease: str, now: datetime) -> Run:
        """Date a run's start again: what it waited for is no part of its time."""
        with self._writer.begin() as db:
            db.execute(update(runs).where(runs.c.id == run.id, runs.c.lease == lease).values(started=now))
        return replace(run, started=now)

    def end(self, run: Run, lease: str, ending: Ending, now: datetime) -> Run:
        """Write a run's outcome, once.

        Raises:
            LeaseLost: somebody else ended it meanwhile.
        """
        with self._writer.begin() as db:
            done = db.execute(
                update(runs)
                .where(runs.c.id == run.id, runs.c.lease == lease, runs.c.state == RunState.RUNNING)
                .values(**_ended(ending, now))
            )
            if done.rowcount != 1:
                raise LeaseLost(
                    f"the run {run.id} was ended by another process", "nothing to do: a new run may start"
                )
            return rows.run(db.execute(select(runs).where(runs.c.id == run.id)).one())

    def interrupt(self, source: str, now: datetime) -> list[Run]:
        """End as `interrupted` every run of this source that is still called running.

        The caller holds the run lock of the source, which proves that nobody works on them.
        """
        ending = Ending(
            Outcome.INTERRUPTED,
            "the process that carried this run out died before its end",
            "nothing is lost: the next run sends what is missing",
        )
        with self._writer.begin() as db:
            dead: list[Row[tuple[object, ...]]] = list(
                db.execute(select(runs).where(runs.c.source == source, runs.c.state == RunState.RUNNING))
            )
            for row in dead:
                db.execute(update(runs).where(runs.c.seq == row.seq).values(**_ended(ending, now)))
        return [rows.run(row) for row in dead]


def _ended(ending: Ending, now: datetime) -> dict[str, object]:
    return {
        "state": RunState.ENDED,
        "lease": None,
        "ended": now,
        "outcome": ending.outcome,
        "snapshot": ending.snapshot,
        "files": ending.files,
        "bytes": ending.bytes,
        "added_bytes": ending.added_bytes,
        "stored_bytes": ending.stored_bytes,
        "tunnel_bytes": ending.tunnel_bytes,
        "warnings": ending.warnings,
        "message": ending.message,
        "hint": ending.hint,
        "output": ending.output,
    }

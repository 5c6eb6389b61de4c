"""Who may work on what: joining, claiming and ending runs, each in one transaction.

Every write of a run carries the lease it was claimed with, so a worker that lost its run writes nothing more.
The kernel's run lock says who lives; this module never asks whether a process does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, insert, or_, select, update

from pbs.errors import LeaseLost
from pbs.ledger import rows
from pbs.ledger.engine import writer
from pbs.ledger.schema import run as runs
from pbs.model import Cause, Ending, Kind, Outcome, Run, RunState

# A person before a notice before the schedule; pull before push before the rest.
_CAUSES = {Cause.ASKED: 0, Cause.FOLLOW_UP: 1, Cause.NOTICE: 2, Cause.DUE: 3, Cause.RETRY: 3}
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

    def request(
        self,
        source: str,
        kind: Kind,
        cause: Cause,
        now: datetime,
        not_before: datetime | None = None,
        options: str | None = None,
    ) -> Run:
        """Ask for a run: the queued one of its kind where there is one, else a new one.

        A running one is never joined here: what it read may be older than the wish. `options`, JSON, say what else
        is wanted of it; those of the last one that gives any count.
        """
        wish = Run("", source, kind, cause, RunState.QUEUED, now, not_before=not_before, options=options)
        waiting = self.queued(source, kind, options)
        if waiting is not None and _joined(waiting, wish) == waiting:
            return waiting  # a flood of wishes for what waits already costs no write
        with self._writer.begin() as db:
            return join(db, wish)

    def queued(self, source: str, kind: Kind, options: str | None = None) -> Run | None:
        """The run of this kind that waits; of restores the one that brings back the same."""
        with self._engine.connect() as db:
            return _queued(db, source, kind, options)

    def waiting(self, now: datetime | None = None) -> list[Run]:
        """The queued runs, in the order in which they should be claimed; with `now` only those that may begin then."""
        query = select(runs).where(runs.c.state == RunState.QUEUED).order_by(runs.c.seq)
        if now is not None:
            query = query.where(_may_begin(now))
        with self._engine.connect() as db:
            found = db.execute(query).all()
        return sorted(map(rows.run, found), key=lambda run: (_CAUSES[run.cause], _KINDS[run.kind]))

    def put_off(self, run: Run, until: datetime) -> None:
        """Have a queued run wait until a moment, unless somebody asked for it to begin meanwhile."""
        with self._writer.begin() as db:
            db.execute(
                update(runs)
                .where(runs.c.id == run.id, runs.c.state == RunState.QUEUED, runs.c.cause == run.cause)
                .values(not_before=until)
            )

    def running(self) -> list[Run]:
        """The runs that somebody works on, or worked on when it died."""
        with self._engine.connect() as db:
            return [rows.run(row) for row in db.execute(select(runs).where(runs.c.state == RunState.RUNNING))]

    def claim(
        self,
        run: Run,
        lease: str,
        now: datetime,
        at_most: int,
        *,
        per_host: int = 0,
        hosts: Mapping[str, str] | None = None,
        missed: Run | None = None,
    ) -> Run | None:
        """Make a queued run ours; None where somebody else was first or there is enough to do. Sets its `due`.

        The caller holds the run lock of the source.

        Args:
            run: As it was seen in the queue.
            lease: Ours.
            now: When it begins.
            at_most: How many runs may go on at a time.
            per_host: How many of them on one machine; 0 = any number.
            hosts: The machine of each source.
            missed: What to record as not having happened, if this run begins.
        """
        with self._writer.begin() as db:
            # By source: an import and the pull that waits for it are one piece of work.
            busy = set(db.execute(select(runs.c.source).where(runs.c.state == RunState.RUNNING)).scalars())
            if not has_room(run.source, busy, at_most, per_host, hosts or {}):
                return None
            done = db.execute(
                update(runs)
                .where(runs.c.id == run.id, runs.c.state == RunState.QUEUED, _may_begin(now))
                .values(state=RunState.RUNNING, lease=lease, started=now, due=run.due)
            )
            if done.rowcount != 1:
                return None
            if missed is not None:
                record(db, missed)
            return replace(run, state=RunState.RUNNING, started=now)

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

    def end(self, run: Run, lease: str, ending: Ending, now: datetime, retry: Run | None = None) -> Run:
        """Write a run's outcome, once, and queue the run that tries again, unless one waits already.

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
            if retry is not None and _queued(db, retry.source, retry.kind, retry.options) is None:
                join(db, retry)
            return rows.run(db.execute(select(runs).where(runs.c.id == run.id)).one())

    def interrupt(
        self, source: str, now: datetime, retry: Callable[[Run], Run | None] = lambda _: None
    ) -> list[Run]:
        """End as `interrupted` every run of this source that is still called running, and queue what `retry` makes of it.

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
                following = retry(rows.run(row))
                if following is not None and _queued(db, source, following.kind, following.options) is None:
                    join(db, following)
        return [rows.run(row) for row in dead]


def has_room(
    source: str, busy: Collection[str], at_most: int, per_host: int, hosts: Mapping[str, str]
) -> bool:
    """Whether one more run may begin beside those of the sources that are busy."""
    host = hosts.get(source)
    beside = sum(host is not None and hosts.get(each) == host for each in busy)
    return len(busy) < at_most and (not per_host or beside < per_host)


def join(db: Connection, wish: Run) -> Run:
    """Queue a run, or have the one of its kind that waits stand for it too. In the caller's transaction."""
    waiting = _queued(db, wish.source, wish.kind, wish.options)
    if waiting is None:
        made = replace(wish, id=run_id(wish.source, wish.kind, wish.queued))
        db.execute(insert(runs).values(**rows.run_values(made)))
        return made
    joined = _joined(waiting, wish)
    db.execute(
        update(runs)
        .where(runs.c.id == waiting.id)
        .values(
            cause=joined.cause,
            due=joined.due,
            not_before=joined.not_before,
            attempt=joined.attempt,
            retry_of=joined.retry_of,
            options=joined.options,
        )
    )
    return joined


def _joined(waiting: Run, wish: Run) -> Run:
    """What waits, with one more wish: as urgent as the more urgent of both, as early as the earlier.

    What waits to be tried again becomes a first try; the slot of one that never began stays the older of the two: it
    stands for all slots from there on.
    """
    early = [moment for moment in (waiting.not_before, wish.not_before) if moment is not None]
    return replace(
        waiting,
        cause=min(wish.cause, waiting.cause, key=_CAUSES.__getitem__),
        due=waiting.due if waiting.due is not None and waiting.retry_of is None else wish.due or waiting.due,
        not_before=min(early) if len(early) == 2 else None,
        attempt=wish.attempt,
        retry_of=wish.retry_of,
        options=wish.options or waiting.options,
    )


def record(db: Connection, missed: Run) -> None:
    """Record a run that did not happen. In the caller's transaction."""
    made = replace(missed, id=run_id(missed.source, missed.kind, missed.queued))
    db.execute(insert(runs).values(**rows.run_values(made)))


def _queued(db: Connection, source: str, kind: Kind, options: str | None) -> Run | None:
    query = select(runs).where(runs.c.source == source, runs.c.kind == kind, runs.c.state == RunState.QUEUED)
    if kind is Kind.RESTORE:
        query = query.where(runs.c.options == options)
    row = db.execute(query).first()
    return rows.run(row) if row is not None else None


def _may_begin(now: datetime) -> ColumnElement[bool]:
    """Whether a queued run's time has come; one that was queued in the future was so before the clock was set back."""
    return or_(runs.c.not_before.is_(None), runs.c.not_before <= now, runs.c.queued > now)


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
        "code": ending.code,
    }

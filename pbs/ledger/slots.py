"""How far the schedule of each source was dealt with: a slot becomes a run, or a word that it did not happen, once.

It never works out when anything is due.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, or_, select, update

from pbs.ledger.engine import writer
from pbs.ledger.queue import join, record
from pbs.ledger.schema import run as runs
from pbs.ledger.schema import slot as slots
from pbs.model import Cause, Kind, Mark, Outcome, Run, RunState


@dataclass(frozen=True, slots=True)
class Deal:
    """What became of the slots of one source up to its mark: a run for the newest, a record of those without one."""

    source: str
    mark: Mark
    slot: datetime | None = None
    missed: Run | None = None


class Slots:
    """The marks of all sources. Only the controller writes them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def marks(self) -> dict[str, Mark]:
        """Up to where each source was dealt with."""
        with self._engine.connect() as db:
            return {row.source: Mark(row.schedule, row.seen) for row in db.execute(select(slots))}

    def waiting(self) -> dict[str, datetime]:
        """The slots of the pulls that wait in the queue and were never begun, by their sources."""
        query = select(runs.c.source, runs.c.due).where(
            runs.c.state == RunState.QUEUED,
            runs.c.kind == Kind.PULL,
            runs.c.due.is_not(None),
            runs.c.retry_of.is_(None),
        )
        with self._engine.connect() as db:
            return {row.source: row.due for row in db.execute(query)}

    def deal(self, deals: Collection[Deal], now: datetime) -> None:
        """Write down, as one, how far these sources were dealt with, the runs for their slots and what did not happen."""
        with self._writer.begin() as db:
            for each in deals:
                _deal(db, each, now)

    def keep(self, names: Collection[str]) -> None:
        """Forget every other source: one that comes back begins anew."""
        gone = self.marks().keys() - set(names)
        if gone:
            with self._writer.begin() as db:
                db.execute(delete(slots).where(slots.c.source.in_(gone)))


def _deal(db: Connection, deal: Deal, now: datetime) -> None:
    values = {"schedule": deal.mark.schedule, "seen": deal.mark.seen}
    known = db.execute(update(slots).where(slots.c.source == deal.source).values(**values))
    if known.rowcount == 0:
        db.execute(insert(slots).values(source=deal.source, **values))
    if deal.missed is not None:
        record(db, deal.missed)
    if deal.slot is not None and not _served(db, deal.source, deal.slot, now):
        wish = Run("", deal.source, Kind.PULL, Cause.DUE, RunState.QUEUED, now, due=deal.slot)
        joined = join(db, wish)
        if deal.missed is not None:  # what it stood for besides was told just now
            db.execute(update(runs).where(runs.c.id == joined.id).values(due=deal.slot))


def _served(db: Connection, source: str, slot: datetime, now: datetime) -> bool:
    """Whether a pull that began after this slot goes on, or went well: after an outage a worker may be first."""
    good = or_(runs.c.state == RunState.RUNNING, runs.c.outcome.in_((Outcome.OK, Outcome.PARTIAL)))
    query = select(runs.c.seq).where(
        runs.c.source == source, runs.c.kind == Kind.PULL, runs.c.started.between(slot, now), good
    )
    return db.execute(query.limit(1)).first() is not None


def missed_run(source: str, first: datetime, message: str, hint: str, now: datetime) -> Run:
    """The record of runs that did not happen, the first of them due at `first`."""
    return Run(
        "",
        source,
        Kind.PULL,
        Cause.DUE,
        RunState.ENDED,
        now,
        outcome=Outcome.MISSED,
        ended=now,
        message=message,
        hint=hint,
        due=first,
    )

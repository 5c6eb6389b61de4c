"""The care of the ledger itself: what grew old is made short, and what was lost is written down again.

It never removes a run or a receipt; what it changes of one are long texts, and the state of what is gone.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.pool import PoolProxiedConnection

from pbs.ledger import rows
from pbs.ledger.engine import writer
from pbs.ledger.schema import LONG_OUTPUT, SHORT_OUTPUT, entry, receipt, repository, run, source
from pbs.ledger.usable import recount
from pbs.model import ReceiptState, Run

# Of one name about one source.
MOST_EVENTS = 1000
CUT = "\n[… the rest was let go of with age …]"


class Upkeep:
    """What is done to the ledger now and then, and by a rebuild."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)
        self._watching: PoolProxiedConnection | None = None

    def changes(self) -> int:
        """A number that is another one as soon as anybody has changed the ledger, this process included. For one thread."""
        if self._watching is None:
            # A connection that writes nothing: of its own changes none would be told.
            self._watching = self._engine.raw_connection()
        cursor = self._watching.cursor()
        try:
            cursor.execute("PRAGMA data_version")
            (number,) = cursor.fetchone() or (0,)
            return int(number)
        finally:
            cursor.close()

    def restore_run(self, value: Run) -> bool:
        """Write down a run that was found elsewhere; False where the ledger knows it."""
        with self._writer.begin() as db:
            if db.execute(select(run.c.seq).where(run.c.id == value.id)).first() is not None:
                return False
            db.execute(insert(run).values(**rows.run_values(value)))
        return True

    def forget_missing(self, name: str, ids: Collection[str], reason: str) -> int:
        """Call these snapshots of a source forgotten, since they are not there any more; how many were not so before."""
        known = select(repository.c.id).join(source).where(source.c.name == name).scalar_subquery()
        done = 0
        with self._writer.begin() as db:
            for each in sorted(ids):
                done += db.execute(
                    update(receipt)
                    .where(
                        receipt.c.repository == known,
                        receipt.c.reference == each,
                        receipt.c.state != ReceiptState.FORGOTTEN,
                    )
                    .values(state=ReceiptState.FORGOTTEN, reason=reason)
                ).rowcount
            recount(db, known)
        return done

    def shorten_outputs(self, before: datetime) -> int:
        """Cut what runs that ended before then printed to its beginning; how many were cut."""
        long = select(run.c.seq).where(run.c.ended < before, LONG_OUTPUT).order_by(run.c.ended)
        shorter = update(run).values(output=func.substr(run.c.output, 1, SHORT_OUTPUT).concat(CUT))
        with self._engine.connect() as db:
            waiting = list(db.execute(long).scalars())
        # Some at a time: others write as well.
        for part in rows.parts(waiting):
            with self._writer.begin() as db:
                db.execute(shorter.where(run.c.seq.in_(part)))
        return len(waiting)

    def drop_old_events(self, most: int = MOST_EVENTS) -> int:
        """Keep the newest events of each name about each source; how many went."""
        dropped = 0
        with self._writer.begin() as db:
            many = db.execute(
                select(entry.c.source, entry.c.name)
                .group_by(entry.c.source, entry.c.name)
                .having(func.count() > most)
            ).all()
            for about, name in many:
                same = (entry.c.source == about) & (entry.c.name == name)
                newest = (
                    select(entry.c.seq).where(same).order_by(entry.c.seq.desc()).offset(most - 1).limit(1)
                )
                last = db.execute(newest).scalar_one()
                dropped += db.execute(delete(entry).where(same, entry.c.seq < last)).rowcount
        return dropped

    def last_noted(self, name: str, about: str | None = None) -> datetime | None:
        """When something was last written down under this name."""
        # By order, not by time: the clock may have been set back since.
        query = (
            select(entry.c.time)
            .where(entry.c.source == about, entry.c.name == name)
            .order_by(entry.c.seq.desc())
            .limit(1)
        )
        with self._engine.connect() as db:
            found: datetime | None = db.execute(query).scalar()
            return found

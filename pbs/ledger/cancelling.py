"""Asking runs to stop: a queued one ends at once, a running one is marked for the worker that holds it.

It stops nothing by itself, and changes nothing of a run that has ended.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, select, update

from pbs.errors import NotFound, RunOver
from pbs.ledger import rows
from pbs.ledger.engine import writer
from pbs.ledger.schema import run as runs
from pbs.model import Outcome, Run, RunState

LONGEST_NAME = 120


class Cancelling:
    """Who asked which run to stop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def ask(self, run_id: str, by: str, now: datetime) -> Run:
        """Ask for a run's end; asked twice, the first one counts. The run as it is afterwards.

        Raises:
            NotFound: there is no such run.
            RunOver: it has ended already.
        """
        with self._writer.begin() as db:
            row = db.execute(select(runs).where(runs.c.id == run_id)).first()
            if row is None:
                raise NotFound(f"there is no run {run_id[:200]}", "`pbs runs` lists them")
            if row.state == RunState.ENDED:
                raise RunOver(
                    f"the run {run_id} has ended already: {row.outcome}",
                    "`pbs status` shows what goes on now",
                )
            values: dict[str, object] = {}
            if row.cancel is None:
                values = {"cancel": now, "cancelled_by": by[:LONGEST_NAME]}
            if row.state == RunState.QUEUED:
                values |= {
                    "state": RunState.ENDED, "outcome": Outcome.CANCELLED, "ended": now,
                    "message": f"cancelled by {by[:LONGEST_NAME]} before it began",
                    "hint": "nothing was done; ask for a new run when one is wanted",
                }  # fmt: skip
            if values:
                db.execute(update(runs).where(runs.c.id == run_id).values(**values))
            return rows.run(db.execute(select(runs).where(runs.c.id == run_id)).one())

    def asked(self, lease: str) -> dict[str, str | None]:
        """The runs under this lease that somebody asked to stop, each with who did."""
        query = select(runs.c.id, runs.c.cancelled_by).where(
            runs.c.state == RunState.RUNNING, runs.c.lease == lease, runs.c.cancel.is_not(None)
        )
        with self._engine.connect() as db:
            return {row.id: row.cancelled_by for row in db.execute(query)}

"""Which receipts count: those of snapshots that can be restored. How many a repository has of them is counted when one comes or goes.

Kept beside the repository since everybody asks it of all sources: counted anew each time, it would cost the more the longer a
server runs. Whoever changes receipts calls `recount` in the same transaction. It changes no receipt.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select, update

from pbs.ledger.schema import receipt, repository
from pbs.model import Receipt, ReceiptState

USABLE = (ReceiptState.ADMITTED, ReceiptState.LEGACY)
# What answers to users are made from: what a run is about to forget is no answer any more.
OF_USERS = (receipt.c.state.in_(USABLE), receipt.c.leaving.is_(None))


def counted() -> ScalarSelect[int]:
    """How many there are of a repository, by its receipts."""
    own = select(func.count()).where(receipt.c.repository == repository.c.id, *OF_USERS)
    return own.correlate(repository).scalar_subquery()


def count_one(db: Connection, known: str, more: Receipt) -> None:
    """Count one receipt more. A rebuild writes down thousands, and would count all of them for each."""
    if more.state in USABLE and more.leaving is None:
        one_more = {"snapshots": repository.c.snapshots + 1}
        db.execute(update(repository).where(repository.c.id == known).values(one_more))


def recount(db: Connection, known: ColumnElement[str] | ScalarSelect[str] | str) -> None:
    """Count those of this repository, and keep the number."""
    db.execute(update(repository).where(repository.c.id == known).values(snapshots=counted()))

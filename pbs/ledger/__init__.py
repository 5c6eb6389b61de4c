"""The ledger: sources, repositories, receipts, runs, events. The only door to SQLAlchemy.

It records and answers; it never decides what should happen, and never touches a repository.
"""

from pbs.ledger.overview import Standing, Step
from pbs.ledger.queue import has_room
from pbs.ledger.slots import Deal, missed_run
from pbs.ledger.store import Ledger, open_ledger
from pbs.ledger.telling import Told
from pbs.ledger.vitals import Held, Tally, Vitals

__all__ = [
    "Deal",
    "Held",
    "Ledger",
    "Standing",
    "Step",
    "Tally",
    "Told",
    "Vitals",
    "has_room",
    "missed_run",
    "open_ledger",
]

"""The ledger: sources, repositories, receipts, runs, events. The only door to SQLAlchemy.

It records and answers; it never decides what should happen, and never touches a repository.
"""

from pbs.ledger.store import Ledger, open_ledger

__all__ = ["Ledger", "open_ledger"]

"""The schedules of all sources at once: whose slot has come. Looking when nothing is due costs microseconds.

It remembers what the ledger holds and never writes it: `done` is called once a decision stands in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pbs.model import Mark
from pbs.schedule.decide import Decision, decide
from pbs.schedule.timetable import Timetable


class Planner:
    """What is due, for every source."""

    def __init__(self, marks: Mapping[str, Mark]) -> None:
        self._marks = dict(marks)
        self._tables: dict[str, Timetable] = {}
        self._next: dict[str, datetime | None] = {}
        self._looked: datetime | None = None

    def configure(self, tables: Mapping[str, Timetable]) -> None:
        """Take up a configuration; what did not change is not worked out anew."""
        for name, table in tables.items():
            if self._tables.get(name) != table:
                self._next.pop(name, None)
        self._tables = dict(tables)
        self._marks = {name: mark for name, mark in self._marks.items() if name in tables}
        self._next = {name: moment for name, moment in self._next.items() if name in tables}

    def look(self, now: datetime, waiting: Mapping[str, datetime]) -> Iterator[Decision]:
        """What is to be done now; `waiting` names the slots of the runs that wait in the queue."""
        if self._looked is not None and now < self._looked:
            self._next.clear()  # the clock was set back: each is looked at anew
        self._looked = now
        for name, table in self._tables.items():
            mark = self._marks.get(name)
            known = name in self._next and mark is not None and mark.schedule == table.signature
            coming = self._next.get(name)
            if known and (coming is None or now < coming):
                continue
            decision = decide(table, mark, now, waiting=waiting.get(name))
            if decision is not None:
                yield decision
            elif mark is not None:
                self._next[name] = table.after(max(mark.seen, now))

    def done(self, decision: Decision) -> None:
        """A decision stands in the ledger."""
        self._marks[decision.source] = Mark(decision.signature, decision.seen)
        table = self._tables.get(decision.source)
        if table is not None:
            self._next[decision.source] = table.after(decision.seen)

    def next(self, name: str) -> datetime | None:
        """The slot of a source that comes next; None where there is none, or nobody looked yet."""
        return self._next.get(name)

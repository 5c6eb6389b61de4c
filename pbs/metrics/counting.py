"""How many runs there ever were, of each kind and outcome, without counting them all again at each look.

What is older than every run that is still open changes no more: it is counted once, and added to. Exact, and the same
after every restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pbs.ledger import Tally
from pbs.ledger.vitals import VitalSigns

Counts = dict[tuple[str, str, str], Tally]


class Counting:
    """The counts of one ledger."""

    def __init__(self, vitals: VitalSigns) -> None:
        self._vitals = vitals
        self._settled: Counts = {}
        self._mark: int | None = None

    def now(self) -> list[Tally]:
        """Every kind and outcome of each source, counted. Blocks; one at a time."""
        until = self._vitals.settled()
        if self._mark is None or until < self._mark:  # or the ledger was put back to an older one
            self._settled, self._mark = add({}, self._vitals.tallies(until)), until
        elif until > self._mark:
            self._settled, self._mark = (
                add(self._settled, self._vitals.tallies_between(self._mark, until)),
                until,
            )
        return list(add(self._settled, self._vitals.tallies_between(until, None)).values())


def add(counts: Counts, more: Iterable[Tally]) -> Counts:
    """These counts and more."""
    found = dict(counts)
    for each in more:
        which = (each.source, each.kind, each.outcome)
        had = found.get(which)
        found[which] = each if had is None else replace(
            had,
            runs=had.runs + each.runs,
            tunnel_bytes=had.tunnel_bytes + each.tunnel_bytes,
            stored_bytes=had.stored_bytes + each.stored_bytes,
        )  # fmt: skip
    return found

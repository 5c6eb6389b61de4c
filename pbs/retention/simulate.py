"""What would be kept on some day under some rules: the same plan, over snapshots that may still have to come.

It is a game on values: neither the ledger nor a repository hears of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from pbs.model import Keeping, Outcome, Receipt, ReceiptState
from pbs.retention.plan import COUNTED, Plan, make_plan

EXPECTED = "expected-"
MOST_EXPECTED = 20_000
LAST_LOOKED_AT = 20


def simulate(
    source: str,
    receipts: Sequence[Receipt],
    keeping: Keeping,
    now: datetime,
    at: datetime,
    every: timedelta | None = None,
) -> Plan:
    """The plan of the day `at`. For a day to come, good snapshots go on arriving until then.

    Args:
        source: Its name.
        receipts: What there is.
        keeping: The rules to play with.
        now: Our clock.
        at: The day.
        every: How often a snapshot comes; None = as often as lately.
    """
    there = [each for each in receipts if each.state in COUNTED and each.time <= at]
    there += _expected(source, now, at, every or _rhythm(there))
    return make_plan(source, there, keeping, at)


def _rhythm(receipts: Sequence[Receipt]) -> timedelta | None:
    """The usual distance between the last snapshots."""
    times = sorted(each.time for each in receipts)[-LAST_LOOKED_AT:]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    return timedelta(seconds=max(1.0, median(gaps))) if gaps else None


def _expected(source: str, now: datetime, at: datetime, every: timedelta | None) -> Iterator[Receipt]:
    if every is None or at <= now:
        return
    # Far ahead only the newest matter: no rule of anybody counts that many.
    number = min(int((at - now) / every), MOST_EXPECTED)
    blank = Receipt("", source, "", now, now, None, ReceiptState.ADMITTED, Outcome.OK)
    first = at - ((at - now) % every) - (number - 1) * every
    for count in range(number):
        moment = first + count * every
        yield replace(blank, id=f"{EXPECTED}{moment:%Y%m%dT%H%M%SZ}", received=moment, time=moment)

"""The arithmetic of keep rules: which hour, day, week, month or year a moment is in, and how far back a span reaches.

Hours and days are those of the source's time zone; two moments of the hour that a clock shows twice are two hours.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta, tzinfo

_PART = re.compile(r"([0-9]+)([ymdh])")
# From the shortest to the longest: a plan names the rules of a snapshot in this order.
BUCKETS: dict[str, Callable[[datetime], Hashable]] = {
    "hourly": lambda local: (local.date(), local.hour, local.fold),
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "yearly": lambda local: local.year,
}


def bucket(rule: str, moment: datetime, zone: tzinfo) -> Hashable:
    """The hour, day … that `moment` is in; equal for moments in the same one."""
    try:
        return BUCKETS[rule](moment.astimezone(zone))
    except OverflowError:  # the first and the last day of the calendar, in a zone on the other side of it
        return BUCKETS[rule](moment)


def back(moment: datetime, span: str) -> datetime:
    """The moment that lies a span (`2y5m7d3h`) before this one; a month before the 31st ends where that month does."""
    amounts = {unit: int(number) for number, unit in _PART.findall(span)}
    months = moment.year * 12 + moment.month - 1 - 12 * amounts.get("y", 0) - amounts.get("m", 0)
    year, month = divmod(months, 12)
    if year < 1:
        return datetime.min.replace(tzinfo=UTC)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    try:
        start = moment.replace(year=year, month=month + 1, day=day)
        return start - timedelta(days=amounts.get("d", 0), hours=amounts.get("h", 0))
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)

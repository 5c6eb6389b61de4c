"""By when a source must have sent something again: from its schedule and the last time that it did. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from pbs.model import Source
from pbs.schedule import Timetable

# Nobody is told of a source that was switched off for a night.
LEAST = timedelta(hours=25)
# Of a source that asks by itself: by then it has something new, or is gone.
UNASKED = timedelta(days=8)
ON_NOTIFICATION = "on-notification"


def deadline(source: Source, last: datetime) -> datetime | None:
    """By when there must be something newer than what came at `last`; None where nobody expects it."""
    if source.max_age is not None:
        return last + timedelta(seconds=source.max_age) if source.max_age else None
    if source.schedule == ON_NOTIFICATION:
        return last + UNASKED
    third = _two_and_a_half(source.schedule, source.timezone, source.window, last)
    return max(third, last + LEAST) if third is not None else None


@lru_cache(maxsize=8192)
def _two_and_a_half(
    schedule: str, timezone: str, window: tuple[int, int] | None, last: datetime
) -> datetime | None:
    """Two slots after `last`, and half of the way to the third: whatever days the schedule leaves out."""
    # Its place among the others is left out: half of a distance is more than any jitter.
    slots = list(islice(Timetable("", schedule, timezone, window, 0.0).slots(last), 3))
    return slots[1] + (slots[2] - slots[1]) / 2 if len(slots) == 3 else None

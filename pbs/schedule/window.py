"""The hours of a day in which runs may begin, by the wall clock of a time zone. It knows of no schedule.

Each day's window is a span of real time, so the two days of the year whose clocks change need no rule of their own: a
time that does not exist that night is the moment after the gap, one that comes twice opens at its first and closes at its
second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo


@dataclass(frozen=True, slots=True)
class Window:
    """From `opening` to `closing`, minutes of the day; over midnight where it closes before it opens."""

    opening: int
    closing: int
    zone: tzinfo

    def opens(self, moment: datetime) -> datetime:
        """The first moment from this one on that lies inside."""
        return min(max(moment, first) for first, last in self._around(moment) if moment < last)

    def closes(self, moment: datetime) -> datetime:
        """The end of the window that this moment lies in, or of the next one."""
        return min(last for _, last in self._around(moment) if moment < last)

    def closed(self, moment: datetime) -> datetime:
        """The last end of a window up to this moment."""
        return max(last for _, last in self._around(moment) if last <= moment)

    def _around(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        day = moment.astimezone(self.zone).date()
        for distance in range(-2, 3):
            first, last = self._of(day + timedelta(days=distance))
            if first < last:
                yield first, last

    def _of(self, day: date) -> tuple[datetime, datetime]:
        end = day + timedelta(days=1) if self.closing <= self.opening else day
        return self._at(day, self.opening, 0), max(self._at(end, self.closing, fold) for fold in (0, 1))

    def _at(self, day: date, minutes: int, fold: int) -> datetime:
        local = datetime.combine(day, time(minutes // 60, minutes % 60, fold=fold), self.zone)
        return local.astimezone(UTC)

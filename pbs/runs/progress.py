"""How far a run is: percent, rate and time left, made of what an agent says. A view for people, never a promise.

Every number is taken as hostile: what is shown only grows, and is written down now and then, not as often as it is said.
"""

from __future__ import annotations

import math
from typing import Any

from pbs.clock import Clock
from pbs.model import Receipt
from pbs.runs.ports import Event
from pbs.text import clean_line

LONGEST_NAME = 200
NAMES = 2
# Seconds over which the rate is averaged.
WINDOW = 10.0
FIRST_RATE = 0.5
# From so many seconds on, so many seconds between two lines: a run of a day leaves some megabytes, not a hundred.
PACE = ((0.0, 0.8), (600.0, 2.0), (3600.0, 5.0), (6 * 3600.0, 15.0))
NEARLY = 99.9


def whole_number(value: Any) -> int | None:
    """A count that fits a database; None for anything else."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return value if fits else None


class Rate:
    """The moving average of how fast a count grows, in a second; None until it can be told."""

    def __init__(self) -> None:
        self._seen: tuple[float, int] | None = None
        self.value: float | None = None

    def take(self, now: float, count: int) -> None:
        """What the count is now."""
        if self._seen is None:
            self._seen = (now, count)
            return
        passed = now - self._seen[0]
        if passed < FIRST_RATE:
            return
        latest = (count - self._seen[1]) / passed
        weight = 1.0 - math.exp(-passed / WINDOW)
        self.value = latest if self.value is None else self.value + (latest - self.value) * weight
        self._seen = (now, count)

    @property
    def rounded(self) -> int | None:
        """As it is written down."""
        return round(self.value) if self.value is not None else None


class Progress:
    """Follows one run."""

    def __init__(self, expected: Receipt | None, clock: Clock) -> None:
        self._expected = expected
        self._clock = clock
        self._begun = self._next = clock.monotonic()
        self._read, self._sent = Rate(), Rate()
        self._percent = 0.0
        self.files = 0
        self.bytes = 0

    def take(self, event: Event, sent: int) -> Event | None:
        """What to write down for one event of the agent; None while the last line is young.

        Args:
            event: What it said.
            sent: Bytes that came through the tunnel until now.
        """
        now = self._clock.monotonic()
        self.files = max(self.files, whole_number(event.get("files")) or 0)
        self.bytes = max(self.bytes, whole_number(event.get("bytes")) or 0)
        self._read.take(now, self.bytes)
        self._sent.take(now, sent)
        if now < self._next:
            return None
        age = now - self._begun
        self._next = now + next(pause for since, pause in reversed(PACE) if age >= since)
        total, estimated = self._total(event)
        percent = self._share(event.get("percent"), total, estimated=estimated)
        current = event.get("current")
        return {
            "percent": percent,
            "files": self.files,
            "bytes": self.bytes,
            "total_files": whole_number(event.get("total_files")),
            "total_bytes": total,
            "estimated": estimated,
            "rate": self._read.rounded,
            "sent": sent,
            "sent_rate": self._sent.rounded,
            "seconds_left": self._left(event, total),
            "current": [_name(name) for name in current[:NAMES]] if isinstance(current, list) else [],
        }

    def done(self, files: int | None, size: int | None, sent: int) -> Event:
        """The last line, once everything was read."""
        self.files, self.bytes = max(self.files, files or 0), max(self.bytes, size or 0)
        self._percent = 100.0
        return {
            "percent": 100.0, "files": self.files, "bytes": self.bytes, "total_files": self.files,
            "total_bytes": self.bytes, "estimated": False, "rate": self._read.rounded,
            "sent": sent, "sent_rate": self._sent.rounded, "seconds_left": 0, "current": [],
        }  # fmt: skip

    def _total(self, event: Event) -> tuple[int | None, bool]:
        told = whole_number(event.get("total_bytes"))
        if told:
            return max(told, self.bytes), False
        if self._expected is not None and self._expected.bytes:
            # Nobody counted beforehand: the last snapshot's size is the best guess.
            return max(self._expected.bytes, self.bytes), True
        return None, False

    def _share(self, told: Any, total: int | None, *, estimated: bool) -> float | None:
        if total is None:
            return self._percent or None
        plain = isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told <= 100
        share = float(told) if plain and not estimated else 100.0 * self.bytes / total
        # Not before the end: a source may have grown, and 100 % that goes on is a lie.
        self._percent = max(self._percent, min(NEARLY, round(share, 1)))
        return self._percent

    def _left(self, event: Event, total: int | None) -> int | None:
        if total is not None and self._read.value is not None and self._read.value >= 1.0:
            return min(round((total - self.bytes) / self._read.value), 1 << 31)
        return whole_number(event.get("seconds_left"))


def _name(value: Any) -> str:
    return (clean_line(value, LONGEST_NAME) if isinstance(value, str) else "") or "?"

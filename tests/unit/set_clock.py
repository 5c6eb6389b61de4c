"""A clock that stands until a test sets it. Nothing may sleep by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class SetClock:
    """A clock that is set."""

    moment: datetime

    def now(self) -> datetime:
        """The moment that it is set to."""
        return self.moment

    def monotonic(self) -> float:
        """The same in seconds."""
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Nobody should."""
        raise AssertionError(seconds)

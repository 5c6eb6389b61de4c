"""The look at all promises, again and again: in a thread, at a bounded share of the processor's time.

What changed is written into the ledger, so that `since` outlives us, and into files for others. It tells nobody by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from pbs.clock import Clock
from pbs.config import Config
from pbs.home import Home
from pbs.ledger import Held, Ledger, Vitals
from pbs.promises import gather
from pbs.promises.assess import SERVER, health, verdicts
from pbs.promises.nouns import Health
from pbs.promises.posts import Posts
from pbs.threads import in_thread

EVERY_SECONDS = 60.0
# After something changed: at once, but with so many times the length of a look between two of them.
REST = 50.0
LEAST_SECONDS = 2.0
# Whoever asks gets what is no older than this, and than some looks take.
ASKED_SECONDS, ASKED_REST = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Known:
    """What the controller tells of itself: its configuration, when it last looked at what is due, what fails."""

    config: Config
    planned: datetime | None
    faults: tuple[str, ...]


class Watch:
    """Looks at the promises of one home. Held by the controller."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock) -> None:
        self._home = home
        self._ledger = ledger
        self._clock = clock
        self._posts = Posts(home)
        self._held = ledger.vitals.promises()
        self._stored = dict(self._held)
        self._at: float | None = None
        self._took = 0.0
        self._changed = True
        self._one = asyncio.Lock()
        self.health: Health | None = None
        self.vitals: list[Vitals] = []

    def changed(self) -> None:
        """Something happened: the next turn looks, soon."""
        self._changed = True

    async def turn(self, known: Known) -> None:
        """Look, if it is time."""
        rest = max(LEAST_SECONDS, REST * self._took) if self._changed else EVERY_SECONDS
        if self._at is None or self._clock.monotonic() - self._at >= rest:
            await self._look(known)

    async def now(self, known: Known, *, fresh: bool = True) -> Health:
        """How everything stands, for somebody who asks; not `fresh` = as the last look found it, at once."""
        if not fresh and self.health is not None:
            return self.health
        async with self._one:
            old = None if self._at is None else self._clock.monotonic() - self._at
            if (
                self.health is not None
                and old is not None
                and old < max(ASKED_SECONDS, ASKED_REST * self._took)
            ):
                return self.health
        await self._look(known)
        assert self.health is not None  # noqa: S101 - a look sets it or raises
        return self.health

    async def _look(self, known: Known) -> None:
        async with self._one:
            begun, self._changed = self._clock.monotonic(), False
            self._at = begun
            await in_thread(self._work, known)
            self._took = self._clock.monotonic() - begun

    def _work(self, known: Known) -> None:
        """One look; in a thread, one at a time."""
        now, ledger = self._clock.now(), self._ledger
        self.vitals = ledger.vitals.of_all()
        found = verdicts(
            gather.of_sources(self._home, ledger, known.config.sources, self.vitals, served=True),
            gather.of_the_server(
                self._home, ledger, known.config.server, now, served=True, planned=known.planned, faults=known.faults,
            ),
        )  # fmt: skip
        self.health = health(found, self._held, now)
        self._remember(self.health)
        self._posts.put(self.health)

    def _remember(self, told: Health) -> None:
        """Keep since when each stands so; what cannot be written down now is with the next look."""
        self._held = {
            (each.source or SERVER, each.name): Held(each.state, each.since) for each in told.promises
        }
        changed = {which: each for which, each in self._held.items() if self._stored.get(which) != each}
        gone = self._stored.keys() - self._held.keys()
        if changed or gone:
            self._ledger.vitals.hold(changed, gone)
        self._stored = dict(self._held)

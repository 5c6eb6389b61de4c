"""The look at all promises, again and again: in a thread, at a bounded share of the processor's time.

What changed is written into the ledger, so that `since` outlives us, and into files for others. It tells nobody by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pbs.clock import Clock
from pbs.config import Config
from pbs.errors import PbsError
from pbs.home import Home
from pbs.ledger import Held, Ledger, Vitals
from pbs.promises import gather
from pbs.promises.assess import SERVER, health, verdicts
from pbs.promises.certificate import Shown
from pbs.promises.facts import ServerFacts
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
    channels: Mapping[str, str | None] = field(default_factory=dict)
    certificate: Shown | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw: the promises, what they were judged by, by how much each repository grows in a day, and how many
    seconds it took.
    """

    health: Health
    config: Config
    vitals: Sequence[Vitals]
    server: ServerFacts
    rates: Mapping[str, int | None]
    took: float


class Watch:
    """Looks at the promises of one home. Held by the controller."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock, known: Callable[[], Known]) -> None:
        self._home = home
        self._known = known
        self._ledger = ledger
        self._clock = clock
        self._posts = Posts(home)
        self._endpoints = gather.Endpoints(home)
        self._rates = gather.Rates(ledger)
        self._held = ledger.vitals.promises()
        self._stored = dict(self._held)
        self._at: float | None = None
        self._changed = True
        self._one = asyncio.Lock()
        self._trouble: PbsError | None = None
        self.newest: Look | None = None

    def changed(self) -> None:
        """Something happened: the next turn looks, soon."""
        self._changed = True

    async def turn(self) -> bool:
        """Look, if it is time; whether it was.

        Raises:
            PbsError: what was seen could not be written down; it is told all the same.
        """
        took = self.newest.took if self.newest is not None else 0.0
        rest = max(LEAST_SECONDS, REST * took) if self._changed else EVERY_SECONDS
        if self._at is not None and self._clock.monotonic() - self._at < rest:
            return False
        await self._look()
        if self._trouble is not None:
            raise self._trouble
        return True

    async def now(self, *, fresh: bool = True, anew: bool = False) -> Look:
        """How everything stands, for somebody who asks; not `fresh` = as the last look found it, at once.

        `anew` = for somebody who changed something that promises hang on: looked at now, whatever was seen before.
        """
        if anew:
            return await self._look()
        if not fresh and self.newest is not None:
            return self.newest
        async with self._one:
            if self.newest is not None and self._at is not None:
                old = self._clock.monotonic() - self._at
                same = self.newest.config is self._known().config
                if same and old < max(ASKED_SECONDS, ASKED_REST * self.newest.took):
                    return self.newest
        return await self._look()

    async def _look(self) -> Look:
        async with self._one:
            self._at, self._changed = self._clock.monotonic(), False
            vitals = await in_thread(self._ledger.vitals.of_all)
            # After the ledger: a source that is added meanwhile is configured before the ledger knows it.
            self.newest = await in_thread(self._work, self._known(), vitals, self._at)
            return self.newest

    def _work(self, known: Known, vitals: Sequence[Vitals], begun: float) -> Look:
        """One look; in a thread, one at a time."""
        now, ledger = self._clock.now(), self._ledger
        config, rates = known.config, self._rates.look(known.config.sources, now, begun)
        server = gather.of_the_server(
            self._home, ledger, config.server, now, served=True, planned=known.planned, faults=known.faults,
            channels=known.channels, rates=rates, certificate=known.certificate,
        )  # fmt: skip
        sources = gather.of_sources(
            self._home,
            ledger,
            config.sources,
            vitals,
            now,
            copies=server.copies,
            endpoints=self._endpoints,
            rates=rates,
        )
        told = health(verdicts(sources, server), self._held, now)
        self._trouble = None
        try:
            self._remember(told)
            self._posts.put(told)
        except PbsError as error:
            self._trouble = error
        return Look(told, config, vitals, server, rates, self._clock.monotonic() - begun)

    def _remember(self, told: Health) -> None:
        """Keep since when each stands so; what cannot be written down now is with the next look."""
        self._held, changed = {}, {}
        for each in told.promises:
            which = each.source or SERVER, each.name
            held = self._stored.get(which)
            # Of many thousands nearly all stand as they stood.
            if held is None or held.state != each.state or held.since != each.since:
                held = changed[which] = Held(each.state, each.since)
            self._held[which] = held
        gone = self._stored.keys() - self._held.keys()
        if changed or gone:
            self._ledger.vitals.hold(changed, gone)
        self._stored = dict(self._held)

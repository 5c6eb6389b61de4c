"""What the controller does for those who watch it: the look at promises, figures for Prometheus, messages. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from pbs.clock import Clock
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.messages.messenger import Messenger
from pbs.metrics import Meter
from pbs.promises import Health
from pbs.promises.certificate import Certificate
from pbs.promises.watch import Known, Watch


class Oversight:
    """The watchers of one home. Held by the controller."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock, known: Callable[[], Known]) -> None:
        self._known = known
        self._messenger = Messenger(home, ledger, clock)
        self._certificate = Certificate(clock)
        self._watch = Watch(home, ledger, clock, self._seen_here)
        self._meter = Meter(ledger, self._watch, clock)

    def changed(self) -> None:
        """Something happened that a promise may hang on."""
        self._watch.changed()

    async def turn(self) -> None:
        """Look, if it is time, and have said what there is to say."""
        self._certificate.turn(self._known().config.server.base_url)
        try:
            await self._watch.turn()
        finally:
            if self._watch.newest is not None:
                self._messenger.turn(self._known().config, self._watch.newest.health)

    async def end(self) -> None:
        """Let go of messages that are on their way: they are sent after the next start."""
        await self._messenger.end()
        await self._certificate.end()

    def _seen_here(self) -> Known:
        return replace(self._known(), channels=self._messenger.faults, certificate=self._certificate.newest)

    async def health(self, *, fresh: bool = True, anew: bool = False) -> Health:
        """How all promises stand; not `fresh` = as the last look found them, at once; `anew` = looked at now, whatever was seen before."""
        return (await self._watch.now(fresh=fresh, anew=anew)).health

    @property
    def rates(self) -> Mapping[str, int | None]:
        """By how many bytes each repository grows in a day, as the last look saw it."""
        return self._watch.newest.rates if self._watch.newest is not None else {}

    async def metrics(self, coming: Callable[[str], datetime | None]) -> bytes:
        """The figures, with when each source is pulled next."""
        return await self._meter.read(coming)

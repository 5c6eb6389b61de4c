"""One look at everything that is measured, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from pbs import __version__
from pbs.clock import Clock
from pbs.ledger import Ledger
from pbs.metrics.counting import Counting
from pbs.metrics.document import Document
from pbs.metrics.families import Measured, render
from pbs.promises.watch import Look, Watch
from pbs.threads import in_thread


class Meter:
    """Measures one home. Held by the controller."""

    def __init__(self, ledger: Ledger, watch: Watch, clock: Clock) -> None:
        self._ledger = ledger
        self._watch = watch
        self._clock = clock
        self._counting = Counting(ledger.vitals)
        self._document = Document()
        self._one = asyncio.Lock()

    async def read(self, coming: Callable[[str], datetime | None]) -> bytes:
        """The document for Prometheus."""
        look = await self._watch.now()
        moments = {name: moment for name in look.config.sources if (moment := coming(name)) is not None}
        async with self._one:
            return await in_thread(self._work, look, moments)

    def _work(self, look: Look, coming: dict[str, datetime]) -> bytes:
        space, queue = look.server.space, self._ledger.queue
        return render(
            Measured(
                version=__version__,
                now=self._clock.now(),
                health=look.health,
                vitals=look.vitals,
                sources=look.config.sources,
                coming=coming,
                tallies=self._counting.now(),
                queue=[*queue.running(), *queue.waiting()],
                disk=(space.total, space.free) if space is not None else None,
                copied=look.server.copied,
                took=look.took,
            ),
            self._document,
        )

"""What the controller sees to besides runs: the daily copy of the server, logs and ledger kept within their bounds, what
restores that died left behind.

It decides when; what is done stands in other rooms. It waits for nothing: each turn starts at most one piece of work.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

from pbs import runlogs, servercopy
from pbs.clock import Clock
from pbs.errors import PbsError
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import ServerSettings
from pbs.restore import clear_halves, halves
from pbs.threads import in_thread

DAY = timedelta(days=1)
LOOK_SECONDS = 10.0
# A change is copied when it has rested for so long, and not before the service has been up for it: `source add` writes
# several files, and ten sources are mostly added one after the other.
REST_SECONDS = 30.0
AGAIN_SECONDS = 600.0
log = logging.getLogger("pbs.care")


class Care:
    """The daily care of one home. Held by the controller."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock) -> None:
        self._home = home
        self._ledger = ledger
        self._clock = clock
        self._work: asyncio.Task[None] | None = None
        self._seen: str | None = None
        self._since = self._look_at = clock.monotonic()
        self._not_before = 0.0
        self._tidied: float | None = None
        self._said: str | None = None

    async def turn(self, server: ServerSettings) -> None:
        """Begin what is due, unless something still goes on. What fails is said once, and tried again later."""
        if self._work is not None and self._work.done():
            self._ended(self._work)
            self._work = None
        now = self._clock.monotonic()
        if self._work is not None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        if self._tidied is None or now - self._tidied >= DAY.total_seconds():
            self._tidied = now
            self._work = asyncio.create_task(self._tidy(server), name="tidy")
        elif server.copies == "daily" and now >= self._not_before and await self._copy_due(now):
            self._work = asyncio.create_task(self._copy(), name="server copy")
        elif halves(self._home.restored):
            self._work = asyncio.create_task(self._clear_halves(), name="clear what is half restored")

    async def end(self) -> None:
        """Stop what goes on: the next start does it anew."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._work

    def _ended(self, work: asyncio.Task[None]) -> None:
        error = work.exception() if not work.cancelled() else None
        if error is None:
            self._said = None
            return
        self._not_before = self._clock.monotonic() + AGAIN_SECONDS
        text = (
            f"{error.message} ({error.hint})"
            if isinstance(error, PbsError)
            else f"a fault of pbs itself: {error!r}"
        )
        if text != self._said:
            log.warning("%s: %s", work.get_name(), text)
        self._said = text

    async def _copy_due(self, now: float) -> bool:
        """Whether the last copy is a day old, or something else than it now stands in configuration and keys."""
        seen = await asyncio.to_thread(servercopy.look, self._home)
        if seen != self._seen:
            self._seen, self._since = seen, now
        if now - self._since < REST_SECONDS:
            return False
        last, today = servercopy.newest(self._ledger), self._clock.now()
        # One of the future was made before the clock was set right.
        old = last is None or today - last >= DAY or last > today
        return old or servercopy.copied_signature(self._ledger) != seen

    async def _copy(self) -> None:
        made = await servercopy.make(self._home, self._ledger, self._clock)
        log.info("the server was copied: %s", made.id[:8])

    async def _clear_halves(self) -> None:
        """Remove, in bounded steps, what restores left whose worker died."""
        await in_thread(clear_halves, self._home.restored, self._clock)

    async def _tidy(self, server: ServerSettings) -> None:
        """Keep logs of runs, long texts and events within their bounds."""
        now = self._clock.now()
        running = {run.id for run in self._ledger.queue.running()}
        removed = await asyncio.to_thread(
            runlogs.thin_out, self._home.log / "runs", server.run_logs, now, running
        )
        upkeep = self._ledger.upkeep
        cut = await in_thread(upkeep.shorten_outputs, now - timedelta(days=server.run_logs.days))
        dropped = await in_thread(upkeep.drop_old_events)
        if removed or cut or dropped:
            log.info(
                "let go of %d logs of runs and %d events; %d long outputs were cut", removed, dropped, cut
            )

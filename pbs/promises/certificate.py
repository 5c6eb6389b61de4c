"""The certificate that stands where people reach this server: looked at now and then, as a browser would.

It asks for nothing but the certificate, and waits for nobody: how it stands is what the last look saw.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from pbs.clock import Clock

SECONDS = 10.0
EVERY_SECONDS = 6 * 3600.0
# Where nobody answered, or not rightly: somebody may be at work on it.
AGAIN_SECONDS = 10 * 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands at an address: until when it is right, or what is wrong with it; neither where nobody answered."""

    address: str
    until: datetime | None = None
    wrong: str | None = None


def wanted(base_url: str) -> bool:
    """Whether there should be a certificate at all."""
    return base_url.startswith("https://")


async def look(base_url: str) -> Shown:
    """What is shown there now."""
    where = urlsplit(base_url)
    try:
        async with asyncio.timeout(SECONDS):
            _, line = await asyncio.open_connection(
                where.hostname, where.port or 443, ssl=ssl.create_default_context()
            )
    except ssl.SSLCertVerificationError as error:
        return Shown(base_url, wrong=error.verify_message.rstrip("."))
    except (OSError, TimeoutError, ValueError):
        return Shown(base_url)
    told = line.get_extra_info("peercert")["notAfter"]
    line.transport.abort()
    return Shown(base_url, datetime.fromtimestamp(ssl.cert_time_to_seconds(told), UTC))


class Certificate:
    """How the certificate of one server stood at the last look. Held by the controller."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._not_before = 0.0
        self._work: asyncio.Task[None] | None = None
        self.newest: Shown | None = None

    def turn(self, base_url: str) -> None:
        """Begin to look, if it is time. Waits for nothing."""
        now, free = self._clock.monotonic(), self._work is None or self._work.done()
        if not wanted(base_url):
            self.newest = None
        elif free and now >= self._not_before:
            self._not_before = now + AGAIN_SECONDS
            self._work = asyncio.create_task(self._look(base_url), name="certificate")

    async def end(self) -> None:
        """Stop what goes on."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work

    async def _look(self, base_url: str) -> None:
        self.newest = await look(base_url)
        if self.newest.until is not None:
            self._not_before += EVERY_SECONDS

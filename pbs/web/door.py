"""The connections of the TCP listener: how many there may be, and how long one may say nothing.

aiohttp waits for a request for as long as somebody keeps a connection open; here strangers may come. It knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

MOST_CONNECTIONS = 256
QUIET_SECONDS = 60.0


class Door(asyncio.Protocol):
    """One connection: hands everything on to the protocol behind it, and knows whether a request is being answered."""

    def __init__(self, doors: Doors, behind: asyncio.Protocol) -> None:
        self._doors = doors
        self._behind = behind
        self._transport: asyncio.Transport | None = None
        self.requests = 0
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        self._transport = cast("asyncio.Transport", transport)
        self._doors.opened(self)
        self._behind.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Somebody went."""
        self._doors.closed(self)
        self._behind.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Somebody said something."""
        self._behind.data_received(data)

    def eof_received(self) -> bool | None:
        """Somebody will say no more."""
        return self._behind.eof_received()

    def pause_writing(self) -> None:
        """They do not listen as fast as we speak."""
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        """They do again."""
        self._behind.resume_writing()

    def shut(self) -> None:
        """Have them go."""
        if self._transport is not None:
            self._transport.abort()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A request is being answered, for the length of the block: how long that may take is for its handler to say."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            self.since = self._doors.now()


class Doors:
    """All connections of one listener; it is what makes their protocols.

    Args:
        serve: Makes the protocol behind a door.
        most: How many connections there may be. For one more, the one that has been quiet for the longest time goes.
        quiet: Seconds that may pass without a request being answered, between requests and before the first.
    """

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        most: int = MOST_CONNECTIONS,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self._serve = serve
        self._most = most
        self._quiet = quiet
        self._loop = asyncio.get_running_loop()
        self._open: set[Door] = set()
        self._timer = self._loop.call_later(quiet / 4, self._look)

    def __call__(self) -> asyncio.Protocol:
        """A protocol for one more connection."""
        return Door(self, self._serve())

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def opened(self, door: Door) -> None:
        """One more."""
        door.since = self.now()
        if len(self._open) >= self._most:
            quiet = [each for each in self._open if not each.requests]
            going = min(quiet, key=lambda each: each.since) if quiet else door
            self._open.discard(going)
            going.shut()
        self._open.add(door)

    def closed(self, door: Door) -> None:
        """One less."""
        self._open.discard(door)

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        late = self.now() - self._quiet
        for door in [each for each in self._open if not each.requests and each.since < late]:
            door.shut()
        self._timer = self._loop.call_later(self._quiet / 4, self._look)


@contextmanager
def answering(transport: asyncio.BaseTransport | None) -> Iterator[None]:
    """A request on this connection is being answered, for the length of the block; on one without door, nothing."""
    door = transport.get_protocol() if transport is not None else None
    if isinstance(door, Door):
        with door.answering():
            yield
    else:
        yield

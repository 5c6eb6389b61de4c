"""A page that is asked for again within a second, by the same person and while nothing changed, is given again, not made again.

So twenty people who watch one list cost as much as one. It keeps nothing longer than that, and nothing that is streamed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from pbs.clock import Clock
from pbs.web.declare import Handler
from pbs.web.feeds import RSS
from pbs.web.frame import PAGE, ZONE_COOKIE
from pbs.web.guard import HARMLESS, operation_of, who_asks

SECONDS = 1.0
MOST_BYTES = 4_000_000
ASKED_IN_HEAD = ("Accept", "If-None-Match", "If-Modified-Since")
# What programs ask for as often, and what costs as much.
SHARED = ("/metrics", "/health", "/api/v1/sources", "/api/v1/promises", "/api/v1/runs")


@dataclass(frozen=True, slots=True)
class Made:
    """An answer as it was made, when, and at which state of the ledger."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: float
    state: int

    def answer(self) -> web.Response:
        """The same answer once more."""
        return web.Response(status=self.status, headers=self.headers, body=self.body)


class Again:
    """What was answered within the last second. One for all listeners of a controller."""

    def __init__(self, clock: Clock, state: Callable[[], int]) -> None:
        self._clock = clock
        self._state = state
        self._made: OrderedDict[Hashable, Made] = OrderedDict()
        self._making: dict[Hashable, asyncio.Lock] = {}
        self._acted = float("-inf")

    def middleware(self) -> Middleware:
        """To stand behind whatever decides who asks."""

        @web.middleware
        async def again(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method not in HARMLESS:
                try:
                    return await handler(request)
                finally:
                    self._made.clear()
                    self._acted = self._clock.monotonic()
            if not _may_be_shared(request):
                return await handler(request)
            return await self._once(_question(request), request, handler)

        return again

    async def _once(self, key: Hashable, request: web.Request, handler: Handler) -> web.StreamResponse:
        lock, asked = self._making.setdefault(key, asyncio.Lock()), self._clock.monotonic()
        try:
            async with lock:
                known = self._made.get(key)
                # What began to be made after somebody asked is as new as what would be made for him alone.
                if known is not None and (known.at > asked or self._holds(known)):
                    return known.answer()
                at, state = self._clock.monotonic(), self._state()
                response = await handler(request)
                self._keep(key, response, at, state)
                return response
        finally:
            if not lock.locked():
                self._making.pop(key, None)

    def _holds(self, made: Made) -> bool:
        return self._clock.monotonic() - made.at < SECONDS and made.state == self._state()

    def _keep(self, key: Hashable, response: web.StreamResponse, at: float, state: int) -> None:
        body = response.body if isinstance(response, web.Response) else None
        # Whoever is handed a cookie is handed it alone; what was begun before somebody acted may show what was before.
        if not isinstance(body, bytes) or len(body) > MOST_BYTES or response.cookies or at < self._acted:
            return
        now = self._clock.monotonic()
        while self._made and now - next(iter(self._made.values())).at >= SECONDS:
            self._made.popitem(last=False)
        # However long it took: there are those who wait for it.
        self._made[key] = Made(response.status, response.headers.copy(), body, at, state)
        self._made.move_to_end(key)
        while sum(len(each.body) for each in self._made.values()) > MOST_BYTES:
            self._made.popitem(last=False)


def _may_be_shared(request: web.Request) -> bool:
    operation = operation_of(request)
    return operation is not None and (operation.answers in (PAGE, RSS) or operation.path in SHARED)


def _question(request: web.Request) -> Hashable:
    """All that an answer depends on, besides the state of the server."""
    who = who_asks(request)
    asked = (
        request.path_qs,
        *(request.headers.get(name) for name in ASKED_IN_HEAD),
        request.cookies.get(ZONE_COOKIE),
    )
    return (*asked, who.name, who.via, who.role, who.csrf)

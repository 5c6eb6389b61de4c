"""Connections of strangers: bounded in number and in patience, and nobody who is being answered is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from pbs.web.door import Doors, answering

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(
    most: int, quiet: float, seconds: float = 0.0
) -> AsyncIterator[tuple[Doors, Callable[[], Awaitable[Link]]]]:
    """A real aiohttp server behind doors; each answer takes so long."""

    async def answer(request: web.Request) -> web.Response:
        with answering(request.transport):
            await asyncio.sleep(seconds)
            return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    assert runner.server is not None
    doors = Doors(runner.server, most, quiet)
    server = await asyncio.get_running_loop().create_server(doors, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    links: list[Link] = []

    async def come() -> Link:
        links.append(await asyncio.open_connection("127.0.0.1", port))
        return links[-1]

    try:
        yield doors, come
    finally:
        for _, writer in links:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        doors.close()
        server.close()
        await runner.cleanup()


async def answered(link: Link) -> bool:
    """Whether a request on this connection is answered; False where it was cut."""
    try:
        link[1].write(REQUEST)
        async with asyncio.timeout(20):
            return b"here" in await link[0].readuntil(b"here")
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def test_who_says_nothing_makes_room_for_who_does() -> None:
    """However many connections are opened and left alone, the next one is answered, and there are never more than so many."""
    async with served(most=5, quiet=60) as (doors, come):
        for _ in range(50):
            (await come())[1].write(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert await answered(await come())
        assert len(doors) <= 5


async def test_who_is_being_answered_stays() -> None:
    """A request that takes long is not cut, neither by others who come nor by its own length; one too many is."""
    async with served(most=3, quiet=0.2, seconds=1.0) as (doors, come):
        links = [await come() for _ in range(3)]
        busy = [asyncio.create_task(answered(link)) for link in links]
        await asyncio.sleep(0.3)
        assert not await answered(await come())
        assert [True, True, True] == await asyncio.gather(*busy)
        assert len(doors) <= 3


async def test_quiet_connections_end() -> None:
    """A connection that sends half a request, or none, or none after its last one, is cut when its time is over."""
    async with served(most=10, quiet=0.3) as (doors, come):
        half = await come()
        half[1].write(REQUEST[:20])
        none = await come()
        done = await come()
        assert await answered(done)
        async with asyncio.timeout(20):
            for reader, _ in (half, none, done):
                try:
                    assert not await reader.read(1000)
                except ConnectionError:
                    continue
            while len(doors):
                await asyncio.sleep(0.01)

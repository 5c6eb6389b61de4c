"""Answers that are given again: the same for the same person within a second, and never once something changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pbs.clock import SystemClock
from pbs.ledger import open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.web.again import SECONDS, Again
from pbs.web.declare import OfAPage, Role, operation, routes_of
from pbs.web.frame import PAGE
from pbs.web.guard import WHO, Who


class Place:
    """An application that counts how often its page is made."""

    def __init__(self) -> None:
        self.made = 0
        self.state = 1
        self.now = 0.0
        self.takes = 0.0

    def monotonic(self) -> float:
        """The time of the test."""
        return self.now

    def app(self) -> web.Application:
        """One page, made slowly; who asks stands in a header."""

        @operation("GET", "/", PAGE)
        async def look(_request: web.Request, asked: OfAPage) -> web.StreamResponse:
            """Look."""
            self.made += 1
            await asyncio.sleep(0.05)
            self.now += self.takes
            self.state += self.takes > 0
            return web.Response(text=f"<p>{self.made}", content_type="text/html")

        @operation("POST", "/", PAGE)
        async def act(_request: web.Request, asked: OfAPage) -> web.StreamResponse:
            """Act."""
            return web.Response(text="done")

        @web.middleware
        async def admit(request: web.Request, handler: object) -> web.StreamResponse:
            name = request.headers.get("X-Who", "ada")
            request[WHO] = Who(name, Role.OPERATOR, "tcp", csrf=name)
            return await handler(request)  # type: ignore[operator, no-any-return]

        app = web.Application(middlewares=[admit, Again(self, lambda: self.state).middleware()])  # type: ignore[arg-type]
        app.add_routes(routes_of((look, act)))
        return app


async def test_many_who_ask_at_once_cost_one(
    place: Place, client: TestClient[web.Request, web.Application]
) -> None:
    """Twenty requests at a time are one page made, the same for all."""
    answers = await asyncio.gather(*(client.get("/") for _ in range(20)))
    assert {await each.text() for each in answers} == {"<p>1"}
    assert {each.content_type for each in answers} == {"text/html"}
    assert place.made == 1


async def test_what_takes_long_and_is_old_at_once_is_made_once_more_for_all_who_waited(
    place: Place, client: TestClient[web.Request, web.Application]
) -> None:
    """What began to be made after somebody asked is new enough for him, whatever happens meanwhile; what began before is not."""
    place.takes = 2 * SECONDS
    answers = await asyncio.gather(*(client.get("/") for _ in range(20)))
    assert ["<p>1", *["<p>2"] * 19] == sorted([await each.text() for each in answers])
    assert await (await client.get("/")).text() == "<p>3"


async def test_nobody_sees_the_page_of_another(
    place: Place, client: TestClient[web.Request, web.Application]
) -> None:
    """What one person was shown, with what his forms must send, is never shown to another one, nor in another time zone."""
    assert await (await client.get("/")).text() == "<p>1"
    assert await (await client.get("/", headers={"X-Who": "bob"})).text() == "<p>2"
    assert await (await client.get("/", cookies={"pbs_timezone": "Asia/Tokyo"})).text() == "<p>3"
    assert await (await client.get("/?q=x")).text() == "<p>4"
    assert place.made == 4


async def test_whatever_changes_makes_it_anew(
    place: Place, client: TestClient[web.Request, web.Application]
) -> None:
    """A second, a change of the ledger, or something that somebody did: each ends what was kept."""
    await client.get("/")
    place.now += SECONDS
    assert await (await client.get("/")).text() == "<p>2"
    place.state += 1
    assert await (await client.get("/")).text() == "<p>3"
    await client.post("/", json={})
    assert await (await client.get("/")).text() == "<p>4"


def test_every_change_of_the_ledger_is_noticed(tmp_path: Path) -> None:
    """A change by this process or by another one is another number; looking is none."""
    upgrade(tmp_path / "ledger.sqlite", tmp_path / "lock")
    mine, other = open_ledger(tmp_path / "ledger.sqlite"), open_ledger(tmp_path / "ledger.sqlite")
    seen = [mine.upkeep.changes()]
    assert mine.sources() == []
    assert mine.upkeep.changes() == seen[0]
    for name, ledger in (("web", mine), ("db", other)):
        ledger.add_source(name, SystemClock().now())
        assert mine.upkeep.changes() not in seen
        seen.append(mine.upkeep.changes())


@pytest.fixture
def place() -> Place:
    """One place."""
    return Place()


@pytest.fixture
async def client(place: Place) -> object:
    """A client of it."""
    async with TestClient(TestServer(place.app())) as made:
        yield made

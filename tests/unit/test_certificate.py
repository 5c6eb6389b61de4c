"""The certificate that people are shown: looked at as a browser would, and told before it is over."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from set_clock import SetClock

from pbs.promises import State
from pbs.promises.certificate import AGAIN_SECONDS, Certificate, Shown, look
from pbs.promises.facts import ServerFacts
from pbs.promises.server import certificate as judged

NOW = datetime(2026, 5, 8, 12, tzinfo=UTC)
ADDRESS = "https://backup.example.org"
FACTS = ServerFacts(NOW, served=True, base_url=ADDRESS)
Pair = tuple[Path, Path]


def state(shown: Shown | None, **more: Any) -> State:
    """How the promise stands where this is shown."""
    return judged(replace(FACTS, certificate=shown, **more)).state


def test_it_is_told_before_it_is_over() -> None:
    """Two weeks before: a warning; three days before, or over: broken; one that this server does not trust: a warning."""
    for days, expected in ((30, State.KEPT), (13, State.WARNING), (2, State.BROKEN), (-1, State.BROKEN)):
        assert expected is state(Shown(ADDRESS, NOW + timedelta(days=days))), days
    assert State.BROKEN is state(Shown(ADDRESS, wrong="certificate has expired"))
    assert State.WARNING is state(Shown(ADDRESS, wrong="self-signed certificate"))
    assert State.WARNING is state(Shown(ADDRESS))


def test_where_there_is_none_nothing_is_missing() -> None:
    """Without https there is nothing to look at; nobody having looked yet is no fault, a stopped service is a warning."""
    assert State.KEPT is state(None, base_url="http://127.0.0.1:8484")
    assert State.KEPT is state(None)
    assert State.KEPT is state(Shown("https://older.example.org", wrong="certificate has expired"))
    assert State.WARNING is state(None, served=False)


@asynccontextmanager
async def showing(pair: Pair) -> AsyncIterator[str]:
    """The address of a server that shows this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    server = await asyncio.start_server(lambda _, line: line.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def test_a_real_certificate_is_looked_at(
    certificate: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until when a good one is right; what is wrong with one that is over, and with one that nobody trusts; no answer is no answer."""
    good, over = certificate("localhost", days=5), certificate("localhost", days=-1)
    monkeypatch.setenv("SSL_CERT_FILE", str(good[0]))
    async with showing(good) as address:
        found = (await look(address)).until
    assert found is not None
    assert timedelta(days=4) < found - datetime.now(UTC) < timedelta(days=6)
    monkeypatch.setenv("SSL_CERT_FILE", str(over[0]))
    async with showing(over) as address:
        assert (await look(address)).wrong == "certificate has expired"
    async with showing(good) as address:
        assert (await look(address)).wrong == "self-signed certificate"
    assert await look(address) == Shown(address)


async def test_it_is_looked_at_now_and_then(certificate: Callable[..., Pair]) -> None:
    """One look at a time, none before its time, none for an address without TLS; whoever asks waits for nothing."""
    clock: Any = SetClock(NOW)
    watched = Certificate(clock)
    watched.turn("http://backup.example.org")
    assert watched._work is None
    async with showing(certificate("localhost")) as address:
        watched.turn(address)
        watched.turn(address)
        assert (watched.newest, watched._work is not None) == (None, True)
        first = watched._work
        assert first is not None
        await asyncio.wait_for(first, 10)
        assert watched.newest == Shown(address, wrong="self-signed certificate")
        watched.turn(address)
        assert watched._work is first
        clock.moment += timedelta(seconds=AGAIN_SECONDS)
        watched.turn(address)
        assert watched._work is not first
        await watched.end()
        assert watched._work is not None
        assert watched._work.cancelled()

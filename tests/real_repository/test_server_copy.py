"""The copy of the server, made by the controller's care with a real restic: when it is due, and what is in it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pbs import servercopy
from pbs.care import AGAIN_SECONDS, REST_SECONDS, Care
from pbs.clock import SystemClock
from pbs.home import Home
from pbs.ledger import Ledger, open_ledger
from pbs.ledger.engine import make_engine
from pbs.ledger.files import faults
from pbs.ledger.store import schema_version
from pbs.ledger.upgrade import upgrade
from pbs.model import ServerSettings
from pbs.rebuild import rebuild_ledger
from pbs.repository import tool

SETTINGS = ServerSettings()


class Clock:
    """A clock that goes as a test tells it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.jump = timedelta()

    def now(self) -> datetime:
        return datetime(2026, 5, 1, 12, tzinfo=UTC) + timedelta(seconds=self.seconds) + self.jump

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a configuration and a key."""
    made = Home.at(tmp_path / "home")
    made.make()
    made.config.write_text("# ours\n")
    made.password("web").write_text("secret\n")
    upgrade(made.ledger, made.locks / "lock")
    return made


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    """Its ledger."""
    opened = open_ledger(home.ledger)
    opened.add_source("web", Clock().now())
    yield opened
    opened.close()


async def pass_time(care: Care, clock: Clock, seconds: float) -> None:
    """Turns as the controller takes them, until so much time has passed and nothing goes on."""
    end = clock.seconds + seconds
    while clock.seconds < end:
        await care.turn(SETTINGS)
        if care._work is not None:
            await asyncio.wait({care._work})
        clock.seconds += 5
    await care.turn(SETTINGS)


def copies(ledger: Ledger) -> int:
    """How many copies were made."""
    return len(ledger.noted(servercopy.EVENT, about=None))


async def test_copies_are_made_when_they_are_due(home: Home, ledger: Ledger) -> None:
    """Once soon after the start, once a day, once after a change that has rested; the same after a restart."""
    clock = Clock()
    care = Care(home, ledger, clock)
    await pass_time(care, clock, REST_SECONDS - 10)
    assert 0 == copies(ledger)
    await pass_time(care, clock, 60)
    assert 1 == copies(ledger)
    await pass_time(care, clock, 3600)
    assert 1 == copies(ledger)
    home.password("db").write_text("another\n")
    await pass_time(care, clock, 120)
    assert 2 == copies(ledger)
    clock.seconds += 86400
    await pass_time(care, clock, 60)
    assert 3 == copies(ledger)
    care = Care(home, ledger, clock)
    await pass_time(care, clock, 120)
    assert 3 == copies(ledger)
    clock.jump = timedelta(days=-5)
    await pass_time(care, clock, 120)
    assert 4 == copies(ledger)


async def test_a_copy_that_fails_is_tried_again(
    home: Home, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, not at each turn; when the cause is gone the copy is made; the rest of the care goes on."""
    clock = Clock()
    home.recovery_key.write_text("damaged\n")
    care = Care(home, ledger, clock)
    await pass_time(care, clock, 3 * AGAIN_SECONDS)
    assert 0 == copies(ledger)
    assert 1 == sum("recovery key" in each.message for each in caplog.records)
    home.recovery_key.unlink()
    await pass_time(care, clock, 2 * AGAIN_SECONDS)
    assert 1 == copies(ledger)


async def test_no_copy_is_made_where_none_is_wanted(home: Home, ledger: Ledger) -> None:
    """`copies = "off"` is obeyed."""
    clock = Clock()
    care = Care(home, ledger, clock)
    for _ in range(30):
        await care.turn(ServerSettings(copies="off"))
        clock.seconds += 20
        if care._work is not None:
            await asyncio.wait({care._work})
    assert not home.server_copy.exists()


async def test_restic_alone_opens_a_copy(home: Home, ledger: Ledger, tmp_path: Path) -> None:
    """With the recovery key and nothing of ours, the copy gives back configuration, keys and a sound ledger."""
    made = await servercopy.make(home, ledger, Clock())
    (tmp_path / "key").write_text(servercopy.recovery_key(home))
    subprocess.run(
        [tool(), "-r", home.server_copy, "--no-cache", "--password-file", tmp_path / "key",
         "restore", made.id, "--target", tmp_path / "back"],
        check=True, capture_output=True,
    )  # fmt: skip
    back = Home.at(tmp_path / "back")
    for path in (home.config, home.password("web"), home.recovery_key):
        assert path.read_bytes() == (back.root / path.relative_to(home.root)).read_bytes()
    assert [] == faults(back.ledger)
    copied = open_ledger(back.ledger)
    assert ["web"] == copied.sources()
    copied.close()
    assert [] == list(home.ledger.parent.glob(f"{servercopy.STAGING}*"))
    # A lock that a killed copy left, and a torn staging folder, are in nobody's way.
    (home.server_copy / "locks" / ("0" * 64)).write_bytes(b"junk")
    (home.ledger.parent / f"{servercopy.STAGING}00000000").mkdir()
    assert made.id != (await servercopy.make(home, ledger, Clock())).id
    assert [] == list(home.ledger.parent.glob(f"{servercopy.STAGING}*"))


async def test_a_copy_of_a_newer_version_is_passed_over(home: Home, ledger: Ledger) -> None:
    """After going back to an older pbs, a rebuild begins with the newest copy that this version understands."""
    old = await servercopy.make(home, ledger, Clock())
    version = schema_version(make_engine(home.ledger))
    with sqlite3.connect(home.ledger) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    new = await servercopy.make(home, ledger, Clock())
    database.close()
    report = await rebuild_ledger(home, SystemClock(), anyway=True)
    assert report.base is not None
    assert old.id == report.base.id
    assert any(new.id[:8] in remark for remark in report.remarks)
    assert version == schema_version(make_engine(home.ledger))
    rebuilt = open_ledger(home.ledger)
    assert rebuilt.upkeep.last_noted("ledger-rebuilt") is not None
    rebuilt.close()

"""The controller's rounds on a real home and ledger: each part goes on whatever happens to the others."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pbs.config.fields import EXAMPLE_HOST_KEY
from pbs.controller import Controller
from pbs.files import FileLock
from pbs.home import Home
from pbs.ledger import open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import Cause, Ending, Kind, Outcome, Run, RunState

SOURCE = f'host = "web.example.org"\nuser = "backup"\nhost_key = "{EXAMPLE_HOST_KEY}"\n'


class Clock:
    """A wall clock that jumps."""

    moment = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with the sources `db` and `web`, in a folder that is short enough for its sockets."""
    made = Home.at(Path(tempfile.mkdtemp(prefix="pbs-", dir="/tmp")))
    made.make()
    made.config.write_text(f'[server]\nlisten = "off"\n[source.web]\n{SOURCE}[source.db]\n{SOURCE}')
    upgrade(made.ledger, made.locks / "lock")
    ledger = open_ledger(made.ledger)
    for name in ("web", "db"):
        ledger.add_source(name, Clock.moment)
    ledger.close()
    yield made
    shutil.rmtree(made.root)


@pytest.fixture
def controller(home: Home) -> Iterator[Controller]:
    """A controller whose supervisord does not answer."""
    made = Controller(home)
    clock: Any = Clock()
    made.clock = clock
    made._seen = clock.now()
    yield made
    made.ledger.close()


def ended(controller: Controller, name: str, moment: datetime) -> Run:
    """A run of this source that ended then."""
    run = begun(controller, name, "lease", moment)
    return controller.ledger.queue.end(run, "lease", Ending(Outcome.OK, "every file was read"), moment)


def begun(controller: Controller, name: str, lease: str, moment: datetime) -> Run:
    """A run of this source that somebody works on."""
    queue = controller.ledger.queue
    run = queue.claim(queue.request(name, Kind.PULL, Cause.ASKED, moment), lease, moment, at_most=9)
    assert run is not None
    return run


def told(controller: Controller, run: Run, name: str = "web") -> bool:
    """Whether the feed file of a source tells of this run."""
    path = controller.home.feeds / f"{name}.xml"
    return path.is_file() and run.id in path.read_text()


async def test_a_feed_that_cannot_be_written_stops_no_other(controller: Controller) -> None:
    """F25: one unwritable feed costs that file alone, and is written as soon as it can be."""
    (controller.home.feeds / "all.xml").mkdir()
    run = ended(controller, "web", controller.clock.now())
    await controller._publish()
    assert told(controller, run)
    (controller.home.feeds / "all.xml").rmdir()
    await controller._publish()
    assert told(controller, run, "all")


async def test_a_clock_that_is_set_back_hides_no_run(controller: Controller) -> None:
    """F19: what ends after our clock went back by years, and what ended long before it was written, is told."""
    clock: Any = controller.clock
    await controller._publish()
    late = ended(controller, "web", clock.now() - timedelta(seconds=30))
    await controller._publish()
    assert told(controller, late)
    clock.moment -= timedelta(days=900)
    back = ended(controller, "web", clock.now())
    await controller._publish()
    assert told(controller, back)
    again = ended(controller, "web", clock.now())
    clock.moment += timedelta(days=1800)
    await controller._publish()
    assert told(controller, again)


async def test_only_the_runs_of_the_dead_are_ended(controller: Controller) -> None:
    """A run whose lock is held goes on; one whose lock can be had is interrupted, though no supervisord answers."""
    alive = begun(controller, "db", "a", controller.clock.now())
    dead = begun(controller, "web", "b", controller.clock.now())
    lock = FileLock(controller.home.locks / "db.run.lock")
    assert lock.acquire()
    await controller._tick()
    assert controller.ledger.run(alive.id).state is RunState.RUNNING
    assert controller.ledger.run(dead.id).outcome is Outcome.INTERRUPTED
    assert told(controller, dead)
    assert controller._restless == {"web"}
    lock.release()
    await controller._tick()
    assert controller.ledger.run(alive.id).outcome is Outcome.INTERRUPTED


async def test_what_is_wrong_is_said_once(controller: Controller, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that lasts fills no log: it is said when it begins, and again when it comes back."""
    feed = controller.home.feeds / "web.xml"
    feed.mkdir()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            ended(controller, "web", controller.clock.now())
            await controller._tick()
    assert len([each for each in caplog.messages if "web.xml" in each]) == 1
    feed.rmdir()
    await controller._tick()
    assert feed.is_file()

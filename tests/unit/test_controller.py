"""The controller's rounds on a real home and ledger: each part goes on whatever happens to the others."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pbs.config import adopt, load
from pbs.config.fields import EXAMPLE_HOST_KEY
from pbs.controller import PUBLISH_SECONDS, Controller
from pbs.errors import LedgerError
from pbs.files import FileLock
from pbs.home import Home
from pbs.ledger import Tally, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import Cause, Ending, Kind, Outcome, Run, RunState
from pbs.worker import Worker

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


async def test_what_just_ended_is_told_before_what_a_start_writes_anew(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round writes feeds for a bounded time: those of runs that ended come first, the others in later rounds."""
    ticks = itertools.count()
    monkeypatch.setattr(controller.clock, "monotonic", lambda: next(ticks) * PUBLISH_SECONDS * 0.4)
    controller._all_stale()
    run = ended(controller, "web", controller.clock.now())
    await controller._publish()
    assert (told(controller, run, "all"), told(controller, run)) == (True, True)
    assert controller._stale == {"db"}
    await controller._publish()
    assert (controller.home.feeds / "db.xml").is_file()


async def test_a_worker_without_work_leaves(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the first one, since an idle service should cost little."""
    monkeypatch.setattr("pbs.worker.IDLE_SECONDS", 0.2)
    monkeypatch.setattr("pbs.worker.POLL_SECONDS", 0.05)
    adopt(home)
    async with asyncio.timeout(20):
        await Worker(home, 0).serve()


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


# schedules


def waiting(controller: Controller) -> dict[str, Run]:
    """The runs that wait, by their sources."""
    return {run.source: run for run in controller.ledger.queue.waiting()}


async def test_what_is_due_is_queued_once(controller: Controller) -> None:
    """Nothing is due when a home is first served; each source is queued at its next slot, which was told before, and once."""
    clock: Any = controller.clock
    await controller._schedule()
    assert waiting(controller) == {}
    slots = {name: controller.next(name) or clock.now() for name in ("web", "db")}
    assert all(timedelta() < slot - clock.now() < timedelta(minutes=6) for slot in slots.values())
    assert slots["web"] != slots["db"]
    clock.moment = max(slots.values())
    for _ in range(3):
        await controller._schedule()
    assert {name: run.due for name, run in waiting(controller).items()} == slots
    assert {run.cause for run in waiting(controller).values()} == {Cause.DUE}
    assert (controller.next("web") or clock.now()) > clock.now()


async def test_an_outage_is_told_in_the_feed(controller: Controller) -> None:
    """After a day without service: one run for each source, and one word about the other slots, by a controller that is new."""
    clock: Any = controller.clock
    await controller._schedule()
    later = Controller(controller.home)
    later.clock = clock
    clock.moment += timedelta(days=1, minutes=30)
    await later._schedule()
    assert len(waiting(controller)) == 2
    (missed,) = controller.ledger.runs("web", ended=True)
    assert missed.outcome is Outcome.MISSED
    assert "24 runs that were due from 2026-05-01 12:0" in (missed.message or "")
    await later._publish()
    assert "web backup missed" in (controller.home.feeds / "web.xml").read_text()
    await later._schedule()
    assert len(controller.ledger.runs()) == 4
    later.ledger.close()


async def test_a_changed_schedule_begins_with_the_reload(controller: Controller) -> None:
    """A reload neither catches up for a schedule that was not there before, nor forgets what was due by one that stays."""
    clock: Any = controller.clock
    await controller._schedule()
    text = controller.home.config.read_text()
    controller.home.config.write_text(text.replace("[source.web]\n", '[source.web]\nschedule = "every 1m"\n'))
    clock.moment += timedelta(hours=3)
    controller.config = load(controller.home)
    controller._plan()
    await controller._schedule()
    assert list(waiting(controller)) == ["db"]
    assert (controller.next("web") or clock.now()) - clock.now() <= timedelta(minutes=1)
    controller.home.config.write_text(text.replace("[source.db]\n", "[source.other]\n"))
    controller.config = load(controller.home)
    controller._plan()
    assert controller.next("db") is None
    assert list(controller.ledger.slots.marks()) == ["web"]


async def test_a_clock_that_jumps_makes_no_storm_and_no_silence(controller: Controller) -> None:
    """Back by years and forward again: never more than one run waits, and a next slot is always near."""
    clock: Any = controller.clock
    for days in (0, -900, 900, 400, -1300, 1):
        clock.moment += timedelta(days=days)
        for _ in range(3):
            await controller._schedule()
            clock.moment += timedelta(seconds=2)
        assert len(waiting(controller)) <= 2
        coming = controller.next("web")
        assert coming is not None
        assert timedelta() < coming - clock.now() <= timedelta(hours=1, minutes=6)


async def test_a_ledger_that_cannot_be_written_loses_no_slot(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written down is decided again in the next round."""
    clock: Any = controller.clock
    await controller._schedule()
    clock.moment += timedelta(hours=1, minutes=30)

    def full(*_: Any) -> None:
        raise LedgerError("the disk is full", "free some space")

    with monkeypatch.context() as broken:
        broken.setattr(controller.ledger.slots, "deal", full)
        await controller._tick()
    assert waiting(controller) == {}
    await controller._tick()
    assert set(waiting(controller)) == {"web", "db"}


def test_notices_rest_between_runs(controller: Controller) -> None:
    """A source that gives notice all the time is pulled at most every twenty seconds; a person does not wait."""
    clock: Any = controller.clock
    first = controller.request("web", Kind.PULL, Cause.NOTICE)
    assert first.not_before is None
    assert controller.request("web", Kind.PULL, Cause.NOTICE) == first
    assert controller.ledger.queue.claim(first, "l", clock.now(), at_most=9)
    second = controller.request("web", Kind.PULL, Cause.NOTICE)
    assert second.not_before == clock.now() + timedelta(seconds=20)
    clock.moment += timedelta(seconds=1)
    assert controller.request("web", Kind.PULL, Cause.NOTICE).not_before == second.not_before
    asked = controller.request("web", Kind.PULL, Cause.ASKED)
    assert (asked.id, asked.not_before) == (second.id, None)


async def test_a_run_that_died_is_queued_again(controller: Controller) -> None:
    """What the controller ends as interrupted waits for its next try."""
    dead = begun(controller, "web", "b", controller.clock.now())
    await controller._reap()
    retry = waiting(controller)["web"]
    assert (retry.retry_of, retry.attempt, retry.cause) == (dead.id, 2, Cause.RETRY)
    assert retry.not_before
    assert retry.not_before > controller.clock.now()


async def test_a_start_counts_all_runs_before_anybody_asks(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is the first to ask for figures waits for no count of all runs there ever were: the start has made it."""
    made = Controller(home)
    ended(made, "web", made.clock.now())
    count, counts = made.ledger.vitals.tallies, list[int]()

    def counted(until: int) -> list[Tally]:
        counts.append(until)
        return count(until)

    monkeypatch.setattr(made.ledger.vitals, "tallies", counted)
    serving = asyncio.create_task(made.serve())
    async with asyncio.timeout(20):
        while not counts and not serving.done():
            await asyncio.sleep(0.01)
        assert b'pbs_runs_total{kind="pull",outcome="ok",source="web"} 1.0' in await made.metrics()
        assert 1 == len(counts)
        signal.raise_signal(signal.SIGTERM)
        await serving

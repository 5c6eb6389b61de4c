"""How runs are bounded, stopped and followed: stages, reasons, progress, played with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs.errors import NotFound, RunOver
from pbs.ledger import Ledger, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import Cause, Kind, Outcome, Receipt, ReceiptState, RunState
from pbs.repository import read_again
from pbs.runs.halt import Halt, cancelled, stopped
from pbs.runs.progress import PACE, Progress
from pbs.runs.stages import STAGES, Stage, Stages
from pbs.threads import in_thread, in_thread_until

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LAST = Receipt("a" * 64, "web", "r", NOW, NOW, NOW, ReceiptState.ADMITTED, Outcome.OK, files=10, bytes=1000)


class Clock:
    """Only the monotonic one counts here."""

    seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Log:
    """What was written."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def write(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    upgrade(tmp_path / "ledger.sqlite", tmp_path / "lock")
    made = open_ledger(tmp_path / "ledger.sqlite")
    made.add_source("web", NOW)
    yield made
    made.close()


# asking a run to stop


def test_a_queued_run_is_cancelled_at_once(ledger: Ledger) -> None:
    """Nobody works on it: it ends in the same moment, says who asked, and cannot be claimed any more."""
    run = ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW)
    ended = ledger.cancelling.ask(run.id, "anna", NOW)
    assert (ended.state, ended.outcome, ended.ended) == (RunState.ENDED, Outcome.CANCELLED, NOW)
    assert "anna" in (ended.message or "")
    assert ended.hint
    assert ledger.queue.claim(run, "lease", NOW, 9) is None
    assert ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW).id != run.id


def test_a_running_run_is_marked_for_its_worker_alone(ledger: Ledger) -> None:
    """The worker that holds it learns who asked first; another one learns nothing; the run still runs."""
    run = ledger.queue.claim(ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW), "mine", NOW, 9)
    assert run is not None
    assert ledger.cancelling.asked("mine") == {}
    ledger.cancelling.ask(run.id, "anna", NOW)
    again = ledger.cancelling.ask(run.id, "ben", NOW + timedelta(seconds=5))
    assert (again.state, again.cancel, again.cancelled_by) == (RunState.RUNNING, NOW, "anna")
    assert ledger.cancelling.asked("mine") == {run.id: "anna"}
    assert ledger.cancelling.asked("other") == {}
    ledger.queue.end(run, "mine", cancelled("anna"), NOW)
    assert ledger.cancelling.asked("mine") == {}


def test_what_has_ended_or_never_was_is_not_cancelled(ledger: Ledger) -> None:
    """Too late is a sentence of its own, with the outcome, and changes nothing."""
    run = ledger.queue.request("web", Kind.PULL, Cause.ASKED, NOW)
    ended = ledger.cancelling.ask(run.id, "x" * 1000, NOW)
    with pytest.raises(RunOver, match="has ended already: cancelled") as said:
        ledger.cancelling.ask(run.id, "ben", NOW)
    assert (said.value.exit_code, said.value.http_status) == (2, 409)
    assert ledger.run(run.id) == ended
    with pytest.raises(NotFound):
        ledger.cancelling.ask("20260102T030405Z-web-pull-ffffffff", "ben", NOW)


def test_the_first_reason_counts() -> None:
    """A stop that comes while a cancelled run lets go does not change what it was."""
    halt = Halt()
    assert halt.read().outcome is Outcome.INTERRUPTED
    assert halt.because("r", cancelled("anna"))
    assert not halt.because("r", stopped())
    assert (halt.read().outcome, halt.read().message) == (Outcome.CANCELLED, "cancelled by anna")
    halt.clear()
    assert halt.because("r", stopped())


async def test_a_thread_is_waited_for() -> None:
    """Whoever is cancelled lets go of nothing while a thread still works for it."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        assert go_on.wait(30)
        done.set()

    task = asyncio.create_task(in_thread(act))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_a_thread_hears_that_nobody_waits(tmp_path: Path) -> None:
    """Reading a large folder again ends with the run that wanted it, at the next file."""
    begun, heard = threading.Event(), threading.Event()

    def act(stop: Callable[[], bool]) -> None:
        begun.set()
        while not stop():
            pass
        assert read_again(tmp_path, ["a" * 64], stop).files == 0
        heard.set()

    task = asyncio.create_task(in_thread_until(act))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard.is_set()


# stages


async def test_a_stage_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of a stage ends the run long before its own deadline, and the message says where it was."""
    monkeypatch.setitem(STAGES, "connect", Stage("connecting", 0.02))
    log = Log()
    stages = Stages(log, 1000.0)
    with pytest.raises(TimeoutError):
        async with stages.bounded():
            stages.enter("repository")
            stages.enter("connect", host="h")
            await asyncio.Event().wait()
    assert stages.expired
    ending = stages.late()
    assert ending.outcome is Outcome.FAILED
    assert "connecting (the stage `connect`) took longer than" in ending.message
    assert ending.hint
    stages.enter("shut")
    assert stages.late() == ending
    assert [event["stage"] for event in log.events] == ["repository", "connect", "shut"]


async def test_the_next_stage_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound ends with its stage; what moves data is bounded by the run alone, and that names the stage as well."""
    monkeypatch.setitem(STAGES, "connect", Stage("connecting", 0.02))
    stages = Stages(Log(), 0.2)
    with pytest.raises(TimeoutError):
        async with stages.bounded():
            stages.enter("connect")
            stages.enter("backup")
            await asyncio.Event().wait()
    assert (
        "the run took longer than its 0.2 s and was stopped while backing up (the stage `backup`)"
        in stages.late().message
    )


# progress


def test_progress_without_a_count_is_measured_against_the_last_run() -> None:
    """Percent, rate and time left come from the last snapshot's size, and say that they are an estimate."""
    clock = Clock()
    progress = Progress(LAST, clock)
    lines = []
    for second in range(1, 6):
        clock.seconds = float(second)
        lines.append(
            progress.take({"bytes": 100 * second, "files": second, "current": ["/a\x1b[2J", "b", "c"]}, 7)
        )
    assert all(lines)
    last: Any = lines[-1]
    assert (last["percent"], last["total_bytes"], last["estimated"], last["sent"]) == (50.0, 1000, True, 7)
    assert last["rate"] == 100
    assert last["seconds_left"] == 5
    assert last["current"] == ["/a", "b"]
    clock.seconds = 20.0
    grown: Any = progress.take({"bytes": 5000}, 7)
    assert (grown["percent"], grown["total_bytes"], grown["seconds_left"]) == (99.9, 5000, 0)
    assert progress.done(60, 5000, 9)["percent"] == 100.0


def test_progress_lines_are_few() -> None:
    """A source that speaks ten times a second for a day leaves a log of some thousand lines."""
    clock = Clock()
    progress = Progress(None, clock)
    lines = 0
    for tick in range(24 * 3600 * 2):
        clock.seconds = tick / 2
        lines += progress.take({"bytes": tick}, 0) is not None
    assert PACE[0][1] >= 0.5
    assert 1000 < lines < 12_000


numbers = st.integers() | st.floats(allow_nan=True) | st.none() | st.text(max_size=3) | st.booleans()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.fixed_dictionaries({"percent": numbers, "bytes": numbers, "files": numbers, "total_bytes": numbers,
       "seconds_left": numbers, "current": st.lists(st.text() | st.integers(), max_size=3) | numbers})), st.booleans())  # fmt: skip
def test_progress_only_grows(events: list[dict[str, Any]], known: bool) -> None:
    """Whatever an agent claims, what is shown never goes back, stays below 100 % until the end, and is bounded."""
    clock = Clock()
    progress = Progress(LAST if known else None, clock)
    before = (0.0, 0, 0)
    for event in events:
        clock.seconds += 20
        line = progress.take(event, 0)
        assert line is not None
        now = (line["percent"] or 0.0, line["files"], line["bytes"])
        assert all(old <= new for old, new in zip(before, now, strict=True))
        assert now[0] <= 99.9
        assert all(len(name) <= 200 for name in line["current"])
        assert line["seconds_left"] is None or 0 <= line["seconds_left"]
        before = now
    assert progress.done(None, None, 0)["percent"] == 100.0

"""Who hangs holds nobody for ever: a run ends at its deadline, or when asked to, though an end of it answers nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import here
from stage import eventually

from pbs.model import Outcome, RunState

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]
# What a run may take to let go of everything where the other side does not answer.
PROMISED = 30.0


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """One stand for all; the line is slow on purpose."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="4MB/s"}')
        yield made


def begun(place: Stand) -> str:
    """A run in the middle of its transfer."""
    random_file(place.source.data / "big", 14 << 20)
    run: str = place.pbs.json("pull", "web", "--no-wait")["id"]
    eventually(place.transferring, PATIENCE, "the transfer")
    return run


def test_a_deadline_ends_a_run_whose_endpoint_hangs(place: Stand) -> None:
    """The endpoint stands still: at its deadline the run fails, says at which stage, and the endpoint is a new one."""
    file = place.pbs.home / "sources.d/web.toml"
    good = file.read_text()
    file.write_text(f'timeout = "10s"\n{good}')
    place.pbs("reload")
    since = time.monotonic()
    run = begun(place)
    stuck = set(place.pids("endpoint"))
    place.kill("endpoint", signal.SIGSTOP)
    eventually(lambda: place.run(run).state is RunState.ENDED, 10 + PROMISED, "the end")
    assert time.monotonic() - since > 9
    ended = place.run(run)
    assert ended.outcome is Outcome.FAILED
    assert "took longer than its 10 s and was stopped while backing up (the stage `backup`)" in (
        ended.message or ""
    )
    assert "raise `timeout`" in (ended.hint or "")
    eventually(place.source_is_quiet, 15, "the end of restic on the source")
    assert not stuck & set(place.pids("endpoint"))
    file.write_text(good)
    place.pbs("reload")
    place.next_pull()
    place.nothing_left()
    place.whole()


@pytest.mark.parametrize("victim", ["restic", "agent"])
def test_a_source_that_hangs_is_let_go(place: Stand, victim: str) -> None:
    """restic or the agent stand still on the source: the run ends soon after it was cancelled, and the next one works."""
    run = begun(place)
    place.kill(victim, signal.SIGSTOP)
    since = time.monotonic()
    assert here(place.pbs, "cancel", run)[0] == 0
    assert time.monotonic() - since < PROMISED
    assert place.run(run).outcome is Outcome.CANCELLED
    if victim == "agent":  # it cannot let go as long as it stands still; once it goes on, it does at once
        place.kill("agent", signal.SIGCONT)
    eventually(place.source_is_quiet, 15, "the end of restic on the source")
    place.next_pull()
    place.nothing_left()

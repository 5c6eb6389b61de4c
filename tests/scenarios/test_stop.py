"""The end of the service while runs go on: with a time of grace, without, asked for by a signal, or taken back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import here
from stage import PBS, eventually

from pbs.model import Outcome, Run, RunState
from pbs.serve import served

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]
# What a run may take to let go of everything once it is interrupted, and the service to end.
PROMISED = 30.0


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """One stand for all; the line is slow on purpose."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="4MB/s"}')
        yield made


def begun(place: Stand, megabytes: int = 14) -> Run:
    """A run in the middle of its transfer."""
    eventually(place.serving, PATIENCE, "the service")
    random_file(place.source.data / "big", megabytes << 20)
    run = place.pbs.json("pull", "web", "--no-wait")["id"]
    eventually(place.transferring, PATIENCE, "the transfer")
    return place.run(run)


@contextlib.contextmanager
def stopping(place: Stand, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`pbs stop` in a process of its own, once it waits for runs."""
    command = [*PBS, "--home", str(place.pbs.home), "stop", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert "waiting" in line, line
            yield process
        finally:
            process.kill()


def test_runs_may_end_within_the_grace(place: Stand) -> None:
    """What goes on comes to its end, nothing else begins, status says so; what waited is carried out after the next start."""
    run = begun(place, 40)
    waits = place.pbs.json("pull", "web", "--no-wait")["id"]
    with stopping(place, "--grace", "2m") as process:
        assert place.pbs.json("status")["stopping"] is True
        assert process.wait(PATIENCE) == 0
    assert place.run(run.id).outcome is Outcome.OK
    assert place.run(waits).state is RunState.QUEUED
    assert not served(place.home)
    place.serve_again()
    assert place.pbs.json("status")["stopping"] is False
    assert place.ended(waits).outcome is Outcome.OK
    place.nothing_left()


@pytest.mark.parametrize("words", [("--grace", "1s"), ("--now",)], ids=["grace", "now"])
def test_the_rest_is_interrupted(place: Stand, words: tuple[str, ...]) -> None:
    """When the time is over, or none was given, the run ends as interrupted, the source is quiet, the next pull is ok."""
    run = begun(place)
    since = time.monotonic()
    code, _, told = here(place.pbs, "stop", *words)
    assert code == 0, told
    assert time.monotonic() - since < 1 + PROMISED
    assert f"{run.id}: interrupted" in told
    ended = place.run(run.id)
    assert (ended.outcome, ended.message) == (
        Outcome.INTERRUPTED,
        "the service was stopped while the run went on",
    )
    assert place.source_is_quiet()
    place.serve_again()
    place.next_pull()
    place.nothing_left()


def test_a_signal_gives_the_configured_grace(place: Stand) -> None:
    """TERM to `pbs serve`, as systemd sends it, waits for `stop_grace` and no longer."""
    config = place.pbs.home / "pbs.toml"
    config.write_text(config.read_text().replace("[server]\n", '[server]\nstop_grace = "1s"\n'))
    run = begun(place)
    since = time.monotonic()
    place.kill("serve", signal.SIGTERM)
    eventually(lambda: not served(place.home), 1 + PROMISED, "the end of the service")
    assert time.monotonic() - since > 1
    assert place.run(run.id).outcome is Outcome.INTERRUPTED
    place.serve_again()
    place.next_pull()


def test_a_stop_that_is_killed_is_taken_back(place: Stand) -> None:
    """Who waits to stop the service may be killed: the run ends as ever, and the one that waits begins."""
    run = begun(place, 40)
    waits = place.pbs.json("pull", "web", "--no-wait")["id"]
    with stopping(place, "--grace", "2m") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert place.ended(run.id).outcome is Outcome.OK
    assert place.ended(waits).outcome is Outcome.OK
    assert place.pbs.json("status")["stopping"] is False
    place.nothing_left()
    place.whole()

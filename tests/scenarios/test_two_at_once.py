"""Two of everything at once: requests join, sources do not wait for each other, a stop is clean."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from stage import PBS, SourceHost, eventually

from pbs.cli.client import Service
from pbs.model import Outcome, RunState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SLOW = ("--set", 'limits={upload="2MB/s"}')


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """A served home whose line is slow enough to do something during a transfer."""
    with stand() as made:
        made.prove_first(*SLOW)
        yield made


@pytest.fixture(autouse=True)
def much_to_send(place: Stand) -> None:
    """Each test begins with an idle service and some seconds of new data."""
    eventually(place.serving, PATIENCE, "the service")
    eventually(lambda: all(run.state is RunState.ENDED for run in place.runs()), PATIENCE, "an idle service")
    random_file(place.source.data / "big", 8 << 20)


def test_requests_during_a_run_become_one_follow_up(place: Stand) -> None:
    """F20: ten wishes and two more `pbs pull` during a run are one run after it; whoever asked gets its outcome."""
    service = Service(place.home.controller_socket)
    before = {run.id for run in place.runs()}
    with place.pulling() as (one, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        asked = {service.post("/api/v1/runs", {"source": "web", "kind": "pull"})["id"] for _ in range(10)}
        (follow_up,) = asked
        with place.following() as two, place.following() as three:
            for process in (one, two, three):
                assert process.wait(PATIENCE) == 0
    assert {run.id, follow_up} == {run.id for run in place.runs()} - before
    first, second = place.run(run.id), place.run(follow_up)
    assert first.outcome is second.outcome is Outcome.OK
    assert first.ended is not None
    assert second.started is not None
    assert first.ended <= second.started
    place.nothing_left()


def test_two_pulls_at_the_same_moment_share_their_work(place: Stand) -> None:
    """Two people who pull at once get one run, or the first and its follow-up, and both hear that it went well."""
    before = {run.id for run in place.runs()}
    with place.following() as one, place.following() as two:
        assert (one.wait(PATIENCE), two.wait(PATIENCE)) == (0, 0)
    made = [run for run in place.runs() if run.id not in before]
    assert 1 <= len(made) <= 2
    assert {run.outcome for run in made} == {Outcome.OK}


def test_two_sources_do_not_wait_for_each_other(place: Stand, request: pytest.FixtureRequest) -> None:
    """Two sources transfer at the same time."""
    # A machine of its own: of two lines with one key, sshd takes the first.
    other = SourceHost(place.folder / "db")
    random_file(other.data / "big", 8 << 20)
    other.start()
    request.addfinalizer(other.stop)
    place.pbs.add("db", other, *SLOW)
    service = Service(place.home.controller_socket)
    asked = [service.post("/api/v1/runs", {"source": name, "kind": "pull"})["id"] for name in ("web", "db")]
    eventually(lambda: place.transferring() and place.transferring("db"), PATIENCE, "both transfers")
    runs = [place.ended(each) for each in asked]
    assert [Outcome.OK, Outcome.OK] == [run.outcome for run in runs]
    assert max(run.started for run in runs if run.started) < min(run.ended for run in runs if run.ended)
    place.nothing_left()
    place.nothing_left("db")


def test_a_controller_that_is_just_away_is_waited_for(place: Stand) -> None:
    """F1: a verb that meets a killed controller waits the moment until it is back, instead of calling the service down."""
    place.kill("controller")
    assert place.pbs.pull()["outcome"] == "ok"


def test_who_stops_watching_stops_nothing(place: Stand) -> None:
    """Ctrl-C on `pbs pull` leaves the run going on, and says so."""
    with place.pulling() as (process, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 5
        assert f"pbs log {run.id} -f" in said
        assert place.run(run.id).state is RunState.RUNNING
    assert place.ended(run.id).outcome is Outcome.OK


def test_term_to_the_parent_is_a_stop(place: Stand) -> None:
    """TERM to `pbs serve`, as an init system sends it, waits for runs as `pbs stop` does; a second one waits for nothing."""
    place.pbs("stop")
    command = [*PBS, "--home", str(place.pbs.home), "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as serving:
        eventually(place.serving, PATIENCE, "the service")
        with place.pulling() as (process, run):
            eventually(place.transferring, PATIENCE, "the transfer")
            serving.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                serving.wait(1)
            assert place.run(run.id).state is RunState.RUNNING
            serving.terminate()
            assert serving.wait(PATIENCE) == 0
            assert process.wait(PATIENCE) == 5
    assert place.run(run.id).outcome is Outcome.INTERRUPTED
    place.pbs.start()
    place.next_pull()
    place.nothing_left()

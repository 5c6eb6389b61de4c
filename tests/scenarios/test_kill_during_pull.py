"""kill -9 of every part in the middle of a pull: nothing admitted is lost, no run is forgotten, nobody has to tidy up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from stage import SourceHost, eventually, processes

from pbs.endpoint import Supervisor
from pbs.files import FileLock
from pbs.model import Outcome, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
# Who is killed, how the run may end, what its message must tell.
VICTIMS = {
    "worker": ({Outcome.INTERRUPTED}, "died"),
    "endpoint": ({Outcome.OK, Outcome.FAILED}, ""),
    "agent": ({Outcome.FAILED}, "signal KILL"),
    "restic": ({Outcome.FAILED}, "killed by signal 9"),
    "connection": ({Outcome.FAILED}, "the connection to the source was lost"),
    "controller": ({Outcome.OK}, ""),
    "supervisord": ({Outcome.INTERRUPTED}, "died"),
    "serve": ({Outcome.INTERRUPTED}, "the service was stopped"),
}
EXIT_CODES = {Outcome.OK: 0, Outcome.FAILED: 1, Outcome.INTERRUPTED: 5}


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """One stand for all deaths, so that what one leaves behind troubles the next. The line is slow on purpose."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="4MB/s"}')
        yield made


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_in_the_middle_of_a_transfer(place: Stand, victim: str) -> None:
    """F1, F2, F3, F5: whoever dies while data flows, the run ends with a cause, and the next pull simply works."""
    outcomes, words = VICTIMS[victim]
    random_file(place.source.data / "big", 14 << 20)
    with place.pulling() as (process, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        place.kill(victim)
        if Outcome.OK not in outcomes:
            eventually(place.source_is_quiet, 15, "the end of restic on the source")
        if victim in ("supervisord", "serve"):
            place.serve_again()
        ended = place.ended(run.id)
        assert ended.outcome in outcomes, ended.message
        assert words in (ended.message or "")
        assert ended.outcome is Outcome.OK or ended.hint
        said, _ = process.communicate(timeout=PATIENCE)
        assert (EXIT_CODES[ended.outcome], said) == (process.returncode, said)
    eventually(place.serving, PATIENCE, "the service")
    title = place.titles()[run.id]
    assert title == ("web backup" if ended.outcome is Outcome.OK else f"web backup {ended.outcome}")
    place.next_pull()
    place.nothing_left()
    place.whole()


def test_an_endpoint_that_does_not_come_back_ends_the_run(place: Stand) -> None:
    """F3: where the killed endpoint cannot start again, the run says so long before restic gives up; then all is well."""
    random_file(place.source.data / "big", 14 << 20)
    lock = FileLock(place.home.locks / "web.endpoint.lock")
    with ThreadPoolExecutor() as threads, place.pulling() as (process, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        # Whoever waits for it has it before the next rest-server asks.
        held = threads.submit(lock.acquire, wait=True)
        place.kill("endpoint")
        assert held.result(PATIENCE)
        since = time.monotonic()
        assert process.wait(PATIENCE) == 1
        assert time.monotonic() - since < PATIENCE
    lock.release()
    assert "did not come back" in (place.run(run.id).message or "")
    eventually(place.source_is_quiet, 15, "the end of restic on the source")
    place.next_pull()
    eventually(place.serving, PATIENCE, "the service")
    place.nothing_left()


def test_an_endpoint_on_demand_outlives_no_run(place: Stand, request: pytest.FixtureRequest) -> None:
    """F1: worker and controller die together; the endpoint that was started for the run is ended and forgotten."""
    other = SourceHost(place.folder / "db")
    random_file(other.data / "big", 14 << 20)
    other.start()
    request.addfinalizer(other.stop)
    place.pbs.add("db", other, "--set", 'limits={upload="4MB/s"}', "--set", "endpoint=on-demand")
    supervisor = Supervisor(place.home.supervisor_socket, place.home.etc / "supervisord.d")
    with place.pulling("db") as (process, run):
        eventually(lambda: place.transferring("db"), PATIENCE, "the transfer")
        place.kill("controller")
        place.kill("worker")
        assert place.ended(run.id).outcome is Outcome.INTERRUPTED
        assert process.wait(PATIENCE) == 5
    eventually(
        lambda: "endpoint-db" not in {each["name"] for each in supervisor.all()}, PATIENCE, "forgetting"
    )
    assert not processes("--append-only", str(place.pbs.repository("db")))
    assert not supervisor.registered("endpoint-db")
    eventually(place.serving, PATIENCE, "the service")
    assert place.pbs.pull("db")["outcome"] == "ok"
    place.nothing_left("db")


@pytest.mark.parametrize(
    "stage", ["repository", "endpoint", "connect", "agent", "forward", "backup", "shut", "admission"]
)
def test_the_worker_is_killed_at_a_stage(place: Stand, stage: str) -> None:
    """F1, F12: at whichever step the worker dies, the run ends as interrupted, once, and the next pull is ok."""
    for number in range(5):
        random_file(place.source.data / "small", 50_000)
        before = place.runs()[0].id
        ended = killed_at(place, stage)
        if ended.outcome is Outcome.INTERRUPTED:
            break
        assert number < 4, f"the worker was never killed in time: {ended}"
    assert [before] == [run.id for run in place.runs()[1:2]]
    assert place.titles()[ended.id] == "web backup interrupted"
    eventually(place.source_is_quiet, 15, "the end of restic on the source")
    orphans = place.pbs.repository().joinpath("snapshots")
    left = {path.name for path in orphans.iterdir()} - set(place.receipts())
    run = place.next_pull()
    # What the dead worker's agent had finished is told once, never counted, and never the newest.
    assert bool(left) == ("were not admitted" in run["message"])
    assert {"quarantined"} >= {place.receipts()[snapshot] for snapshot in left}
    assert "not admitted" not in place.next_pull()["message"]
    place.nothing_left()
    place.whole()


def killed_at(place: Stand, stage: str) -> Run:
    """How a run ended whose worker was killed as soon as its log told of a stage, which it does before it acts."""
    eventually(place.serving, PATIENCE, "the service")
    (worker,) = place.pids("worker")
    logs = place.home.run_log("web", "x").parent
    known = set(logs.iterdir())
    line = f'"stage": "{stage}"'.encode()
    with place.pulling() as (process, run):
        path = eventually(lambda: next(iter(set(logs.iterdir()) - known), None), PATIENCE, "the log")
        deadline = time.monotonic() + PATIENCE
        while line not in path.read_bytes():
            assert time.monotonic() < deadline, path.read_text()
        os.kill(worker, signal.SIGKILL)
        process.wait(PATIENCE)
    return place.ended(run.id)

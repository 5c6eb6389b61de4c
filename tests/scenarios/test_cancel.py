"""Asking a run to stop, at every stage and in every state: it ends soon, says who asked, and the next one simply works."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import add_plainly, here, http, new_key
from stage import PBS, SourceHost, eventually

from pbs.model import Outcome, Run, RunState
from pbs.restore import compare, halves

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]
# What is promised of an honest source; twice as much where it swallows everything.
PROMISED = 15.0


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """One stand for all; the line is slow on purpose."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="4MB/s"}')
        yield made


def cancel(place: Stand, run_id: str) -> tuple[int, dict[str, Any]]:
    """Ask over HTTP: the status and the answer."""
    status, _, body = http(place.pbs, "POST", f"/api/v1/runs/{run_id}/cancel", b"{}")
    return status, json.loads(body)


def within(place: Stand, run_id: str, seconds: float = PROMISED) -> Run:
    """The run as it ended, in time."""
    eventually(lambda: place.run(run_id).state is RunState.ENDED, seconds, f"the end of {run_id}")
    return place.run(run_id)


def test_cancelled_in_the_middle_of_a_transfer(place: Stand) -> None:
    """`pbs cancel` ends the whole tree in time; whoever follows exits with 5; the feed tells it; nothing is left to repair."""
    random_file(place.source.data / "big", 14 << 20)
    with place.pulling() as (process, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        follow_up = place.pbs.json("pull", "web", "--no-wait")["id"]
        since = time.monotonic()
        status, queued = cancel(place, follow_up)
        assert (202, "ended", "cancelled") == (status, queued["state"], queued["outcome"])
        code, said, told = here(place.pbs, "cancel", run.id, "--json")
        assert 0 == code, told
        assert time.monotonic() - since < PROMISED
        ended = json.loads(said)
        assert ("cancelled", getpass.getuser()) == (ended["outcome"], ended["cancelled_by"])
        assert f"cancelled by {getpass.getuser()}" == ended["message"]
        assert ended["hint"]
        assert 5 == process.wait(PATIENCE)
    assert place.source_is_quiet()
    code, _, told = here(place.pbs, "cancel", run.id)
    assert 2 == code, told
    assert "has ended already: cancelled" in told
    assert "web backup cancelled" == place.titles()[run.id]
    place.next_pull()
    place.nothing_left()
    place.whole()


def test_ctrl_c_ends_the_watching_alone(place: Stand) -> None:
    """Ctrl-C in `pbs pull` leaves the run alone and says how to end it; a source's name cancels what it does now."""
    random_file(place.source.data / "big", 14 << 20)
    command = [*PBS, "--home", str(place.pbs.home), "pull", "web"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        eventually(place.transferring, PATIENCE, "the transfer")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
    run = place.runs()[0]
    assert 5 == process.returncode
    assert f"`pbs cancel {run.id}` ends it" in told
    assert run.state is RunState.RUNNING
    code, said, told = here(place.pbs, "cancel", "web")
    assert (0, True) == (code, "web pull: cancelled" in said), told
    code, _, told = here(place.pbs, "cancel", "web")
    assert 7 == code, told
    code, _, told = here(place.pbs, "cancel", "20260102T030405Z-web-pull-ffffffff")
    assert 7 == code, told
    place.next_pull()
    place.nothing_left()


@pytest.mark.parametrize(
    "stage", ["repository", "endpoint", "connect", "agent", "forward", "backup", "shut", "admission"]
)
def test_cancelled_at_a_stage(place: Stand, stage: str) -> None:
    """Whatever a run is just doing, it ends in time: cancelled, or ok where it was nearly there. The next one is ok."""
    random_file(place.source.data / "small", 50_000)
    logs = place.home.run_log("web", "x").parent
    known = set(logs.iterdir())
    asked = place.pbs.json("pull", "web", "--no-wait")["id"]
    path = eventually(lambda: next(iter(set(logs.iterdir()) - known), None), PATIENCE, "the log")
    line = f'"stage": "{stage}"'.encode()
    deadline = time.monotonic() + PATIENCE
    while line not in path.read_bytes():
        assert time.monotonic() < deadline, path.read_text()
    status, answer = cancel(place, asked)
    ended = within(place, asked)
    if stage in ("repository", "endpoint", "connect", "agent"):
        assert (202, Outcome.CANCELLED) == (status, ended.outcome), ended.message
    else:
        assert ended.outcome in (Outcome.CANCELLED, Outcome.OK), (answer, ended.message)
    place.next_pull()
    place.nothing_left()


def test_cancelled_while_nothing_answers(place: Stand) -> None:
    """A host that swallows everything, and an agent that never greets, hold nobody: both runs end when asked to."""
    silent = SourceHost(place.folder / "silent")
    silent.start()
    silent.agent.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    place.pbs.add("silent", silent)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        add_plainly(place.pbs, "hole", "127.0.0.1", hole.getsockname()[1], new_key(place.folder))
        for name, stage in (("hole", "connect"), ("silent", "agent")):
            run = place.pbs.json("pull", name, "--no-wait")["id"]
            log = place.home.run_log(name, run)
            eventually(
                lambda log=log, stage=stage: log.exists() and f'"{stage}"' in log.read_text(), PATIENCE, stage
            )
            assert 202 == cancel(place, run)[0]
            assert within(place, run).outcome is Outcome.CANCELLED
    silent.stop()
    for name in ("hole", "silent"):
        assert 0 == here(place.pbs, "source", "remove", name)[0]
    place.next_pull()


def test_the_worker_dies_before_it_hears(place: Stand) -> None:
    """A worker that is killed right after the question: the run ends all the same, and soon."""
    random_file(place.source.data / "big", 14 << 20)
    run = place.pbs.json("pull", "web", "--no-wait")["id"]
    eventually(place.transferring, PATIENCE, "the transfer")
    place.kill("worker", signal.SIGSTOP)
    assert 202 == cancel(place, run)[0]
    place.kill("worker")
    assert within(place, run).outcome in (Outcome.INTERRUPTED, Outcome.CANCELLED)
    eventually(place.serving, PATIENCE, "the service")
    place.next_pull()
    place.nothing_left()


def test_a_restore_on_the_server_is_cancelled(place: Stand) -> None:
    """In the middle of it, its restic holding still: it ends in time, nothing that it wrote is kept, and it says so; the next
    one is whole.
    """

    def restic() -> list[int]:
        return [
            pid for pid in place.pids("reader") if b"\0restore\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def caught() -> bool:
        for pid in restic():
            os.kill(pid, signal.SIGSTOP)
        return bool(halves(place.home.restored) and restic())

    for number in range(300):
        random_file(place.source.data / f"many/{number}", 2000)
    place.next_pull()
    with place.pulling(kind="restore") as (process, run):
        eventually(caught, PATIENCE, "the restore")
        since = time.monotonic()
        assert 202 == cancel(place, run.id)[0]
        ended = within(place, run.id)
        assert time.monotonic() - since < PROMISED
        assert Outcome.CANCELLED is ended.outcome
        assert "nothing of what it had restored is kept" in (ended.hint or "")
        assert 5 == process.wait(PATIENCE)
    assert [] == list(place.home.restored.iterdir())
    with place.pulling(kind="restore") as (process, run):
        assert 0 == process.wait(PATIENCE)
    assert [run.id] == [path.name for path in place.home.restored.iterdir()]
    assert not compare(place.source.data, place.home.restored / run.id)
    place.nothing_left()

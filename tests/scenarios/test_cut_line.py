"""A line that falls silent, and what a dead line leaves behind: both sides let go in time, and left-overs stop nothing."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import PATIENCE, Stand, is_dead, random_file, stand
from stage import eventually

from pbs.files import lock_folder
from pbs.model import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# The controller asks every 15 s and gives up after four questions without an answer; the agent waits for 60 s.
CONTROLLER_SECONDS = 90
AGENT_SECONDS = 75


@pytest.fixture
def place() -> Iterator[Stand]:
    """A served home behind a slow line, with one admitted snapshot."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="2MB/s"}')
        yield made


def test_a_line_that_falls_silent_is_given_up_by_both_sides(place: Stand) -> None:
    """F7: nothing arrives any more, yet nobody hangs up: the agent ends restic, the run fails, and the next one works."""
    random_file(place.source.data / "big", 12 << 20)
    with place.pulling() as (process, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        place.kill("connection", signal.SIGSTOP)
        stopped = place.pids("connection")
        since = time.monotonic()
        eventually(lambda: not place.pids("restic"), AGENT_SECONDS, "the end of restic on the source")
        left = CONTROLLER_SECONDS - (time.monotonic() - since)
        assert process.wait(left) == 1
    ended = place.ended(run.id)
    assert (Outcome.FAILED, "the connection to the source was lost") == (ended.outcome, ended.message)
    assert "sends what is missing" in (ended.hint or "")
    eventually(place.source_is_quiet, PATIENCE, "the end of the agent")
    # The stopped sshd is in nobody's way.
    assert stopped == place.pids("connection")
    place.next_pull()
    place.kill("connection", signal.SIGCONT)
    eventually(lambda: not place.pids("connection"), PATIENCE, "the end of the old connection")
    place.next_pull()
    place.nothing_left()
    place.whole()


def left_over(path: Path) -> None:
    """A socket that nobody answers any more."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    assert is_dead(path)


def test_sockets_of_the_dead_stop_nobody(place: Stand) -> None:
    """F4, F6: dead sockets and folders of ours are replaced or removed; what is alive, or not of that kind, stays."""
    place.pbs.stop()
    home = place.home
    for path in (home.supervisor_socket, home.controller_socket, home.endpoint_socket("web")):
        left_over(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as old:
        (home.sockets / "wake/worker-0").unlink(missing_ok=True)
        old.bind(str(home.sockets / "wake/worker-0"))
    dead = [place.source.sockets / f"{number:012x}.sock" for number in range(5)]
    for path in dead:
        left_over(path)
    work = home.work("web")
    work.mkdir(exist_ok=True)
    for name in ("view-01234567", "view-89abcdef", "import-01234567"):
        (work / name).mkdir()
        (work / name / "much").write_text("of a killed process")
    (home.feeds / ".web.xml.01234567.tmp").write_text("torn")
    held = lock_folder(work / "view-89abcdef")
    alive, plain = place.source.sockets / "alive.sock", place.source.sockets / "plain.sock"
    plain.write_text("not a socket")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(alive))
        other.listen()
        place.pbs.start()
        eventually(place.serving, PATIENCE, "the service")
        place.next_pull()
        assert [path for path in dead if path.exists()] == []
        assert alive.exists()
    assert plain.read_text() == "not a socket"
    assert ["view-89abcdef"] == [path.name for path in work.iterdir()]
    assert list(home.feeds.glob(".*")) == []
    assert held is not None
    os.close(held)


def test_what_is_no_socket_is_named(place: Stand) -> None:
    """F4: a file in the place of the endpoint's socket is not removed; the run fails and says what to move away."""
    place.pbs.stop()
    path = place.home.endpoint_socket("web")
    path.unlink(missing_ok=True)
    path.write_text("somebody's")
    place.pbs.start()
    failed = place.pbs.pull(code=1)
    assert f"{path} is not a socket: move it away" in failed["message"]
    assert path.read_text() == "somebody's"
    path.unlink()
    place.next_pull()
    eventually(place.serving, PATIENCE, "the endpoint")
    place.nothing_left()

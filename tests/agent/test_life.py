"""Life and death: whatever happens to the controller or the agent, nothing of a run is left within 10 s."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pbs_agent import watch

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
LIMIT = 10.0


def gone(pids: list[int]) -> bool:
    """Whether none of these processes lives (PID 1 may leave zombies of orphans)."""
    for pid in pids:
        with contextlib.suppress(OSError), Path(f"/proc/{pid}/stat").open() as stat:
            if stat.read().rpartition(")")[2].split()[0] not in "ZX":
                return False
    return True


def wait_gone(pids: list[int], seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not gone(pids):
        assert time.monotonic() < end, f"still there after {seconds} s: {pids}"
        time.sleep(0.02)


def close_input(agent: Any) -> None:
    agent.hang_up()


def close_output(agent: Any) -> None:
    agent.process.stdout.close()


def send(number: signal.Signals) -> Callable[[Any], None]:
    def act(agent: Any) -> None:
        agent.process.send_signal(number)

    act.__name__ = number.name
    return act


ENDS = [close_input, close_output, *map(send, (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL))]


@pytest.mark.parametrize("act", ENDS, ids=lambda act: act.__name__)
def test_every_end_takes_restic_with_it(both: Any, act: Callable[[Any], None]) -> None:
    """In mid-upload: end of input, closed output, each signal, kill -9: agent and restic are gone within 10 s."""
    both.repository()
    agent = both.slow_backup()
    restics = both.restics(agent)
    act(agent)
    wait_gone([agent.process.pid, *restics])
    assert (agent.process.wait(1) < 0) == (act.__name__ == "SIGKILL")


def test_the_end_is_told(place: Any) -> None:
    """When only the input ends, the reply still says why the backup failed; the next one works."""
    place.repository()
    agent = place.slow_backup()
    agent.hang_up()
    said = agent.finish()
    assert (said.status, said.end["outcome"], said.end["snapshot"]) == (1, "failed", None)
    assert "controller is gone" in said.end["message"]
    (place.data / "large").unlink()
    assert place.backup().status == 0


def test_restic_that_ignores_everything(place: Any) -> None:
    """A restic that ignores SIGTERM is killed, with its whole group, within the time."""
    fake = place.root / "restic"
    fake.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\n"
        "if sys.argv[1] == 'version': sys.exit(print('restic 0.19.1'))\n"
        "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "os.fork()\n"
        'print(\'{"message_type":"status","pid":%d}\' % os.getpid(), flush=True)\n'
        "time.sleep(100)\n"
    )
    fake.chmod(0o755)
    place.repository()
    place.restic = str(fake)
    place.profile()
    agent = place.start("backup")
    agent.ask(place.request())
    agent.wait_for("progress")
    below = place.restics(agent)
    start = time.monotonic()
    agent.hang_up()
    wait_gone([agent.process.pid, *below])
    assert 1.5 < time.monotonic() - start < LIMIT


def test_kill_takes_a_hook(place: Any) -> None:
    """kill -9 of the agent takes a running hook with it."""
    hook = json.dumps(
        [sys.executable, "-c", "import os,time; print('pid', os.getpid(), flush=True); time.sleep(99)"]
    )
    place.profile("[hooks]", f"before = {hook}")
    place.repository()
    agent = place.start("backup")
    agent.ask(place.request())
    line = agent.process.stderr.readline()
    agent.process.kill()
    wait_gone([int(line.split()[1])])


def test_on_failure_runs_when_the_controller_is_gone(place: Any) -> None:
    """What before froze is thawed by on_failure even then, within the time."""
    mark = place.root / "thawed"
    place.profile("[hooks]", f'on_failure = ["/usr/bin/touch", "{mark}"]')
    place.repository()
    agent = place.slow_backup()
    agent.hang_up()
    assert agent.finish(LIMIT).status == 1
    assert mark.exists()


def test_on_failure_cannot_outstay(place: Any) -> None:
    """An on_failure that does not end is ended: 10 s hold whatever the profile says."""
    place.profile("[hooks]", 'on_failure = ["/usr/bin/sleep", "100"]')
    place.repository()
    agent = place.slow_backup()
    below = place.restics(agent)
    agent.hang_up()
    wait_gone([agent.process.pid, *below])


DRIVER = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from pbs_agent import watch, wrapper
watch.SILENCE_SECONDS = float(sys.argv.pop(1))
watch.REQUEST_SECONDS = 1.0
sys.exit(wrapper.main())
"""


def driven(place: Any, silence: float) -> list[str]:
    """The agent with shorter patience, which no argument of it can bring about."""
    folder = str(Path(watch.__file__).parent.parent)
    return [sys.executable, "-I", "-c", DRIVER, folder, str(silence)]


def test_silence(place: Any) -> None:
    """A controller that falls silent counts as gone; one that keeps sending empty lines does not."""
    place.repository()
    place.command = driven(place, 3.0)
    agent = place.slow_backup()
    below = place.restics(agent)
    for _ in range(9):
        agent.send(b"\n")
        time.sleep(0.5)
    assert agent.process.poll() is None
    wait_gone([agent.process.pid, *below], 3.0 + LIMIT)
    assert "silent for 3 seconds" in agent.finish().end["message"]


def test_a_controller_that_does_not_read(place: Any) -> None:
    """Events that nobody takes neither block the agent nor fill its memory: it lets go."""
    fake = place.root / "restic"
    fake.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "if sys.argv[1] == 'version': sys.exit(print('restic 0.19.1'))\n"
        "while True: print('noise ' * 100)\n"
    )
    fake.chmod(0o755)
    place.repository()
    place.restic = str(fake)
    place.profile()
    agent = place.start("backup", command=driven(place, 2.0))
    agent.ask(place.request())
    end = time.monotonic() + 2.0 + LIMIT
    while agent.process.poll() is None and time.monotonic() < end:
        agent.send(b"\n")
        time.sleep(0.1)
    assert agent.process.poll() == 1


def test_no_request(place: Any) -> None:
    """A request that never comes is a bad request after its time, not a held slot."""
    said = place.start("backup", command=driven(place, 30.0)).finish(LIMIT)
    assert (said.status, "no request came" in said.end["message"]) == (65, True)


def test_input_ends_before_the_request(place: Any) -> None:
    """An input that ends without a whole line is a bad request."""
    agent = place.start("backup")
    agent.send(b'{"protocol":1')
    agent.hang_up()
    said = agent.finish(LIMIT)
    assert (said.status, "no whole request" in said.end["message"]) == (65, True)


def test_controller_leaves_without_waiting_for_us(place: Any) -> None:
    """After restic is done the agent does not wait for its input to end."""
    place.repository()
    agent = place.start("backup")
    agent.ask(place.request())
    assert agent.finish(30).status == 0

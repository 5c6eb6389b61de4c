"""The parent of the service once it is up: waits for the end of supervisord, and says for as long that the service is alive.

Alive means that supervisord and the controller answer, not that their processes exist: who hangs is restarted as well.
It turns TERM into a clean stop, a second TERM into one without grace, and HUP into our own reload (supervisord's HUP
would restart everything). It restarts nothing by itself, and imports as little as it can: it is there for years.
"""

from __future__ import annotations

import http.client
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Protocol

from pbs.clock import SystemClock, pause
from pbs.endpoint import Supervisor, remove_socket
from pbs.errors import PbsError, ServiceStopping
from pbs.home import Home
from pbs.process import start
from pbs.systemd import ALIVE, READY, STOPPING, Manager, reloading

ANSWER_SECONDS = 10.0
# A controller that was killed is back within seconds: it is looked at again before the manager gives up on us.
AGAIN_SECONDS = 2.0
STOP_SECONDS = 60.0
# What must not come while nobody is there to heed it.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Child(Protocol):
    """Supervisord, as its parent knows it."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Its exit code (negative: the signal); None while it lives."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Inherited:
    """A child that another program, which this process was before, has started."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._pid

    def poll(self) -> int | None:
        """Its exit code (negative: the signal); None while it lives."""
        if self._code is None:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # As long as it was not waited for, nobody else can have its number.
        if self.poll() is None:
            os.kill(self._pid, number)


def become_light(pid: int, lock: int, home: Home, manager: Manager) -> None:
    """Go on as this program alone in the same process; returns only where that cannot be, with nothing changed.

    Args:
        pid: Supervisord, a child of this process.
        lock: The descriptor of the lock of the service.
        home: The home that is served.
        manager: Whoever is told how the service is.
    """
    words = ["--home", str(home.root), str(pid), str(lock), "serve"]
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.set_inheritable(lock, True)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(  # noqa: S606 - the same program, no shell
            sys.executable,
            [sys.executable, "-I", "-m", "pbs.attend", *words],
            os.environ | manager.environment,
        )
    except OSError:
        os.set_inheritable(lock, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def main(words: list[str]) -> int:
    """What `become_light` makes of the process; returns its exit code."""
    _, root, pid, lock, _ = words
    os.set_inheritable(int(lock), False)
    home, manager, child = Home.at(Path(root)), Manager(os.environ), Inherited(int(pid))
    try:
        pass_on(child, home, manager)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return attend(child, home, manager)
    except PbsError as error:
        print(f"pbs: {error.message}\n  {error.hint}", file=sys.stderr)
        return error.exit_code
    finally:
        end(child, home, manager)


def attend(child: Child, home: Home, manager: Manager) -> int:
    """Supervisord's exit code, once it has ended.

    Raises:
        PbsError: a signal ended it.
    """
    code = _watch(child, home, manager)
    if code < 0:
        raise PbsError(
            f"supervisord was ended by signal {-code}, and the service with it",
            "start it again with `pbs serve`; runs that went on end as interrupted",
        )
    return code


def _watch(child: Child, home: Home, manager: Manager) -> int:
    clock = SystemClock()
    ending = os.pidfd_open(child.pid)
    try:
        while (code := child.poll()) is None:
            if manager.every is None:
                select.select([ending], [], [])
                continue
            before = clock.monotonic()
            fine = alive(home)
            if fine:
                manager.say(ALIVE, status=f"serving {home.root}")
            else:
                manager.say(status="supervisord or the controller does not answer; see var/log")
            rest = manager.every if fine else min(AGAIN_SECONDS, manager.every)
            select.select([ending], [], [], max(0.0, before + rest - clock.monotonic()))
    finally:
        os.close(ending)
    return code


def end(child: Child, home: Home, manager: Manager) -> None:
    """End supervisord, if it still lives, and what the service leaves behind."""
    manager.say(STOPPING)
    if child.poll() is None:
        child.terminate()
        clock = SystemClock()
        deadline = clock.monotonic() + STOP_SECONDS
        while child.poll() is None:
            if clock.monotonic() > deadline:
                child.kill()
                break
            pause(0.05)
    # Endpoints listen on sockets that are handed to them, and leave them behind.
    for left in (home.sockets / "endpoint").glob("*.sock"):
        remove_socket(left)
    home.held_key.unlink(missing_ok=True)


def pass_on(child: Child, home: Home, manager: Manager) -> list[subprocess.Popen[bytes]]:
    """Signals become verbs, each in a process of its own: a signal handler must not wait. Returns those that stop the service."""
    stopping: list[subprocess.Popen[bytes]] = []
    reloads: list[subprocess.Popen[bytes]] = []

    def verb(word: str) -> subprocess.Popen[bytes]:
        return start([sys.executable, "-I", "-m", "pbs.cli.main", "--home", str(home.root), word])

    def stop(_number: int, _frame: FrameType | None) -> None:
        if stopping:
            child.terminate()  # asked twice: runs get no time of grace
        else:
            manager.say(STOPPING)
            stopping.append(verb("stop"))

    def reload(_number: int, _frame: FrameType | None) -> None:
        manager.say(reloading(SystemClock().monotonic()))
        reloads.append(verb("reload"))

    def ended(_number: int, _frame: FrameType | None) -> None:
        # How it went is in the log: the old configuration stays in force where the new one is wrong.
        if reloads and all(each.poll() is not None for each in reloads):
            reloads.clear()
            manager.say(READY)
        # A stop that failed must not leave us running.
        if any(each.poll() not in (None, 0) for each in stopping):
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
    signal.signal(signal.SIGCHLD, ended)
    return stopping


def alive(home: Home) -> bool:
    """Whether supervisord and the controller answer."""
    try:
        Supervisor(home.supervisor_socket, home.etc / "supervisord.d").ask("getState")
    except ServiceStopping:
        return True
    except PbsError:
        return False
    return _controller_answers(home.controller_socket)


def _controller_answers(path: Path) -> bool:
    """Whether the controller answers a question: one that hangs still takes connections."""
    connection = http.client.HTTPConnection("localhost", timeout=ANSWER_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(ANSWER_SECONDS)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", "/api/v1/runs?limit=1")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Programs that the agent starts: in a group of their own, tied to the agent's life, read line by line, ended for sure.

A program dies with the agent even if that is killed: the kernel sends it SIGKILL then. It never goes through a shell
and inherits nothing of the agent's environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from pbs_agent.profile import home_folder
from pbs_agent.watch import Sink, Watch

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL
_KILL_SECONDS = 2.0  # after SIGKILL only a process in uninterruptible sleep is still there
_DRAIN_SECONDS = 1.0
_LINE_BYTES = 256 * 1024
_PR_SET_PDEATHSIG = 1
_ON_DISK = "/var/tmp"  # noqa: S108 - restic unlinks what it makes there at once; /tmp is often memory
_TEMPORARY = _ON_DISK if os.access(_ON_DISK, os.W_OK | os.X_OK) else "/tmp"  # noqa: S108 - as above
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Program:
    """What to start. `keep` are descriptors that it inherits besides the three standard ones."""

    arguments: Tuple[str, ...]
    folder: str = "/"
    environment: Tuple[Tuple[str, str], ...] = ()
    keep: Tuple[int, ...] = ()
    nice: int = 0


class TimeoutExpiredError(Exception):
    """The program took longer than it may and was ended."""


class Lines:
    """Cuts what is read into lines; a line that is too long is cut off, not kept."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """Hand on each whole line without its newline; b"" ends the last one."""
        if not data:
            if self._rest and not self._skipping:
                self._sink(self._rest)
            self._rest = b""
            return
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if not self._skipping:
                self._sink(line[:_LINE_BYTES])
            self._skipping = False
        if len(self._rest) > _LINE_BYTES:
            if not self._skipping:
                self._sink(self._rest[:_LINE_BYTES])
            self._skipping, self._rest = True, b""


def environment() -> Dict[str, str]:
    """The environment of every program we start: built here, taken from nobody."""
    values = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "TMPDIR": _TEMPORARY}
    home = home_folder()
    return {**values, "HOME": home} if home else values


def run(
    watch: Watch,
    program: Program,
    out: Sink,
    err: Sink,
    seconds: Optional[float] = None,
    *,
    heedless: bool = False,
    grace: float = GRACE_SECONDS,
) -> int:
    """Run a program to its end and hand on its lines. The result is its exit status, or minus the signal.

    Whatever is raised, the program and its group are gone by then.

    Raises:
        GoneError: the controller is gone; not when `heedless`.
        TimeoutExpiredError: `seconds` are over.
        OSError: it cannot be started.
    """
    child = _Child(watch, program, out, err)
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while not child.ended():
            if end is not None and time.monotonic() >= end:
                raise TimeoutExpiredError
            watch.turn(1.0 if end is None else min(1.0, end - time.monotonic()), heedless=heedless)
    except BaseException:
        child.stop(grace)
        raise
    return child.finish()


class _Child:
    """A started program. Nothing reaps it before `finish`, so its id stays its own until then."""

    def __init__(self, watch: Watch, program: Program, out: Sink, err: Sink) -> None:
        self._watch = watch
        self._open: List[int] = []
        pipes = [os.pipe(), os.pipe()]
        try:
            self._process = _start(program, pipes[0][1], pipes[1][1])
        except BaseException:
            for reader, _ in pipes:
                os.close(reader)
            raise
        finally:
            for _, writer in pipes:
                os.close(writer)
        for reader, sink in ((pipes[0][0], out), (pipes[1][0], err)):
            self._open.append(reader)
            watch.read(reader, self._receive(reader, Lines(sink)))

    def _receive(self, reader: int, lines: Lines) -> Callable[[bytes], None]:
        def receive(data: bytes) -> None:
            if not data:
                self._open.remove(reader)
            lines.feed(data)

        return receive

    def ended(self) -> bool:
        """Whether the program has ended; it is not reaped by asking."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def stop(self, grace: float) -> None:
        """End the program and its group: asked first, then made to."""
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILL_SECONDS)):
            if not self.ended() or number == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, number)
            self._turn_until(self.ended, seconds)
        self.finish()

    def finish(self) -> int:
        """Read what is left, let go of the pipes, reap."""
        self._turn_until(lambda: not self._open, _DRAIN_SECONDS)
        for reader in list(self._open):  # held open by something that the program left behind
            self._watch.forget(reader)
        if not self.ended():
            return -int(signal.SIGKILL)
        return self._process.wait()

    def _turn_until(self, done: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self._watch.turn(0.05, heedless=True)


def _start(program: Program, output: int, errors: int) -> subprocess.Popen[bytes]:
    """Start it from the main thread: the kernel's signal comes when the *thread* that started it ends."""
    agent = os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != agent:  # it died before the tie held
            os.kill(os.getpid(), signal.SIGKILL)
        if program.nice:
            os.nice(program.nice)

    variables = {**environment(), **dict(program.environment)}
    return subprocess.Popen(
        [argument.encode() for argument in program.arguments],  # whatever locale the session came with
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        cwd=program.folder.encode(),
        env={name.encode(): value.encode("utf-8", "surrogateescape") for name, value in variables.items()},
        pass_fds=program.keep,
        start_new_session=True,
        preexec_fn=tie,  # noqa: PLW1509 - there are no threads here, and nothing else runs in the child before exec
    )

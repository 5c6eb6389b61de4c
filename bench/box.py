"""Everything that a measurement starts lives in a box: children are counted there, and none outlives it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pbs.bounds import die_with_parent

PATIENCE_SECONDS = 60.0
QUIET_SECONDS, QUIET_CPU_SECONDS, MOST_QUIET_LOOKS = 0.25, 0.02, 40
LONGEST_FOLDER = 40
Words = Sequence[str | os.PathLike[str]]


class Broken(Exception):
    """A contender failed, or the bench cannot run here."""


class Box:
    """A folder and a way to start processes whose CPU time is counted, each child and grandchild with it."""

    def __init__(self, below: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pb-", dir=below))
        self._group = _make_group()
        self._daemons: list[subprocess.Popen[bytes]] = []
        if len(os.fsencode(self.folder)) > LONGEST_FOLDER:
            self.close()
            raise Broken(f"{below} is too long a path for unix sockets below it: name another --folder")

    @property
    def counted(self) -> str:
        """How CPU time is counted here."""
        if self._group is not None:
            return "cgroup: user+system of every process that was started for the run, on both sides"
        return "process tree: user+system of all descendants, living or waited for (10 ms grains)"

    def cpu(self) -> float:
        """CPU seconds that everything started here has used until now."""
        if self._group is not None:
            values = dict(line.split() for line in (self._group / "cpu.stat").read_text().splitlines())
            return (int(values["user_usec"]) + int(values["system_usec"])) / 1e6
        dead = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = sum(sum(_stat(pid)[11:15]) for pid in descendants(os.getpid()))
        return dead.ru_utime + dead.ru_stime + ticks / os.sysconf("SC_CLK_TCK")

    def quiet(self) -> None:
        """Wait until nothing works any more; what a run leaves to be done is a part of its cost."""
        before = self.cpu()
        for _ in range(MOST_QUIET_LOOKS):
            time.sleep(QUIET_SECONDS)
            now = self.cpu()
            if now - before < QUIET_CPU_SECONDS:
                return
            before = now

    def run(
        self,
        argv: Words,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        codes: tuple[int, ...] = (0,),
    ) -> str:
        """Run a program to its end; returns what it printed.

        Raises:
            Broken: it ended otherwise than by one of `codes`.
        """
        child = self._spawn(argv, env, cwd, subprocess.PIPE)
        printed, complaints = child.communicate()
        if child.returncode not in codes:
            tail = (complaints + printed).decode("utf-8", "replace").strip().splitlines()[-15:]
            raise Broken("\n".join([f"{_short(argv)}: exit {child.returncode}", *tail]))
        return printed.decode("utf-8", "replace")

    def daemon(self, argv: Words, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start something that stays; what it prints goes to `log`."""
        with log.open("ab") as file:
            child = self._spawn(argv, env, None, file)
        self._daemons.append(child)
        return child

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """End something that stayed, and all that it started."""
        below = descendants(child.pid)
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _kill(below)
        if child in self._daemons:
            self._daemons.remove(child)

    def _spawn(
        self, argv: Words, env: Mapping[str, str] | None, cwd: Path | None, out: Any
    ) -> subprocess.Popen[bytes]:
        def setup() -> None:
            die_with_parent()
            if self._group is not None:
                (self._group / "cgroup.procs").write_text("0")

        return subprocess.Popen(
            [os.fspath(word) for word in argv], env=dict(env) if env is not None else None, cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT if out != subprocess.PIPE else out,
            start_new_session=True, preexec_fn=setup,  # noqa: PLW1509 - the bench has no threads
        )  # fmt: skip

    def close(self) -> None:
        """End every process, remove every trace."""
        for child in [*self._daemons]:
            with contextlib.suppress(Exception):
                self.end(child)
        for _ in range(20):
            left = {*descendants(os.getpid()), *_mentioning(self.folder), *self._members()}
            if not left:
                break
            _kill(left)
            time.sleep(0.1)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        if self._group is not None:
            with contextlib.suppress(OSError):
                self._group.rmdir()
        remove(self.folder)

    def _members(self) -> list[int]:
        if self._group is None:
            return []
        with contextlib.suppress(OSError):
            return [int(line) for line in (self._group / "cgroup.procs").read_text().split()]
        return []


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A plain environment: no setting of the person who runs the bench reaches a contender."""
    kept = {name: os.environ[name] for name in ("PATH", "PBS_TOOLS", "USER", "LOGNAME") if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **kept, "HOME": str(folder), **more}


def remove(folder: Path) -> None:
    """Remove a folder, whatever its modes are."""
    if folder.exists():
        subprocess.run(["chmod", "-R", "u+rwX", folder], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_that(check: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS) -> Any:
    """The first true value of `check`.

    Raises:
        Broken: there is none within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not (value := check()):
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {patience:g} s")
        time.sleep(0.05)
    return value


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`."""
    below: dict[int, list[int]] = {}
    for each in _pids():
        with contextlib.suppress(OSError):
            below.setdefault(_stat(each)[1], []).append(each)
    found, todo = [], [pid]
    while todo:
        todo += (new := below.get(todo.pop(), []))
        found += new
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[int]:
    """The fields of /proc/PID/stat from the state on; zeros for a process that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0] * 50
    return [0, *map(int, fields[1:])]


def _mentioning(folder: Path) -> list[int]:
    """Other processes that name the folder: those that lost their parent."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if pid != os.getpid() and os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _kill(pids: Sequence[int] | set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _short(argv: Words) -> str:
    return " ".join(Path(os.fspath(word)).name for word in argv[:3])[:100] if argv else sys.argv[0]


def _make_group() -> Path | None:
    """A control group of our own (version 2; counting needs no controller), where we may make one."""
    with contextlib.suppress(OSError, StopIteration):
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        top = next(Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] == "cgroup2")
        own = next(
            line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")
        )
        group = top / own.strip("/") / f"pbs-bench-{os.getpid()}"
        group.mkdir()
        try:
            probe = subprocess.Popen(["sleep", "10"])
            try:
                (group / "cgroup.procs").write_text(str(probe.pid))
            finally:
                probe.kill()
                probe.wait()
            if "user_usec" in (group / "cpu.stat").read_text():
                return group
        except OSError:
            pass
        group.rmdir()
    return None

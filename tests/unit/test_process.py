"""Children: on every event loop that a worker may run on they get what they need, tell how they ended, and never stay."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pbs.bounds import Bounds
from pbs.errors import ToolMissing, ToolTimeout
from pbs.files import FileLock
from pbs.process import SECRET, child, run
from pbs.worker import _fast_loop

# The fast loop is an extra: with it and without it a worker does the same.
LOOPS = [None, *([_fast_loop()] if importlib.util.find_spec("uvloop") else [])]
# A program with a child of its own; both outlive a polite request.
STUBBORN = "trap '' TERM; sleep 1000 & echo $! $$; wait; wait; wait"


@pytest.fixture(params=LOOPS, ids=str)
def play(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    """Runs a coroutine on one of the loops."""

    def played(act: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            return await act

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(whole())

    return played


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all of these end within some seconds."""
    deadline = time.monotonic() + 20
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_child_tells_how_it_ended(play: Callable[..., Any]) -> None:
    """Exit code, output and the tail of its complaints come back; its input and environment are what was given."""
    script = 'cat; echo "$NAME"; echo complaint >&2; exit 3'
    finished = play(
        run(["/bin/sh", "-c", script], stdin=b"in\n", env={"NAME": "value", "PATH": "/bin:/usr/bin"})
    )
    assert (3, b"in\nvalue\n", "complaint") == (finished.code, finished.stdout, finished.stderr)
    assert play(run(["/bin/sh", "-c", "kill -9 $$"])).code == -9
    with pytest.raises(ToolMissing):
        play(run(["/nonexistent/program"]))


def test_a_secret_goes_through_a_pipe(play: Callable[..., Any]) -> None:
    """The password is in the file that the argument names, and nowhere else."""
    script = f"cat {SECRET}; tr '\\0' '\\n' < /proc/$$/cmdline; tr '\\0' '\\n' < /proc/$$/environ"
    said = play(run(["/bin/sh", "-c", script], secret="hidden")).stdout
    assert said.startswith(b"hidden\n/bin/sh")
    assert said.count(b"hidden") == 1


def test_a_lock_ends_with_the_last_child_that_inherited_it(play: Callable[..., Any], tmp_path: Path) -> None:
    """Nobody starts over while a child of a dead or careless holder still works."""
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert lock.acquire()

    async def act() -> tuple[bool, bool]:
        async with child(["sleep", "1000"], inherit=(lock.descriptor,)):
            lock.release()
            during = other.acquire()
        return during, other.acquire()

    assert play(act()) == (False, True)
    other.release()


def test_a_deadline_ends_the_whole_group(play: Callable[..., Any], tmp_path: Path) -> None:
    """A program that ignores TERM, and what it started, are gone when ToolTimeout is raised."""
    pids: list[int] = []
    with pytest.raises(ToolTimeout, match=r"sh did not finish within 0\.5 s"):
        play(
            run(
                ["/bin/sh", "-c", STUBBORN],
                timeout=0.5,
                on_line=lambda line: pids.extend(map(int, line.split())),
            )
        )
    assert len(pids) == 2
    assert gone(pids)


def test_cancelling_ends_the_whole_group(play: Callable[..., Any]) -> None:
    """Whoever is cancelled leaves no program behind, and the cancellation goes on."""
    pids: list[int] = []

    async def act() -> None:
        told = asyncio.Event()

        def hear(line: bytes) -> None:
            pids.extend(map(int, line.split()))
            told.set()

        task = asyncio.create_task(run(["/bin/sh", "-c", STUBBORN], on_line=hear))
        await told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(act())
    assert gone(pids)


def test_a_fault_in_reading_is_that_fault(play: Callable[..., Any]) -> None:
    """What a reader of the lines raises comes out as it is, in no group, and the program is ended."""
    pids: list[int] = []

    def hear(line: bytes) -> None:
        pids.extend(map(int, line.split()))
        raise KeyError("a fault of ours")

    with pytest.raises(KeyError, match="a fault of ours"):
        play(run(["/bin/sh", "-c", STUBBORN], on_line=hear))
    assert gone(pids)


@pytest.mark.parametrize("loop", range(len(LOOPS)))
def test_a_child_dies_with_a_killed_parent(loop: int) -> None:
    """kill -9 of the parent ends its child at once, without anybody's help."""
    script = (
        "import asyncio, sys\nfrom pbs.process import child\nfrom pbs.worker import _fast_loop\n"
        "async def act():\n    async with child(['sleep', '1000']) as made:\n"
        "        print(made.pid, flush=True)\n        await asyncio.Event().wait()\n"
        f"with asyncio.Runner(loop_factory={'_fast_loop()' if loop else None}) as runner:\n    runner.run(act())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
    assert gone([pid])


def test_what_is_bounded_in_memory_goes_first(play: Callable[[Awaitable[Any]], Any]) -> None:
    """T14: where memory runs out, the kernel ends what reads a source's bytes before it ends anything else of ours."""
    for bounds, score in (
        (Bounds(memory=2 << 30), b"900"),
        (Bounds(), Path("/proc/self/oom_score_adj").read_bytes().strip()),
    ):
        done = play(run(["cat", "/proc/self/oom_score_adj"], bounds=bounds))
        assert score == done.stdout.strip()

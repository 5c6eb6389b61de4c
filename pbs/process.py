"""Run a child program: argument list, deadline, cancellation, its whole process group. The only door to processes.

Never a shell, never a secret in an argument or in the environment: `secret` reaches the child through a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pbs.bounds import UNBOUNDED, Bounds, child_setup
from pbs.errors import ToolMissing, ToolTimeout, TooMuch

SECRET = "{secret}"  # noqa: S105 - the place in an argument list where /dev/fd/N is put
STDERR_LINES = 200
LINE_LIMIT = 1 << 20
KILL_AFTER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended: its exit code (negative: the signal), what it printed, the tail of its complaints."""

    code: int
    stdout: bytes
    stderr: str


async def run(
    argv: Sequence[str | bytes | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    secret: str | None = None,
    inherit: Sequence[int] = (),
    timeout: float | None = None,  # noqa: ASYNC109 - the deadline belongs to the child, not to the caller's scope
    stdout: int | None = None,
    on_line: Callable[[bytes], Awaitable[None] | None] | None = None,
    on_complaint: Callable[[bytes], None] | None = None,
    bounds: Bounds = UNBOUNDED,
    most: int | None = None,
) -> Finished:
    """Run a program to its end and collect what it prints.

    Args:
        argv: The program and its arguments; an argument that contains `{secret}` gets the path of the pipe.
        cwd: Its current folder.
        env: Its whole environment; None = this process'.
        stdin: Bytes for its standard input; None = nothing.
        secret: A password, handed over through a pipe that only this child has.
        inherit: Descriptors that the child keeps open (locks).
        timeout: Seconds until its group is ended; None = no deadline.
        stdout: A descriptor that receives its output instead of `Finished.stdout`.
        on_line: Called for each line of output, which is then not collected.
        on_complaint: Called for each line of standard error as well.
        bounds: What it may use.
        most: Bytes of output that are collected; more is an error. None = no limit.

    Raises:
        ToolMissing: there is no such program.
        ToolTimeout: the deadline passed.
        TooMuch: it printed more than `most`.

    Cancelling ends the child's whole process group (TERM, two seconds later KILL) before it is passed on.
    """
    process = await _spawn(
        argv, cwd, env, secret, inherit, child_setup(os.getpid(), bounds=bounds),
        asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        asyncio.subprocess.PIPE if stdout is None else stdout,
    )  # fmt: skip
    return await _watch(process, str(argv[0]), stdin, timeout, on_line, on_complaint, most)


async def _spawn(
    argv: Sequence[str | bytes | os.PathLike[str]],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    secret: str | None,
    inherit: Sequence[int],
    setup: Callable[[], None],
    stdin: int,
    stdout: int,
) -> asyncio.subprocess.Process:
    pipe = _secret_pipe(secret) if secret is not None else -1
    command = [_with_secret(part, pipe) for part in argv]
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=stdin,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=[*inherit, *([pipe] if pipe >= 0 else [])],
            start_new_session=True,
            limit=LINE_LIMIT,
            preexec_fn=setup,
        )
    except FileNotFoundError as error:
        raise ToolMissing(
            f"the program {command[0]!s} is missing", "install it, or see `pbs doctor`"
        ) from error
    finally:
        if pipe >= 0:
            os.close(pipe)


async def _watch(
    process: asyncio.subprocess.Process,
    name: str,
    stdin: bytes | None,
    timeout: float | None,  # noqa: ASYNC109
    on_line: Callable[[bytes], Awaitable[None] | None] | None,
    on_complaint: Callable[[bytes], None] | None,
    most: int | None,
) -> Finished:
    complaints: deque[str] = deque(maxlen=STDERR_LINES)
    collected: list[bytes] = []
    try:
        async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
            group.create_task(_feed(process.stdin, stdin), name=f"{name} stdin")
            group.create_task(_collect(process.stdout, collected, on_line, most), name=f"{name} stdout")
            group.create_task(_complain(process.stderr, complaints, on_complaint), name=f"{name} stderr")
            group.create_task(process.wait(), name=f"{name} wait")
    except TimeoutError:
        raise ToolTimeout(
            f"{Path(name).name} did not finish within {timeout:g} s",
            "look at the load of this machine and its disk, then try again",
        ) from None
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from problems
    finally:
        await _end(process)
    assert process.returncode is not None  # noqa: S101 - wait() has returned
    return Finished(process.returncode, b"".join(collected), "\n".join(complaints))


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole group if it still lives: first politely, then for good; let go of its pipes."""
    try:
        await _end_group(process)
    finally:
        # Somebody who escaped its group may hold the other ends open: they are nobody's business any more.
        process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 - asyncio offers no other way


async def _end_group(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        # Whom it left behind while its output was still open. Nobody, and its number is free: rarely somebody else's.
        if process.stdout is not None and not process.stdout.at_eof():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return
    for number, grace in ((signal.SIGTERM, KILL_AFTER_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), grace)
            return


async def _feed(stream: asyncio.StreamWriter | None, data: bytes | None) -> None:
    if stream is None or data is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
    stream.close()


async def _collect(
    stream: asyncio.StreamReader | None,
    into: list[bytes],
    on_line: Callable[[bytes], Awaitable[None] | None] | None,
    most: int | None,
) -> None:
    if stream is None:
        return
    if on_line is None:
        total = 0
        while chunk := await stream.read(1 << 16):
            total += len(chunk)
            if most is not None and total > most:
                raise TooMuch(
                    f"a program printed more than {most} bytes where little was expected",
                    "a hostile snapshot can cause this; see the log",
                )
            into.append(chunk)
        return
    async for line in lines(stream):
        result = on_line(line)
        if result is not None:
            await result


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Each line without its end; a line over the limit is passed over, never kept in memory whole."""
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                yield end.partial
            return
        except asyncio.LimitOverrunError as overrun:
            await stream.readexactly(overrun.consumed)
            continue
        yield line[:-1]


async def _complain(
    stream: asyncio.StreamReader | None,
    into: deque[str],
    on_complaint: Callable[[bytes], None] | None = None,
) -> None:
    if stream is None:
        return
    async for line in lines(stream):
        into.append(line[:2000].decode("utf-8", "replace"))
        if on_complaint is not None:
            on_complaint(line)


class Child:
    """A program that runs beside us: read its lines as they come, wait for its end, or end it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._complaints: deque[str] = deque(maxlen=STDERR_LINES)
        self._reader = asyncio.create_task(_complain(process.stderr, self._complaints), name="child stderr")
        self.pid = process.pid

    async def lines(self) -> AsyncIterator[bytes]:
        """Each line that it prints, until it closes its output."""
        if self._process.stdout is not None:
            async for line in lines(self._process.stdout):
                yield line

    async def wait(self) -> Finished:
        """Its end; what it printed went through `lines`. Cancelling leaves it running."""
        code = await self._process.wait()
        await asyncio.wait([self._reader])
        return Finished(code, b"", "\n".join(self._complaints))

    async def stop(self) -> Finished:
        """End its whole group, politely, then for good, and wait for that."""
        await _end(self._process)
        return await self.wait()


@contextlib.asynccontextmanager
async def child(
    argv: Sequence[str | bytes | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    secret: str | None = None,
    inherit: Sequence[int] = (),
    bounds: Bounds = UNBOUNDED,
    death_signal: int = signal.SIGKILL,
) -> AsyncIterator[Child]:
    """Start a program and end its whole process group when the block is left.

    Everything but `death_signal` (what the kernel sends it when this process is killed) is as for `run`.

    Raises:
        ToolMissing: there is no such program.
    """
    setup = child_setup(os.getpid(), death_signal, bounds)
    process = await _spawn(argv, cwd, env, secret, inherit, setup, asyncio.subprocess.DEVNULL,
                           asyncio.subprocess.PIPE)  # fmt: skip
    running = Child(process)
    try:
        yield running
    finally:
        await asyncio.shield(running.stop())


def _secret_pipe(secret: str) -> int:
    """The reading end of a pipe that holds the secret and nothing more (it fits the pipe's buffer)."""
    reading, writing = os.pipe()
    try:
        os.write(writing, secret.encode() + b"\n")
    finally:
        os.close(writing)
    return reading


def _with_secret(part: str | bytes | os.PathLike[str], pipe: int) -> str | bytes | os.PathLike[str]:
    return part.replace(SECRET, f"/dev/fd/{pipe}") if isinstance(part, str) else part


def find_tool(*names: str) -> Path | None:
    """The first of these programs: in $PBS_TOOLS, where the installation says, in PATH, in the system's folders."""
    folders = [os.environ.get("PBS_TOOLS", "")]
    with contextlib.suppress(OSError):
        folders.append((Path(sys.prefix) / "pbs-tools").read_text().strip())
    folders += [*os.environ.get("PATH", "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin",
                "/usr/local/bin", "/usr/bin", "/bin"]  # fmt: skip
    for folder in folders:
        for name in names:
            candidate = Path(folder, name) if folder else None
            # A folder of PATH that we may not enter holds nothing for us.
            with contextlib.suppress(PermissionError):
                if candidate and candidate.is_file() and os.access(candidate, os.X_OK):
                    return candidate
    return None


def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    inherit: Sequence[int] = (),
    at_parent_death: int = signal.SIGTERM,
    env: Mapping[str, str] | None = None,
    output: int | None = None,
    umask: int = -1,
) -> subprocess.Popen[bytes]:
    """Start a long-lived program in a session of its own; it gets a signal when this thread ends.

    Args:
        argv: The program and its arguments.
        inherit: Descriptors that it keeps open (locks).
        at_parent_death: The signal that it gets when we die.
        env: Its whole environment; None = this process'.
        output: A descriptor for what it prints and complains; None = ours.
        umask: What files that it makes are closed to; -1 = as ours.

    Raises:
        ToolMissing: there is no such program.
    """
    try:
        return subprocess.Popen(
            [*argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(env) if env is not None else None,
            pass_fds=tuple(inherit),
            start_new_session=True,
            umask=umask,
            preexec_fn=child_setup(os.getpid(), at_parent_death),  # noqa: PLW1509 - no thread runs yet
        )
    except FileNotFoundError as error:
        raise ToolMissing(f"the program {argv[0]!s} is missing", "install it, or see `pbs doctor`") from error

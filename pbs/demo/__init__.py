"""`pbs demo`: the whole main job on this machine, with a real sshd as the source, and proof of what it promises.

It does only what an operator can do: it runs the executables, never the functions behind them. Whatever happens, and
whoever stops it, nothing is left behind unless `--keep` was given.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pbs.clock import SystemClock
from pbs.demo import place
from pbs.demo.server import Server
from pbs.demo.source import Source
from pbs.demo.story import Stage, tell
from pbs.demo.summary import Addresses, Summary, Tail
from pbs.errors import PbsError
from pbs.text import clean_line

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAIL_LINES = 8
UMOUNT_SECONDS = 30.0

__all__ = ["run_demo"]


def run_demo(keep: bool, as_json: bool) -> int:
    """Run the demo and print what it found; returns the exit code: 0 only where all held.

    Raises:
        PbsError: it cannot begin; nothing was made.
    """
    place.check_tools()
    summary = asyncio.run(_Demo(keep=keep).run())
    print(json.dumps(summary.document(), indent=2) if as_json else summary.text())
    return summary.exit_code


class _Demo:
    """One run of the demo, from its folder to the last look for leftovers."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._clock = SystemClock()
        self._begun = self._clock.monotonic()
        self._summary = Summary()

    async def run(self) -> Summary:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine of asyncio.run
        self._on_signal(task.cancel)
        folder = place.make()
        (folder / "source").mkdir(mode=0o700)
        source = Source(folder / "source", self._clock, keep=self._keep)
        server = Server(folder / "home")
        try:
            await tell(Stage(folder, server, source, self._clock, self._summary, self._say))
        except asyncio.CancelledError:
            task.uncancel()
            self._summary.interrupted = True
        finally:
            # From here on nobody stops us: what was made is taken away.
            self._on_signal(lambda: self._say("cleaning up, a moment"))
            if not self._summary.ok and not self._summary.interrupted:
                self._summary.logs = tails(folder)
            await self._leave(folder, server, source)
        self._summary.seconds = self._clock.monotonic() - self._begun
        return self._summary

    def _on_signal(self, act: Callable[[], object]) -> None:
        for number in STOPS:
            asyncio.get_running_loop().add_signal_handler(number, act)

    def _say(self, text: str) -> None:
        # Whoever read it may have left; that is no reason to leave things behind.
        with suppress(OSError):
            print(f"{self._clock.monotonic() - self._begun:5.1f} s  {text}", file=sys.stderr, flush=True)

    async def _leave(self, folder: Path, server: Server, source: Source) -> None:
        if self._keep and not self._summary.interrupted and source.sshd is not None:
            self._summary.kept = _addresses(folder, server, source)
            return
        self._say("stopping everything, and looking for leftovers")
        early = self._summary.interrupted
        problems = await _end(server, source, self._clock)
        if early:
            problems.clear()  # a service that was just starting cannot be stopped by its verb
        problems += await place.clear(folder, self._clock, early=early)
        self._summary.add(
            "nothing-left",
            not problems,
            "; ".join(problems) or "no process, no mount and no file of it remains",
        )


def _addresses(folder: Path, server: Server, source: Source) -> Addresses:
    pid = source.sshd.pid if source.sshd else 0
    stop = (f"pbs --home {server.home} stop", f"kill {pid}", f"rm -rf {folder}")
    return Addresses(str(server.home), server.url, f"{server.url}/feeds/demo.xml", source.port, pid, stop)


async def _end(server: Server, source: Source, clock: SystemClock) -> list[str]:
    """Stop everything as an operator would; returns what did not go well."""
    problems = []
    if place.mounts_below(server.home.parent):
        with suppress(PbsError):
            await server.ask("umount", "demo", timeout=UMOUNT_SECONDS)
    if (server.home / "var/run/supervisor.sock").exists():
        try:
            await server.ask("stop")
        except PbsError as error:
            problems.append(error.message)
    if source.sshd is not None:
        sessions = place.descendants(source.sshd.pid)
        source.sshd.terminate()
        source.sshd.wait()
        left = await place.gone(sessions, clock)
        place.send(left, signal.SIGKILL)
        await place.gone(left, clock)
    return problems


def tails(folder: Path) -> list[Tail]:
    """The last lines of every log, for when something failed."""
    logs = [
        *sorted((folder / "home/var/log").rglob("*.log")),
        *sorted((folder / "home/var/log").rglob("*.jsonl")),
        folder / "source/sshd.log",
    ]
    found = []
    for path in logs:
        with suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            if lines:
                shown = tuple(clean_line(line, 300) for line in lines)
                found.append(Tail(str(path.relative_to(folder)), shown))
    return found

"""A worker: claims queued runs and carries them out, several at a time. It may be killed at any moment.

It decides nothing about when a run happens; it learns of work from the ledger alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import signal
import sys

from pbs.assemble import Tools
from pbs.carry import Carrier
from pbs.clock import SystemClock
from pbs.config import Config, load
from pbs.endpoint import Supervisor
from pbs.errors import ConfigError, PbsError
from pbs.files import FileLock
from pbs.home import SUPERVISOR_PID, Home
from pbs.ledger import open_ledger
from pbs.model import Run
from pbs.process import die_with_parent
from pbs.wake import Bell, ring

POLL_SECONDS = 5.0
IDLE_SECONDS = 60.0
# Less than supervisord gives a worker (stopwaitsecs).
ENDING_SECONDS = 27.0
log = logging.getLogger("pbs.worker")


class Worker:
    """One worker process. Worker 0 stays; the others leave after a minute without work."""

    def __init__(self, home: Home, number: int) -> None:
        self._home = home
        self._number = number
        self._lease = f"{number}-{secrets.token_hex(8)}"
        clock = SystemClock()
        supervisor = Supervisor(home.supervisor_socket, home.etc / "supervisord.d")
        self._tools = Tools(home, open_ledger(home.ledger, lasting=True), supervisor, clock)
        self._carrier = Carrier(self._tools, self._lease)
        self._config: Config = load(home)
        self._live: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Carry out runs until told to stop; then every live run ends as interrupted, and cleanly."""
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        bell = Bell(self._home.sockets / "wake", f"worker-{self._number}")
        stop = asyncio.create_task(stopping.wait(), name="stop")
        try:
            await self._work(bell, stop)
        finally:
            stop.cancel()
            await self._end_all()
            bell.close()
            self._tools.ledger.close()

    async def _end_all(self) -> None:
        """Have every run end as interrupted; who cannot in time is ended by the kernel with us."""
        self._carrier.stop()
        if self._live:
            _, late = await asyncio.wait([*self._live.values()], timeout=ENDING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, bell: Bell, stop: asyncio.Task[bool]) -> None:
        idle_since = self._tools.clock.monotonic()
        while not stop.done():
            try:
                self._carrier.heed()
                self._claim(bell)
            except PbsError as error:
                # A full disk or a locked ledger ends no run that goes on, and no worker.
                log.warning("no run can be claimed: %s", error.message)
            if self._live:
                idle_since = self._tools.clock.monotonic()
            elif self._number and self._tools.clock.monotonic() - idle_since > IDLE_SECONDS:
                return
            waiting = asyncio.create_task(bell.wait(POLL_SECONDS), name="bell")
            await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    def _claim(self, bell: Bell) -> None:
        """Take on as many queued runs as there is room for."""
        waiting = self._tools.ledger.queue.waiting()
        if not waiting:
            return
        try:
            self._config = load(self._home)
        except ConfigError as error:
            log.warning("the configuration is wrong, the last good one is used: %s", error.message)
        server = self._config.server
        room = math.ceil(server.max_runs / server.workers) - len(self._live)
        # Workers are stopped one after the other: what one lets go of is not for the next, but for the next start.
        if room <= 0 or self._tools.supervisor.stopping():
            return
        for run in waiting:
            if room <= 0:
                return
            if run.source not in self._live and self._take(run, bell, server.max_runs):
                room -= 1

    def _take(self, run: Run, bell: Bell, at_most: int) -> bool:
        lock = FileLock(self._home.locks / f"{run.source}.run.lock")
        if not lock.acquire():
            return False
        now = self._tools.clock.now()
        try:
            # The lock is ours: whoever was called running for this source is dead.
            if self._tools.ledger.queue.interrupt(run.source, now):
                ring(self._home.sockets / "wake")
            claimed = self._tools.ledger.queue.claim(run, self._lease, now, at_most)
        except PbsError:
            lock.release()
            raise
        if claimed is None:
            lock.release()
            return False
        self._live[run.source] = asyncio.create_task(self._carry_out(claimed, lock, bell), name=run.id)
        return True

    async def _carry_out(self, run: Run, lock: FileLock, bell: Bell) -> None:
        """One run; whatever came of it, its source is free again afterwards."""
        try:
            await self._carrier.carry_out(run, self._config.sources.get(run.source), lock)
        finally:
            lock.release()
            del self._live[run.source]
            bell.ring_myself()
            ring(self._home.sockets / "wake")


def main(home: Home, number: int) -> None:
    """The worker process."""
    die_with_parent(signal.SIGKILL, home.sockets / SUPERVISOR_PID)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            runner.run(Worker(home, number).serve())
    except PbsError as error:
        sys.exit(f"worker {number}: {error.message}")


def _fast_loop() -> type[asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed: a fifth less processor time per byte in the tunnel."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.Loop

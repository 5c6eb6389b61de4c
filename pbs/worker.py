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
from dataclasses import replace

from pbs.assemble import Tools, clear_scratch, endpoint_of, work_of
from pbs.clock import SystemClock
from pbs.config import Config, load
from pbs.endpoint import Supervisor
from pbs.errors import ConfigError, LeaseLost, LedgerError, PbsError
from pbs.files import FileLock
from pbs.home import SUPERVISOR_PID, Home
from pbs.ledger import open_ledger
from pbs.model import Ending, Kind, Outcome, Run, Source
from pbs.process import die_with_parent
from pbs.runs.lifecycle import conduct, imports_first
from pbs.wake import Bell, ring

POLL_SECONDS = 5.0
IDLE_SECONDS = 60.0
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
            for task in self._live.values():
                task.cancel()
            await asyncio.gather(*self._live.values(), return_exceptions=True)
            bell.close()
            self._tools.ledger.close()

    async def _work(self, bell: Bell, stop: asyncio.Task[bool]) -> None:
        idle_since = self._tools.clock.monotonic()
        while not stop.done():
            try:
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
        """One run from its claim to its outcome; nothing that goes wrong here may end the worker."""
        in_use = FileLock(self._home.locks / f"{run.source}.repository.lock")
        try:
            await self._end(run, await self._outcome(run, lock, in_use))
        except LeaseLost as error:
            log.warning("%s", error.message)
        except Exception:
            # Whoever next obtains the run lock ends the run as interrupted.
            log.exception("the run %s could not be ended", run.id)
        finally:
            in_use.release()
            lock.release()
            del self._live[run.source]
            bell.ring_myself()
            ring(self._home.sockets / "wake")

    async def _outcome(self, run: Run, lock: FileLock, in_use: FileLock) -> Ending:
        """What is wrong before the run can begin, or how it went."""
        source = self._config.sources.get(run.source)
        if source is None:
            return Ending(
                Outcome.FAILED, f"the source {run.source} is not configured", "see `pbs source list`"
            )
        try:
            if not in_use.acquire(shared=True):
                return Ending(
                    Outcome.FAILED, f"the repository of {run.source} is being maintained", "try again"
                )
            await asyncio.to_thread(clear_scratch, self._home, source.name)
            ending = await self._run(source, run, (lock.descriptor, in_use.descriptor))
        except PbsError as error:
            ending = Ending(error.outcome, error.message, error.hint)
        except Exception as error:
            log.exception("the run %s met a fault", run.id)
            ending = Ending(
                Outcome.FAILED,
                f"a fault of pbs itself: {type(error).__name__}: {error}",
                "report it, with var/log of that time",
            )
        try:
            # Before the run's end is told: then nothing of it is left to do.
            await self._rest(source)
        except asyncio.CancelledError:
            # A stop at this moment must not hide how the run went; the next start sees to the endpoint.
            log.info("stopped while the endpoint of %s was put to rest", source.name)
        return ending

    async def _run(self, source: Source, run: Run, inherit: tuple[int, ...]) -> Ending:
        work = work_of(self._tools, source, run, inherit)
        if imports_first(work):
            before = await self._import(source, run, inherit)
            if before.outcome is Outcome.INTERRUPTED:
                return replace(before, message="the service was stopped during the import before this run")
            begun = self._tools.ledger.queue.begin_anew(run, self._lease, self._tools.clock.now())
            work = work_of(self._tools, source, begun, inherit)
        return await conduct(work)

    async def _import(self, source: Source, run: Run, inherit: tuple[int, ...]) -> Ending:
        """The import is a run of its own under the pull's lock; if it fails, the pull goes on all the same."""
        queue = self._tools.ledger.queue
        before = queue.begin_before(run, Kind.MIGRATE, self._lease, self._tools.clock.now())
        try:
            ending = await conduct(work_of(self._tools, source, before, inherit))
        except PbsError as error:
            ending = Ending(error.outcome, error.message, error.hint)
        log.info("%s comes before %s", before.id, run.id)
        await self._end(before, ending)
        return ending

    async def _rest(self, source: Source) -> None:
        try:
            await endpoint_of(self._tools, source).rest()
        except PbsError as error:
            log.warning("the endpoint of %s: %s", source.name, error.message)

    async def _end(self, run: Run, ending: Ending) -> None:
        """Write down how a run ended; as long as the ledger cannot be written, the run is ours and goes on."""
        while True:
            try:
                self._tools.ledger.queue.end(run, self._lease, ending, self._tools.clock.now())
            except LeaseLost:
                raise
            except LedgerError as error:
                log.warning("the end of %s cannot be written yet: %s", run.id, error.message)
                await self._tools.clock.sleep(POLL_SECONDS)
            else:
                log.info("%s: %s: %s", run.id, ending.outcome, ending.message)
                return


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

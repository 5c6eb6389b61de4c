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
from datetime import datetime
from functools import partial
from typing import TypedDict

from pbs.assemble import Tools
from pbs.bounds import die_with_parent
from pbs.carry import Carrier
from pbs.clock import SystemClock
from pbs.config import Config, in_force
from pbs.endpoint import Supervisor
from pbs.errors import PbsError
from pbs.files import FileLock
from pbs.home import SUPERVISOR_PID, Home
from pbs.ledger import has_room, missed_run, open_ledger
from pbs.logs import about, log_to
from pbs.model import Cause, Run
from pbs.schedule import HINT_MISSED, Timetable, overtaken, retry_of_dead
from pbs.schedule.decide import BUSY, CROWDED
from pbs.stopping import draining
from pbs.wake import Bell, ring

POLL_SECONDS = 5.0
IDLE_SECONDS = 60.0
# Less than supervisord gives a worker (stopwaitsecs).
ENDING_SECONDS = 27.0
log = logging.getLogger("pbs.worker")


class Limits(TypedDict):
    """How many runs may go on at a time: in all, on one machine, and which machine each source is on."""

    at_most: int
    per_host: int
    hosts: dict[str, str]


class Worker:
    """One worker process. It leaves after a minute without work; the controller calls the first one when a run waits."""

    def __init__(self, home: Home, number: int) -> None:
        self._home = home
        self._number = number
        self._lease = f"{number}-{secrets.token_hex(8)}"
        clock = SystemClock()
        supervisor = Supervisor(home.supervisor_socket, home.etc / "supervisord.d")
        self._tools = Tools(home, open_ledger(home.ledger, lasting=True), supervisor, clock)
        self._carrier = Carrier(self._tools, self._lease)
        self._config: Config = in_force(home)
        self._live: dict[str, asyncio.Task[None]] = {}

    @property
    def logs_json(self) -> bool:
        """Whether its log is one of JSON objects."""
        return self._config.server.log_format == "json"

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
            elif self._tools.clock.monotonic() - idle_since > IDLE_SECONDS:
                return
            waiting = asyncio.create_task(bell.wait(POLL_SECONDS), name="bell")
            await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    def _claim(self, bell: Bell) -> None:
        """Take on as many queued runs as there is room for."""
        queue, now = self._tools.ledger.queue, self._tools.clock.now()
        waiting = queue.waiting(now)
        if not waiting:
            return
        self._config = in_force(self._home)
        server = self._config.server
        room = math.ceil(server.max_runs / server.workers) - len(self._live)
        # Workers are stopped one after the other: what one lets go of is not for the next, but for the next start.
        if room <= 0 or draining(self._home) or self._tools.supervisor.stopping():
            return
        busy, limits = {run.source for run in queue.running()}, self._limits()
        for run in waiting:
            if room <= 0:
                return
            # Looked at first without a lock and a transaction: a thousand may wait for one to end. `claim` looks again.
            if (
                run.source not in self._live
                and has_room(run.source, busy - {run.source}, **limits)
                and self._may_begin(run, now)
                and self._take(run, bell, limits)
            ):
                busy.add(run.source)
                room -= 1

    def _limits(self) -> Limits:
        server = self._config.server
        return {
            "at_most": server.max_runs,
            "per_host": server.max_runs_per_host,
            "hosts": {name: source.address.host for name, source in self._config.sources.items()},
        }

    def _may_begin(self, run: Run, now: datetime) -> bool:
        """Whether the window of the source is open, or a person asked; else it waits until then."""
        source = self._config.sources.get(run.source)
        if source is None or run.cause is Cause.ASKED:
            return True
        opening = Timetable.of(source).opens(now)
        if opening > now:
            self._tools.ledger.queue.put_off(run, opening)
        return opening == now

    def _overtaken(self, run: Run, now: datetime) -> tuple[Run, Run | None]:
        """The run as it begins, for the newest slot that passed while it waited, and the record of the others."""
        source = self._config.sources.get(run.source)
        if source is None or run.due is None or run.retry_of is not None:
            return run, None
        slot, missed = overtaken(Timetable.of(source), run.due, now, self._obstacle(run.source, run.due))
        if missed is None:
            return replace(run, due=slot), None
        told = missed_run(run.source, missed.first, missed.message, HINT_MISSED, now)
        return replace(run, due=slot), told

    def _obstacle(self, name: str, due: datetime) -> str:
        """Why a run of this source did not begin when it was due."""
        before = self._tools.ledger.runs(name, limit=3, ended=True)
        went_on = any(run.started and run.ended and run.started <= due <= run.ended for run in before)
        return BUSY if went_on else CROWDED

    def _take(self, run: Run, bell: Bell, limits: Limits) -> bool:
        lock = FileLock(self._home.locks / f"{run.source}.run.lock")
        if not lock.acquire():
            return False
        now = self._tools.clock.now()
        try:
            # The lock is ours: whoever was called running for this source is dead.
            retries = self._config.retries(run.source)
            if self._tools.ledger.queue.interrupt(
                run.source, now, partial(retry_of_dead, retries=retries, now=now)
            ):
                ring(self._home.sockets / "wake")
            begun, missed = self._overtaken(run, now)
            claimed = self._tools.ledger.queue.claim(begun, self._lease, now, missed=missed, **limits)
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
            with about(run.source, run.id):
                await self._carrier.carry_out(run, self._config.sources.get(run.source), lock)
        finally:
            lock.release()
            del self._live[run.source]
            bell.ring_myself()
            ring(self._home.sockets / "wake")


def main(home: Home, number: int) -> None:
    """The worker process."""
    die_with_parent(signal.SIGKILL, home.sockets / SUPERVISOR_PID)
    log_to()
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            worker = Worker(home, number)
            log_to(as_json=worker.logs_json)
            runner.run(worker.serve())
    except PbsError as error:
        sys.exit(f"worker {number}: {error.message}")


def _fast_loop() -> type[asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed: a fifth less processor time per byte in the tunnel."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.Loop

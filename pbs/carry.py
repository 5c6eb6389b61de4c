"""One run from its claim to its outcome: what must hold before it begins, the import before it, its end in the ledger.

It claims nothing and decides nothing about when a run happens; whoever calls holds the run lock of the source.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace

from pbs.assemble import Tools, clear_scratch, endpoint_of, work_of
from pbs.errors import LeaseLost, LedgerError, PbsError
from pbs.files import FileLock
from pbs.model import Ending, Kind, Outcome, Run, Source
from pbs.provision import provision
from pbs.rotation import recover
from pbs.runs.halt import Halt, cancelled, stopped
from pbs.runs.lifecycle import conduct, imports_first
from pbs.schedule import retry_of, told
from pbs.threads import in_thread

LEDGER_SECONDS = 5.0
log = logging.getLogger("pbs.worker")


@dataclass(slots=True)
class _Live:
    """A run that goes on, and the one that is carried out for it just now: an import that comes first."""

    run: Run
    now: Run
    halt: Halt = field(default_factory=Halt)
    task: asyncio.Task[Ending] | None = None

    def end(self, run: str, ending: Ending) -> None:
        """End it before its time, once; what has come to its end keeps its outcome."""
        if self.task is not None and not self.task.done() and self.halt.because(run, ending):
            self.task.cancel()


class Carrier:
    """Carries out what one worker claimed; every write of a run carries the worker's lease."""

    def __init__(self, tools: Tools, lease: str) -> None:
        self._tools = tools
        self._lease = lease
        self._live: dict[str, _Live] = {}
        self._stopping = False

    async def carry_out(self, run: Run, source: Source | None, lock: FileLock) -> None:
        """One run from its claim to its outcome; nothing that goes wrong here may end the worker."""
        in_use = FileLock(self._tools.home.locks / f"{run.source}.repository.lock")
        live = self._live[run.source] = _Live(run, run)
        live.task = asyncio.create_task(self._outcome(live, source, lock, in_use), name=f"{run.id} work")
        try:
            # Only the work is ever ended before its time; what follows must be done however that went.
            await asyncio.wait({live.task})
            ending = live.halt.read() if live.task.cancelled() else live.task.result()
            if source is not None:
                # Before the run's end is told: then nothing of it is left to do.
                await self._rest(source)
            await self._end(run, ending, source.retries if source is not None else 0)
        except LeaseLost as error:
            log.warning("%s", error.message)
        except Exception:
            # Whoever next obtains the run lock ends the run as interrupted.
            log.exception("the run %s could not be ended", run.id)
        finally:
            live.task.cancel()
            del self._live[run.source]
            in_use.release()

    def heed(self) -> None:
        """End the runs that somebody asked to stop, as cancelled."""
        if not self._live:
            return
        for run_id, by in self._tools.ledger.cancelling.asked(self._lease).items():
            for live in self._live.values():
                if run_id in (live.run.id, live.now.id):
                    live.end(run_id, cancelled(by))

    def stop(self) -> None:
        """End every run, as interrupted."""
        self._stopping = True
        for live in self._live.values():
            live.end(live.run.id, stopped())

    async def _outcome(self, live: _Live, source: Source | None, lock: FileLock, in_use: FileLock) -> Ending:
        """What is wrong before the run can begin, or how it went."""
        run = live.run
        if source is None:
            return Ending(
                Outcome.FAILED, f"the source {run.source} is not configured", "see `pbs source list`"
            )
        try:
            if not in_use.acquire(shared=True):
                return Ending(
                    Outcome.FAILED,
                    f"the repository of {run.source} is being maintained",
                    "try again",
                    retry=True,
                )
            await in_thread(clear_scratch, self._tools.home, source.name)
            if self._tools.ledger.repository(source.name) is None:
                # A source that was configured just now may be due before the controller came to it.
                await provision(self._tools.home, self._tools.ledger, source, self._tools.clock)
            recover(self._tools.home, self._tools.ledger, source.name)
            return await self._run(source, live, lock, in_use)
        except PbsError as error:
            return Ending(error.outcome, error.message, error.hint, retry=error.retryable, code=error.code)
        except Exception as error:
            log.exception("the run %s met a fault", run.id)
            return Ending(
                Outcome.FAILED,
                f"a fault of pbs itself: {type(error).__name__}: {error}",
                "report it, with var/log of that time",
            )

    async def _run(self, source: Source, live: _Live, lock: FileLock, in_use: FileLock) -> Ending:
        work = work_of(self._tools, source, live.run, lock, in_use, live.halt)
        if imports_first(work):
            await self._import(source, live, lock, in_use)
            if live.halt.ending is not None:
                if live.halt.run == live.run.id:
                    return replace(
                        live.halt.ending, message=f"{live.halt.ending.message}, during the import before it"
                    )
                # Only the import was to stop; the pull goes on, as it does after an import that failed.
                live.halt.clear()
                if live.task is not None:
                    live.task.uncancel()
            begun = self._tools.ledger.queue.begin_anew(live.run, self._lease, self._tools.clock.now())
            work = work_of(self._tools, source, begun, lock, in_use, live.halt)
        return await conduct(work)

    async def _import(self, source: Source, live: _Live, lock: FileLock, in_use: FileLock) -> None:
        """The import is a run of its own under the pull's lock; if it fails, the pull goes on all the same."""
        queue = self._tools.ledger.queue
        before = live.now = queue.begin_before(live.run, Kind.MIGRATE, self._lease, self._tools.clock.now())
        try:
            ending = await conduct(work_of(self._tools, source, before, lock, in_use, live.halt))
        except PbsError as error:
            ending = Ending(error.outcome, error.message, error.hint, code=error.code)
        log.info("%s comes before %s", before.id, live.run.id)
        live.now = live.run
        # The next pull tries it again by itself.
        await self._end(before, ending, retries=0)

    async def _rest(self, source: Source) -> None:
        try:
            await endpoint_of(self._tools, source).rest()
        except PbsError as error:
            log.warning("the endpoint of %s: %s", source.name, error.message)

    async def _end(self, run: Run, ending: Ending, retries: int) -> None:
        """Write down how a run ended; as long as the ledger cannot be written, the run is ours and goes on."""
        while True:
            now = self._tools.clock.now()
            retry = retry_of(run, ending, retries, now)
            try:
                self._tools.ledger.queue.end(run, self._lease, told(ending, retry), now, retry)
            except LeaseLost:
                raise
            except LedgerError as error:
                if self._stopping:
                    raise
                log.warning("the end of %s cannot be written yet: %s", run.id, error.message)
                await self._tools.clock.sleep(LEDGER_SECONDS)
            else:
                log.info("%s: %s: %s", run.id, ending.outcome, ending.message)
                return

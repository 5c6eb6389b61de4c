"""One run from its claim to its outcome: what must hold before it begins, the import before it, its end in the ledger.

It claims nothing and decides nothing about when a run happens; whoever calls holds the run lock of the source.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from pbs.assemble import Tools, clear_scratch, endpoint_of, work_of
from pbs.errors import LeaseLost, LedgerError, PbsError
from pbs.files import FileLock
from pbs.model import Ending, Kind, Outcome, Run, Source
from pbs.runs.lifecycle import conduct, imports_first

LEDGER_SECONDS = 5.0
log = logging.getLogger("pbs.worker")


class Carrier:
    """Carries out what one worker claimed; every write of a run carries the worker's lease."""

    def __init__(self, tools: Tools, lease: str) -> None:
        self._tools = tools
        self._lease = lease

    async def carry_out(self, run: Run, source: Source | None, lock: FileLock) -> None:
        """One run from its claim to its outcome; nothing that goes wrong here may end the worker."""
        in_use = FileLock(self._tools.home.locks / f"{run.source}.repository.lock")
        try:
            await self._end(run, await self._outcome(run, source, lock, in_use))
        except LeaseLost as error:
            log.warning("%s", error.message)
        except Exception:
            # Whoever next obtains the run lock ends the run as interrupted.
            log.exception("the run %s could not be ended", run.id)
        finally:
            in_use.release()

    async def _outcome(self, run: Run, source: Source | None, lock: FileLock, in_use: FileLock) -> Ending:
        """What is wrong before the run can begin, or how it went."""
        if source is None:
            return Ending(
                Outcome.FAILED, f"the source {run.source} is not configured", "see `pbs source list`"
            )
        try:
            if not in_use.acquire(shared=True):
                return Ending(
                    Outcome.FAILED, f"the repository of {run.source} is being maintained", "try again"
                )
            await asyncio.to_thread(clear_scratch, self._tools.home, source.name)
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
                await self._tools.clock.sleep(LEDGER_SECONDS)
            else:
                log.info("%s: %s: %s", run.id, ending.outcome, ending.message)
                return

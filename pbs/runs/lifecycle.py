"""From a claimed run to its outcome: the one border where an error becomes a value.

It never retries and never decides what a run does; `act` is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pbs.clock import stamp
from pbs.errors import PbsError
from pbs.model import Ending, Kind, Outcome
from pbs.runs.checking import check
from pbs.runs.migrate import migrate, wanted
from pbs.runs.pull import pull
from pbs.runs.restoring import RESTORES_NOTHING, restore
from pbs.runs.retaining import retain
from pbs.runs.work import Work

# What the last line of a log says besides outcome and words.
FIGURES = ("snapshot", "files", "bytes", "added_bytes", "stored_bytes", "tunnel_bytes", "warnings")
ACTIONS: dict[Kind, Callable[[Work], Awaitable[Ending]]] = {
    Kind.PULL: pull,
    Kind.MIGRATE: migrate,
    Kind.RETAIN: retain,
    Kind.CHECK: check,
    Kind.RESTORE: restore,
}


def imports_first(work: Work) -> bool:
    """Whether an import must come before this run."""
    return work.run.kind is Kind.PULL and wanted(work)


async def conduct(work: Work) -> Ending:
    """Carry out a run; whatever happens, it ends with an outcome.

    Cancelling the task ends the run as `work.halt` says; the caller still has to write it.
    """
    work.journal.write("begin", run=work.run.id, kind=work.run.kind, cause=work.run.cause)
    ending = await _bounded(work)
    if ending.output is None:
        ending = replace(
            ending,
            output=work.report.text(),
            warnings=work.report.warnings,
            tunnel_bytes=work.report.tunnel_bytes,
        )
    figures = {name: getattr(ending, name) for name in FIGURES}
    work.journal.write(
        "ended",
        outcome=ending.outcome,
        message=ending.message,
        hint=ending.hint,
        code=ending.code,
        at=stamp(work.clock.now()),
        **figures,
    )
    return ending


async def _bounded(work: Work) -> Ending:
    act = ACTIONS.get(work.run.kind)
    if act is None:
        return Ending(
            Outcome.FAILED, f"this version cannot carry out a {work.run.kind} run", "ask for another kind"
        )
    try:
        async with work.stages.bounded():
            return await act(work)
    except PbsError as error:
        return Ending(error.outcome, error.message, error.hint, retry=error.retryable, code=error.code)
    except TimeoutError as error:
        return work.stages.late() if work.stages.expired else _fault(error)
    except asyncio.CancelledError:
        return _halted(work)
    except Exception as error:  # noqa: BLE001 - the border: a fault of ours must not leave a run without an outcome
        return _fault(error)


def _halted(work: Work) -> Ending:
    """How a run ends that somebody stopped; a hint about what the next run sends helps nobody who restores."""
    ending = work.halt.read()
    return replace(ending, hint=RESTORES_NOTHING) if work.run.kind is Kind.RESTORE else ending


def _fault(error: Exception) -> Ending:
    return Ending(
        Outcome.FAILED, f"a fault of pbs itself: {type(error).__name__}: {error}", "please report it"
    )

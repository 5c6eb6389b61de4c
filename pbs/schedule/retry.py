"""Whether a run that did not go well is tried again, and when. It reads no clock; chance alone is its own.

A run that a person asked for and that failed is not: that person sees how it went, and decides. One whose process died
is tried again whoever asked for it.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from pbs.model import Cause, Ending, Kind, Outcome, Run, RunState

# How long after the first try; each further try waits so many times longer, up to the most.
AFTER_FAILURE = timedelta(seconds=30)
AFTER_DEATH = timedelta(seconds=5)
FACTOR = 6
MOST = timedelta(hours=1)
# So much of the wait is chance: sources that failed together do not come back together.
CHANCE = 0.5
FINE = 1 << 20


def delay(run: Run, outcome: Outcome, *, helps: bool, retries: int, chance: float) -> timedelta | None:
    """How long to wait before one more try; None where nothing is gained by it.

    Args:
        run: The run that ended.
        outcome: How.
        helps: Whether its failure is one that may pass.
        retries: How many retries the source allows.
        chance: From 0 to 1.
    """
    if run.attempt > retries or run.kind is not Kind.PULL or run.cancel is not None:
        return None
    if outcome is Outcome.INTERRUPTED:
        first = AFTER_DEATH
    elif outcome is Outcome.FAILED and helps and run.cause is not Cause.ASKED:
        first = AFTER_FAILURE
    else:
        return None
    wait: timedelta = min(first * FACTOR ** min(max(run.attempt - 1, 0), 10), MOST)
    return wait * (1 - CHANCE / 2 + CHANCE * chance)


def retry_of(run: Run, ending: Ending, retries: int, now: datetime) -> Run | None:
    """The run that tries again what a worker carried out; its place in the ledger is still to be made.

    A worker writes `interrupted` only when the service is stopped: what it had to let go of is taken up again at the
    next start, and counts as no try.
    """
    tried = replace(run, attempt=run.attempt - 1) if ending.outcome is Outcome.INTERRUPTED else run
    return _next(tried, ending.outcome, retries, now, helps=ending.retry)


def retry_of_dead(run: Run, retries: int, now: datetime) -> Run | None:
    """The run that tries again what died with its worker."""
    return _next(run, Outcome.INTERRUPTED, retries, now, helps=True)


def _next(run: Run, outcome: Outcome, retries: int, now: datetime, *, helps: bool) -> Run | None:
    chance = secrets.randbelow(FINE) / FINE
    wait = delay(run, outcome, helps=helps, retries=retries, chance=chance)
    if wait is None:
        return None
    return Run(
        id="",
        source=run.source,
        kind=run.kind,
        cause=Cause.RETRY,
        state=RunState.QUEUED,
        queued=now,
        due=run.due,
        not_before=now + wait,
        attempt=max(run.attempt + 1, 1),
        retry_of=run.id,
        options=run.options,
    )


def told(ending: Ending, retry: Run | None) -> Ending:
    """The ending with a word about the next try."""
    if retry is None or retry.not_before is None:
        return ending
    word = f"it is tried again by itself at {retry.not_before:%Y-%m-%d %H:%M:%S} UTC"
    return replace(ending, hint=f"{ending.hint}; {word}" if ending.hint else word)

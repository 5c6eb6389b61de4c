"""The stages of a run, each with a bound, so that nothing hangs for ever and every late end names where it was.

One deadline stands at a time: the stage's, or what is left of the run's. It says what is late; it decides nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pbs.model import Ending, Outcome
from pbs.runs.ports import Journal
from pbs.text import duration


@dataclass(frozen=True, slots=True)
class Stage:
    """What people read of it, and the most seconds that it may take; None = as long as the run."""

    text: str
    most: float | None = None


# More than what the tools give themselves, which end with a better message. What moves data is bounded by the run alone.
STAGES = {
    "repository": Stage("looking at the repository"),
    "endpoint": Stage("opening the endpoint", 120.0),
    "connect": Stage("connecting", 60.0),
    "agent": Stage("asking the agent", 120.0),
    "forward": Stage("lending the socket", 60.0),
    "backup": Stage("backing up"),
    "import": Stage("importing the rdiff-backup tree"),
    "shut": Stage("shutting the endpoint", 120.0),
    "admission": Stage("admitting what arrived"),
    "retention": Stage("applying the rules for keeping"),
    # Steps of admission, before the endpoint opens and after it was shut; the run's own bound is theirs.
    "inventory": Stage("comparing the repository with what was admitted"),
    "packs": Stage("reading what arrived"),
    "aside": Stage("setting aside what is not admitted"),
    "snapshot": Stage("looking through the snapshot"),
    "receipt": Stage("writing the receipt"),
    "take-over": Stage("looking through snapshots of an earlier version"),
    "settle": Stage("taking up our own work on the repository"),
    "prune": Stage("removing what nothing needs"),
    "legacy": Stage("removing the rdiff-backup tree"),
    "structure": Stage("looking at the structure"),
    "restore": Stage("restoring"),
    "reading": Stage("reading again what lies there"),
    "damage": Stage("looking at what is damaged"),
}


class Stages:
    """Where one run is."""

    def __init__(self, journal: Journal, most: float) -> None:
        self._journal = journal
        self._most = most
        self._limit: asyncio.Timeout | None = None
        self._end = 0.0
        self._own = False
        self.now = ""

    def enter(self, name: str, **fields: Any) -> None:
        """Begin a stage; the run's log tells of it before anything is done."""
        self._journal.write("stage", stage=name, **fields)
        if self.expired:
            return  # what is tidied up after a deadline has bounds of its own, and is not what was late
        self.now = name
        if self._limit is None:
            return
        bound, begun = STAGES[name].most, asyncio.get_running_loop().time()
        self._own = bound is not None and begun + bound < self._end
        self._limit.reschedule(begun + bound if self._own and bound is not None else self._end)

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """The block ends with TimeoutError when the run or one of its stages takes too long; then `late` says what."""
        self._end = asyncio.get_running_loop().time() + self._most
        async with asyncio.timeout_at(self._end) as self._limit:
            yield

    @property
    def expired(self) -> bool:
        """Whether it was our deadline that passed."""
        return self._limit is not None and self._limit.expired()

    def late(self) -> Ending:
        """How a run ends that took too long."""
        stage = STAGES.get(self.now)
        doing = f"{stage.text} (the stage `{self.now}`)" if stage is not None else "beginning"
        if stage is not None and stage.most is not None and self._own:
            return Ending(
                Outcome.FAILED,
                f"{doing} took longer than {duration(stage.most)} and was given up",
                "see whether this machine, the line and the source are overloaded; the next run begins anew",
                retry=True,
            )
        return Ending(
            Outcome.FAILED,
            f"the run took longer than its {duration(self._most)} and was stopped while {doing}",
            "raise `timeout` of the source, or see what slows it down; what arrived is used by the next run",
        )

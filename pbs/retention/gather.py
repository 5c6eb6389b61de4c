"""What the ledger knows, as the facts that a plan is made from: the one way to today's plan, whoever asks for it.

The run that applies it, the command line that shows it and the API all come here, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from pbs.model import Kind, Outcome, Receipt, ReceiptState, Run, Source
from pbs.retention.holds import BAD, Facts, doubtful, frozen
from pbs.retention.plan import COUNTED, Plan, make_plan

CONFIRMED, UNREADABLE, RESUMED = "retention-confirmed", "unreadable", "resumed"
# A run that somebody stopped, or that died with the service, says nothing of the source.
TELLING = (Outcome.OK, Outcome.PARTIAL, *sorted(BAD))


class Note(Protocol):
    """Something that was written down."""

    @property
    def time(self) -> datetime:
        """When."""
        ...

    @property
    def run(self) -> str | None:
        """In which run."""
        ...

    @property
    def detail(self) -> dict[str, Any]:
        """What."""
        ...


class Custody(Protocol):
    """What the ledger keeps for retention."""

    def last(self, *names: str, about: str) -> Note | None:
        """The newest note of one of these names about a source."""
        ...

    def held(self, name: str) -> Note | None:
        """Why no snapshot of a source may be removed until a person has looked; None where nothing is."""
        ...

    def damaged(self, source: str) -> tuple[int, frozenset[str]]:
        """How many damaged packs wait for their repair, and which snapshots any damage touches."""
        ...


class Records(Protocol):
    """What a plan is made from."""

    @property
    def custody(self) -> Custody:
        """Notes and damage."""
        ...

    def receipts(self, name: str, *states: ReceiptState) -> list[Receipt]:
        """Every receipt of a source, or those that stand so."""
        ...

    def newest_run(self, name: str, *outcomes: Outcome, kind: Kind | None = None) -> Run | None:
        """The newest run of this kind and of one of these outcomes."""
        ...


class ManyRuns(Protocol):
    """What is asked of many sources at a time."""

    def newest_runs(self, names: Iterable[str], kind: Kind, outcomes: Iterable[Outcome]) -> Mapping[str, Run]:
        """The newest run of each of these sources that is of this kind and ended in one of these ways."""
        ...

    def damaged(self, names: Iterable[str]) -> Mapping[str, int]:
        """How many damaged packs of each of these sources wait for their repair."""
        ...


class ManyNotes(Protocol):
    """The notes about many sources."""

    def newest_notes(self, names: Iterable[str], *words: str) -> Mapping[str, Note]:
        """The newest note of one of these names (`words`) about each of these sources."""
        ...


def facts_of(records: Records, name: str) -> Facts:
    """What is known of a source beside its receipts."""
    last = records.newest_run(name, *TELLING, kind=Kind.PULL)
    confirmed = records.custody.last(CONFIRMED, RESUMED, about=name)
    held = records.custody.held(name)
    waiting, damaged = records.custody.damaged(name)
    return Facts(
        last=last.outcome if last else None,
        grew=_could_read_less(last, records.custody.last(UNREADABLE, about=name)),
        damaged=damaged,
        damages=waiting,
        confirmed=str(confirmed.detail.get("snapshot")) if confirmed else None,
        held=held_words(held, name) if held is not None else None,
    )


def all_frozen(
    runs: ManyRuns, notes: ManyNotes, pulls: Mapping[str, Run | None], held: Mapping[str, Note]
) -> dict[str, str]:
    """Of which of these sources nothing may be removed now, and why, as `frozen` tells it of one.

    In a handful of queries however many they are: when a line is cut, all of them have failed.

    Args:
        runs: What is asked of the runs of all of them.
        notes: What was noted of them.
        pulls: The sources, each with its newest pull that is over.
        held: Those that are held.
    """
    last = {name: run for name, run in pulls.items() if run is not None and run.outcome in TELLING}
    others = [name for name, run in pulls.items() if run is not None and name not in last]
    last |= runs.newest_runs(others, Kind.PULL, TELLING)
    damages = runs.damaged(pulls)
    partial = [name for name, run in last.items() if run.outcome is Outcome.PARTIAL]
    unreadable = notes.newest_notes(partial, UNREADABLE)
    found = {}
    for name in pulls:
        run, hold = last.get(name), held.get(name)
        found[name] = frozen(Facts(
            last=run.outcome if run else None,
            grew=_could_read_less(run, unreadable.get(name)),
            damages=damages.get(name, 0),
            held=held_words(hold, name) if hold is not None else None,
        ))  # fmt: skip
    return {name: why for name, why in found.items() if why is not None}


def _could_read_less(last: Run | None, unreadable: Note | None) -> bool:
    """Whether what the newest pull noted says that it could read less than the one before it."""
    return bool(last and unreadable and unreadable.run == last.id and unreadable.detail.get("grew"))


def held_words(held: Note, name: str) -> str:
    """Why a source is held, since when, and what lifts it."""
    return f"held since {held.time:%Y-%m-%d %H:%M} UTC: {held.detail['why']} (`pbs source resume {name}` lifts it)"


def plan_now(records: Records, source: Source, now: datetime, facts: Facts | None = None) -> Plan:
    """The plan of this moment. `facts` stand in for those of the ledger where a pull knows newer ones: its own."""
    known = facts or facts_of(records, source.name)
    receipts = records.receipts(source.name, *COUNTED)
    return make_plan(
        source.name,
        receipts,
        source.keeping,
        now,
        damaged=known.damaged,
        frozen=frozen(known),
        doubt=doubtful(known, receipts),
    )

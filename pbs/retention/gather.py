"""What the ledger knows, as the facts that a plan is made from: the one way to today's plan, whoever asks for it.

The run that applies it, the command line that shows it and the API all come here, so they cannot differ.
"""

from __future__ import annotations

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


def facts_of(records: Records, name: str) -> Facts:
    """What is known of a source beside its receipts."""
    last = records.newest_run(name, *TELLING, kind=Kind.PULL)
    unreadable = records.custody.last(UNREADABLE, about=name)
    confirmed = records.custody.last(CONFIRMED, RESUMED, about=name)
    held = records.custody.held(name)
    waiting, damaged = records.custody.damaged(name)
    return Facts(
        last=last.outcome if last else None,
        grew=bool(last and unreadable and unreadable.run == last.id and unreadable.detail.get("grew")),
        damaged=damaged,
        damages=waiting,
        confirmed=str(confirmed.detail.get("snapshot")) if confirmed else None,
        held=held_words(held, name) if held is not None else None,
    )


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

"""What the ledger knows of the health of all sources, in a handful of queries however many sources and runs there are; and how promises stood.

What is asked of each source is one look into an index: the time does not grow with the runs that there ever were.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from pbs.ledger import rows
from pbs.ledger.custody import EXPORTED
from pbs.ledger.engine import writer
from pbs.ledger.overview import FOLDERS, by_seq, newest_seq
from pbs.ledger.schema import damage, entry, promise, quarantine, reading, receipt, repository, run, source
from pbs.model import DamageState, Kind, Outcome, QuarantineState, ReceiptState, Run, RunState

# The outcomes of a run that came to its own end: what it says, it says of the source.
OWN_ENDS = (Outcome.OK, Outcome.PARTIAL, Outcome.FAILED, Outcome.REFUSED)
# Of which kinds the newest run of each outcome is told.
KINDS = (Kind.PULL, Kind.RETAIN, Kind.CHECK, Kind.MIGRATE)
PAIRS = {
    f"{kind} {outcome}": (kind, outcome)
    for kind in KINDS
    for outcome in (*OWN_ENDS, *((Outcome.MISSED, Outcome.INTERRUPTED) if kind is Kind.PULL else ()))
}


@dataclass(frozen=True, slots=True)
class Held:
    """How a promise stood, and since when."""

    state: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """The newest snapshot that we made of a source: when it came, when its source says that it was made, in which run."""

    received: datetime
    claimed: datetime | None
    run: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the ledger knows of one source, for judging how well it is.

    Attributes:
        name: The source.
        added: When it was made known.
        made: When its repository was made; None where it has none.
        bytes: The size of its repository when a run of it ended for the last time.
        runs: The newest run of each kind and outcome, where there is one, the oldest of them first.
        partial_since: Since when no pull could read everything; None where the last good one could.
        snapshots: How many can be restored.
        arrived: The newest of them that a pull made.
        read: When the folder of packs was read again that has waited for the longest time; None where one never was.
        aside: How much was set aside that nobody discarded, by its kind.
        damaged: How many packs are damaged, by what became of them.
        exported: Whether a recovery sheet was printed for the key that its repository has now.
        noted: When something was last written down of it, under the names that were asked for.
    """

    name: str
    added: datetime
    made: datetime | None = None
    bytes: int | None = None
    runs: Mapping[tuple[Kind, Outcome], Run] = field(default_factory=dict)
    partial_since: datetime | None = None
    snapshots: int = 0
    arrived: Arrival | None = None
    read: datetime | None = None
    aside: Mapping[str, int] = field(default_factory=dict)
    damaged: Mapping[DamageState, int] = field(default_factory=dict)
    exported: bool = False
    noted: Mapping[str, datetime] = field(default_factory=dict)

    def newest(self, kind: Kind, *outcomes: Outcome) -> Run | None:
        """The newest run of this kind that ended in one of these ways, or by itself."""
        wanted = outcomes or OWN_ENDS
        found = [run for (its, outcome), run in self.runs.items() if its is kind and outcome in wanted]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many runs of a kind and outcome a source ever had, and how many bytes they brought and stored."""

    source: str
    kind: str
    outcome: str
    runs: int
    tunnel_bytes: int
    stored_bytes: int


class VitalSigns:
    """What is asked of all sources at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def of_all(self, notes: Collection[str] = ()) -> list[Vitals]:
        """How each source stands that is not removed, as of one moment; by name."""
        with self._engine.connect() as db:
            return list(_vitals(db, notes))

    def promises(self) -> dict[tuple[str, str], Held]:
        """How each promise stood, by source (the server's: none) and name."""
        with self._engine.connect() as db:
            return {(row.source, row.name): Held(row.state, row.since) for row in db.execute(select(promise))}

    def hold(self, changed: Mapping[tuple[str, str], Held], gone: Iterable[tuple[str, str]]) -> None:
        """Write down how promises stand now, and forget those that are not given any more."""
        with self._writer.begin() as db:
            for (about, name), held in changed.items():
                which = (promise.c.source == about) & (promise.c.name == name)
                values = {"state": held.state, "since": held.since}
                if db.execute(update(promise).where(which).values(**values)).rowcount == 0:
                    db.execute(insert(promise).values(source=about, name=name, **values))
            for about, name in gone:
                db.execute(delete(promise).where(promise.c.source == about, promise.c.name == name))

    def weigh(self, name: str, size: int) -> None:
        """Write down how large the repository of a source is."""
        uid = select(source.c.uid).where(source.c.name == name).scalar_subquery()
        with self._writer.begin() as db:
            db.execute(update(repository).where(repository.c.source == uid).values(bytes=size))

    def sizes(self) -> dict[str, int]:
        """How large each repository was, where it was looked at."""
        query = select(source.c.name, repository.c.bytes).join(repository)
        with self._engine.connect() as db:
            return {row.name: row.bytes for row in db.execute(query) if row.bytes is not None}

    def settled(self) -> int:
        """The number below which no run changes any more."""
        unsettled = select(func.min(run.c.seq)).where(run.c.state.in_((RunState.QUEUED, RunState.RUNNING)))
        with self._engine.connect() as db:
            first = db.execute(unsettled).scalar()
            return int(first or (db.execute(select(func.max(run.c.seq))).scalar() or 0) + 1)

    def tallies(self, until: int) -> list[Tally]:
        """All runs below this number that ended, counted."""
        query = (
            select(
                run.c.source, run.c.kind, run.c.outcome, func.count(),
                func.coalesce(func.sum(run.c.tunnel_bytes), 0), func.coalesce(func.sum(run.c.stored_bytes), 0),
            )
            .where(run.c.seq < until, run.c.outcome.is_not(None))
            .group_by(run.c.source, run.c.kind, run.c.outcome)
        )  # fmt: skip
        with self._engine.connect() as db:
            return [Tally(*row) for row in db.execute(query)]

    def tallies_between(self, begin: int, until: int | None) -> list[Tally]:
        """Each run from one number on and below another that ended, as a tally of its own."""
        # Counted by whoever asks: grouped here, a database may rather read all runs in the order of the groups.
        query = select(run.c.source, run.c.kind, run.c.outcome, run.c.tunnel_bytes, run.c.stored_bytes).where(
            run.c.seq >= begin, run.c.outcome.is_not(None)
        )
        if until is not None:
            query = query.where(run.c.seq < until)
        with self._engine.connect() as db:
            return [
                Tally(row.source, row.kind, row.outcome, 1, row.tunnel_bytes or 0, row.stored_bytes or 0)
                for row in db.execute(query)
            ]


def _vitals(db: Connection, notes: Collection[str]) -> Iterator[Vitals]:
    found = list(db.execute(_of_each_source(notes)).mappings())
    numbers = {each[label] for each in found for label in (*PAIRS, "partial_since")}
    told = by_seq(db, numbers - {None})
    arrived = _arrivals(db, {each["arrived"] for each in found} - {None})
    read, aside, damaged = _readings(db), _aside(db), _damaged(db)
    for each in found:
        known = each["repository"]
        own = sorted((each[label], pair) for label, pair in PAIRS.items() if each[label] is not None)
        yield Vitals(
            name=each["name"],
            added=each["added"],
            made=each["made"],
            bytes=each["bytes"],
            runs={pair: told[number] for number, pair in own},
            partial_since=told[each["partial_since"]].ended if each["partial_since"] is not None else None,
            snapshots=each["snapshots"] or 0,
            arrived=arrived.get(each["arrived"]),
            read=read.get(known),
            aside=aside.get(known, {}),
            damaged={DamageState(state): number for state, number in damaged.get(known, {}).items()},
            exported=_fits(each["exported"], each["key"]),
            noted={name: each[f"noted {name}"] for name in notes if each[f"noted {name}"] is not None},
        )


def _of_each_source(notes: Collection[str]) -> Select[Any]:
    """One row for each source; of its runs, receipts and events only the numbers of those that count."""
    arrived = (
        select(receipt.c.seq)
        .where(receipt.c.repository == repository.c.id, receipt.c.state == ReceiptState.ADMITTED)
        .order_by(receipt.c.time.desc())
        .limit(1)
    )
    good = run.alias()
    whole = select(func.coalesce(func.max(good.c.seq), 0)).where(_ended(good, Kind.PULL, Outcome.OK))
    partial = select(func.min(run.c.seq)).where(
        _ended(run, Kind.PULL, Outcome.PARTIAL), run.c.seq > whole.correlate(source).scalar_subquery()
    )
    return (
        select(
            source.c.name,
            source.c.added,
            repository.c.id.label("repository"),
            repository.c.created.label("made"),
            repository.c.bytes,
            repository.c.key,
            _noted(EXPORTED, entry.c.detail).scalar_subquery().label("exported"),
            repository.c.snapshots,
            arrived.scalar_subquery().label("arrived"),
            partial.scalar_subquery().label("partial_since"),
            *(newest_seq(source.c.name, *pair).label(label) for label, pair in PAIRS.items()),
            *(_noted(name).scalar_subquery().label(f"noted {name}") for name in notes),
        )
        .outerjoin(repository, repository.c.source == source.c.uid)
        .where(source.c.removed.is_(None))
        .order_by(source.c.name)
    )


def _ended(those: FromClause, kind: Kind, outcome: Outcome) -> ColumnElement[bool]:
    return and_(those.c.source == source.c.name, those.c.kind == kind, those.c.outcome == outcome)


def _noted(name: str, column: ColumnElement[Any] = entry.c.time) -> Select[Any]:
    newest = select(column).where(entry.c.source == source.c.name, entry.c.name == name)
    return newest.order_by(entry.c.seq.desc()).limit(1)


def _fits(detail: str | None, key: str | None) -> bool:
    """Whether what was noted of a sheet is of this key."""
    return detail is not None and key is not None and json.loads(detail).get("key") == key


def _arrivals(db: Connection, numbers: Iterable[int]) -> dict[int, Arrival]:
    """The receipts with these numbers, as far as they tell when something came."""
    columns = (receipt.c.seq, receipt.c.received, receipt.c.claimed, receipt.c.run, receipt.c.outcome)
    return {
        row.seq: Arrival(row.received, row.claimed, row.run, Outcome(row.outcome))
        for part in rows.parts(numbers)
        for row in db.execute(select(*columns).where(receipt.c.seq.in_(part)))
    }


def _readings(db: Connection) -> dict[str, datetime]:
    """Of each repository whose folders were all read again once: when the first of them was."""
    query = select(reading.c.repository, func.min(reading.c.read).label("read")).group_by(
        reading.c.repository
    )
    return {row.repository: row.read for row in db.execute(query.having(func.count() >= FOLDERS))}


def _aside(db: Connection) -> dict[str, Counter[str]]:
    """What was set aside of each repository and not discarded, by its kind."""
    still = quarantine.c.state != QuarantineState.DISCARDED
    return _numbers(db, quarantine.c.repository, quarantine.c.kind, still)


def _damaged(db: Connection) -> dict[str, Counter[str]]:
    """The damaged packs of each repository that are not repaired, by their state."""
    return _numbers(db, damage.c.repository, damage.c.state, damage.c.state != DamageState.REPAIRED)


def _numbers(
    db: Connection, repository: Column[str], what: Column[str], which: ColumnElement[bool]
) -> dict[str, Counter[str]]:
    """How many rows of a table each repository has of what there is."""
    query = select(repository, what, func.count()).where(which).group_by(repository, what)
    found: dict[str, Counter[str]] = {}
    for owner, word, number in db.execute(query):
        found.setdefault(owner, Counter())[word] = number
    return found

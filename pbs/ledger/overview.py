"""Where all sources stand, in few queries however many there are. It only reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, ScalarSelect, func, null, select

from pbs.ledger import rows
from pbs.ledger.custody import UNREPAIRED
from pbs.ledger.schema import damage, entry, reading, repository, source
from pbs.ledger.schema import run as runs
from pbs.model import Kind, Outcome, Run, RunState
from pbs.space import LOOK_BACK, Growth

# Packs lie in so many folders, each read again as a whole.
FOLDERS = 256
PRUNED = "pruned"
# What a run printed can be long, and no overview shows it.
COLUMNS = [
    null().label("output") if each.name == "output" else each for each in runs.c if each.name != "lease"
]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a source stands: its newest run, its newest pull that is over, its newest good pull, the one that goes on or waits."""

    last: Run | None = None
    pull: Run | None = None
    last_ok: Run | None = None
    live: Run | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A run as a strip of many shows it."""

    id: str
    kind: Kind
    state: RunState
    outcome: Outcome | None


class Overview:
    """What is asked of many sources at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def standings(self, names: Iterable[str]) -> dict[str, Standing]:
        """Where each of these sources stands."""
        pull = runs.c.kind == Kind.PULL
        query = select(
            source.c.name,
            _newest().label("last"),
            _newest(pull, runs.c.state == RunState.ENDED).label("pull"),
            _newest(pull, runs.c.outcome == Outcome.OK).label("last_ok"),
        )
        going = (
            select(*COLUMNS)
            .where(runs.c.state.in_((RunState.QUEUED, RunState.RUNNING)))
            .order_by(runs.c.state, runs.c.seq.desc())
        )
        with self._engine.connect() as db:
            found = [
                row for part in rows.parts(names) for row in db.execute(query.where(source.c.name.in_(part)))
            ]
            told = by_seq(db, {seq for row in found for seq in row[1:] if seq is not None})
            live = {row.source: rows.run(row) for row in db.execute(going)}
        return {
            row.name: Standing(
                told.get(row.last), told.get(row.pull), told.get(row.last_ok), live.get(row.name)
            )
            for row in found
        }

    def counts(self, names: Iterable[str]) -> dict[str, int]:
        """How many snapshots of each of these sources can be used; of one without any, nothing."""
        found: dict[str, int] = {}
        with self._engine.connect() as db:
            for part in rows.parts(names):
                query = (
                    select(source.c.name, repository.c.snapshots)
                    .join(repository)
                    .where(source.c.name.in_(part))
                )
                found |= {name: number for name, number in db.execute(query) if number}
        return found

    def unread(self, names: Iterable[str]) -> dict[str, datetime]:
        """Since when each of these sources may hold a byte that was not read again."""
        found: dict[str, datetime] = {}
        with self._engine.connect() as db:
            for part in rows.parts(names):
                query = (
                    select(
                        source.c.name,
                        repository.c.created,
                        func.count(reading.c.folder),
                        func.min(reading.c.read),
                    )
                    .select_from(repository.join(source).outerjoin(reading))
                    .where(source.c.name.in_(part))
                    .group_by(source.c.name, repository.c.created)
                )
                for name, made, count, oldest in db.execute(query):
                    found[name] = oldest if count == FOLDERS else made
        return found

    def newest_runs(self, names: Iterable[str], kind: Kind, outcomes: Iterable[Outcome]) -> dict[str, Run]:
        """The newest run of each of these sources that is of this kind and ended in one of these ways."""
        each = [newest_seq(source.c.name, kind, outcome) for outcome in outcomes]
        with self._engine.connect() as db:
            found = {
                name: max(seqs)
                for part in rows.parts(names)
                for name, *numbers in db.execute(select(source.c.name, *each).where(source.c.name.in_(part)))
                if (seqs := [number for number in numbers if number is not None])
            }
            told = by_seq(db, found.values())
        return {name: told[seq] for name, seq in found.items()}

    def damaged(self, names: Iterable[str]) -> dict[str, int]:
        """How many damaged packs of these sources wait for their repair; of one without any, nothing."""
        found: dict[str, int] = {}
        with self._engine.connect() as db:
            for part in rows.parts(names):
                query = (
                    select(source.c.name, func.count())
                    .select_from(damage.join(repository).join(source))
                    .where(source.c.name.in_(part), damage.c.state.in_(UNREPAIRED))
                    .group_by(source.c.name)
                )
                found |= dict(db.execute(query).all())
        return found

    def growth(self, names: Iterable[str], since: datetime) -> dict[str, Growth]:
        """What each of these sources brought by its pulls since then, but for the first of them, less what pruning freed."""
        first, ended = runs.alias(), runs.alias()
        begin = (
            select(ended.c.seq)
            .where(
                ended.c.source == source.c.name, ended.c.ended >= since, ended.c.kind == Kind.PULL,
                ended.c.tunnel_bytes.is_not(None),
            )
            .order_by(ended.c.ended)
            .limit(1)
            .correlate(source)
            .scalar_subquery()
        )  # fmt: skip

        def after(what: ColumnElement[int]) -> ScalarSelect[int]:
            # By its number, not by its time: so an index tells it without a look at the runs. One that a rebuild wrote down
            # late counts as new for the two weeks that are looked back at.
            query = select(what).where(
                runs.c.source == source.c.name, runs.c.kind == Kind.PULL, runs.c.outcome.in_(list(Outcome)),
                runs.c.seq > first.c.seq, runs.c.tunnel_bytes.is_not(None),
            )  # fmt: skip
            return query.correlate(source, first).scalar_subquery()

        number, sent = after(func.count(runs.c.seq)), after(func.sum(runs.c.tunnel_bytes))
        brought = select(source.c.name, first.c.ended, number, sent).select_from(
            source.join(first, first.c.seq == begin)
        )
        found: dict[str, Growth] = {}
        with self._engine.connect() as db:
            for part in rows.parts(names):
                for name, then, *more in db.execute(brought.where(source.c.name.in_(part))):
                    found[name] = Growth(then, more[0], more[1] or 0)
                pruned = select(entry.c.source, entry.c.time, entry.c.detail).where(
                    entry.c.source.in_(part), entry.c.name == PRUNED, entry.c.time >= since
                )
                for name, time, detail in db.execute(pruned):
                    if name in found and time >= found[name].since:
                        freed = int(json.loads(detail).get("freed") or 0)
                        found[name] = replace(found[name], bytes=found[name].bytes - freed)
        return found

    def rates(self, names: Iterable[str], now: datetime) -> dict[str, int | None]:
        """By how many bytes the repository of each of these sources grows in a day; None where too little was seen to say."""
        found = self.growth(names, now - LOOK_BACK)
        return {name: each.per_day(now) for name, each in found.items()}

    def strips(self, names: Iterable[str], length: int) -> dict[str, list[Step]]:
        """The newest runs of each of these sources, `length` at most, oldest first."""
        oldest = (
            select(runs.c.seq)
            .where(runs.c.source == source.c.name)
            .order_by(runs.c.seq.desc())
            .limit(1)
            .offset(length - 1)
            .correlate(source)
            .scalar_subquery()
        )
        found: dict[str, list[Step]] = {}
        with self._engine.connect() as db:
            for part in rows.parts(names):
                query = (
                    select(source.c.name, runs.c.id, runs.c.kind, runs.c.state, runs.c.outcome)
                    .join(runs, runs.c.source == source.c.name)
                    .where(source.c.name.in_(part), runs.c.seq >= func.coalesce(oldest, 0))
                    .order_by(runs.c.seq)
                )
                for name, identity, kind, state, outcome in db.execute(query):
                    step = Step(identity, Kind(kind), RunState(state), Outcome(outcome) if outcome else None)
                    found.setdefault(name, []).append(step)
        return found


def newest_seq(
    about: str | ColumnElement[str], kind: Kind | None, outcome: Outcome | None
) -> ScalarSelect[int]:
    """The number of the newest run of a source that ended so (None = it goes on, or waits), of this kind where one is given.

    One look into an index: of several outcomes at once a database may rather go back through every run.
    """
    own = [runs.c.source == about, *([runs.c.kind == kind] if kind is not None else [])]
    return select(func.max(runs.c.seq)).where(*own, runs.c.outcome == outcome).scalar_subquery()


def _newest(*wanted: ColumnElement[bool]) -> ScalarSelect[int]:
    """The newest run of a source that is like this."""
    query = select(runs.c.seq).where(runs.c.source == source.c.name, *wanted)
    return query.order_by(runs.c.seq.desc()).limit(1).correlate(source).scalar_subquery()


def by_seq(db: Connection, seqs: Iterable[int]) -> dict[int, Run]:
    """The runs with these numbers, without what they printed."""
    return {
        row.seq: rows.run(row)
        for part in rows.parts(seqs)
        for row in db.execute(select(*COLUMNS).where(runs.c.seq.in_(part)))
    }

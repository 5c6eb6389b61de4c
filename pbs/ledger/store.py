"""What the ledger knows and how it is asked. Queries say what they answer; writes are one transaction each."""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from pbs.errors import LedgerError, NotFound, SchemaMismatch, UsageError
from pbs.ledger import rescue, rows
from pbs.ledger.access import Access
from pbs.ledger.cancelling import Cancelling
from pbs.ledger.custody import Custody
from pbs.ledger.engine import make_engine, writer
from pbs.ledger.manifests import Manifests, Quarantine
from pbs.ledger.overview import Overview, newest_seq
from pbs.ledger.queue import Queue
from pbs.ledger.schema import HEAD, damage, entry, reading, receipt, repository, run, source
from pbs.ledger.slots import Slots
from pbs.ledger.telling import Telling
from pbs.ledger.upkeep import Upkeep
from pbs.ledger.usable import OF_USERS, count_one
from pbs.ledger.vitals import VitalSigns
from pbs.model import Kind, Outcome, Receipt, ReceiptState, Repository, Run, RunState

SHORTEST_PREFIX = 8
# What an id begins with; and what is after every digit of one, in the order of text.
DIGITS = re.compile(r"[0-9a-f]+")
BEYOND_DIGITS = "g"


def schema_version(engine: Engine) -> str | None:
    """The schema's revision; None for an empty file."""
    with engine.connect() as db:
        if not inspect(db).has_table("alembic_version"):
            return None
        version: str | None = db.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return version


def open_ledger(path: Path, *, lasting: bool = False) -> Ledger:
    """The ledger at `path`, if it is of the schema that this version writes.

    Args:
        path: Its file.
        lasting: For a process that lives on: it is the ledger itself, or an error. For any other, where the disk takes
            nothing more, it may be a copy that can only be read.

    Raises:
        LedgerError: there is none.
        SchemaMismatch: another version wrote it.
    """
    if not path.exists():
        raise LedgerError(
            f"there is no ledger at {path}", "make a home with `pbs init`, or name it with --home"
        )
    engine = make_engine(path)
    try:
        version = schema_version(engine)
    except LedgerError as error:
        engine.dispose()
        if lasting or not path.is_file() or not rescue.may_help(error.__cause__):
            raise
        engine = rescue.engine_of_copy(path)
        version = schema_version(engine)
    if version != HEAD:
        engine.dispose()
        raise SchemaMismatch(
            f"the ledger has schema {version or 'none'}, this pbs writes {HEAD}",
            "start `pbs serve` of this version once: it upgrades the ledger after copying it",
        )
    return Ledger(engine)


class Ledger:
    """Sources, repositories, receipts, events; `queue` is the life of runs, `slots` how far schedules were dealt with,
    `cancelling` who wants a run to stop, `access` who may ask, `manifests` what was admitted, file by file, `quarantine`
    what was set aside, `overview` where all sources stand, `vitals` what promises are judged by, `telling` what was told of them,
    `upkeep` its own care.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)
        self.queue = Queue(engine)
        self.access = Access(engine)
        self.upkeep = Upkeep(engine)
        self.cancelling = Cancelling(engine)
        self.slots = Slots(engine)
        self.custody = Custody(engine)
        self.manifests = Manifests(engine)
        self.quarantine = Quarantine(engine)
        self.overview = Overview(engine)
        self.vitals = VitalSigns(engine)
        self.telling = Telling(engine)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    # sources and repositories

    def add_source(self, name: str, now: datetime) -> None:
        """Make a source known; one that was removed comes back with its repository and history."""
        with self._writer.begin() as db:
            known = db.execute(update(source).where(source.c.name == name).values(removed=None))
            if known.rowcount == 0:
                db.execute(
                    insert(source).values(
                        uid=uuid.uuid4().hex, name=name, server=socket.gethostname(), added=now
                    )
                )

    def remove_source(self, name: str, now: datetime, *, purge: bool) -> None:
        """Mark a source as removed; with `purge` its repository and receipts are forgotten as well."""
        with self._writer.begin() as db:
            db.execute(update(source).where(source.c.name == name).values(removed=now))
            if purge:
                uid = select(source.c.uid).where(source.c.name == name).scalar_subquery()
                ids = select(repository.c.id).where(repository.c.source == uid).scalar_subquery()
                self.manifests.forget(db, ids)
                for table in (reading, damage, receipt):
                    db.execute(table.delete().where(table.c.repository == ids))
                db.execute(repository.delete().where(repository.c.source == uid))
        if purge:
            # What was held is gone; a source of the same name begins anew.
            self.custody.resume(name, now, "source remove --purge")

    def sources(self) -> list[str]:
        """The names of the sources that are not removed, sorted."""
        with self._engine.connect() as db:
            return list(
                db.execute(
                    select(source.c.name).where(source.c.removed.is_(None)).order_by(source.c.name)
                ).scalars()
            )

    def require_source(self, name: str) -> None:
        """Raise unless a source of this name is, or once was, known.

        Raises:
            NotFound: it never was.
        """
        with self._engine.connect() as db:
            if db.execute(select(source.c.uid).where(source.c.name == name)).first() is None:
                raise NotFound(f"there is no source {name!r}", "`pbs source list` names them")

    def repository(self, name: str) -> Repository | None:
        """The repository that belongs to this source, if one was ever made."""
        with self._engine.connect() as db:
            row = db.execute(
                select(repository, source.c.name).join(source).where(source.c.name == name)
            ).first()
        return rows.repository(row) if row is not None else None

    def add_repository(self, made: Repository, now: datetime) -> None:
        """Remember the repository of a source, for good.

        Raises:
            LedgerError: the source has one already, or is not known.
        """
        try:
            with self._writer.begin() as db:
                uid = db.execute(select(source.c.uid).where(source.c.name == made.source)).scalar()
                db.execute(
                    insert(repository).values(
                        id=made.id, source=uid, engine="restic", path=made.path, key=made.key, created=now
                    )
                )
        except IntegrityError as error:
            raise LedgerError(
                f"{made.source} already has another repository", "see `pbs source show`"
            ) from error

    # runs

    def run(self, run_id: str) -> Run:
        """One run, by its id.

        Raises:
            NotFound: there is none.
        """
        with self._engine.connect() as db:
            row = db.execute(select(run).where(run.c.id == run_id)).first()
        if row is None:
            raise NotFound(f"there is no run {run_id}", "`pbs runs` lists them")
        return rows.run(row)

    def runs(
        self,
        name: str | None = None,
        *,
        limit: int = 100,
        ended: bool = False,
        before: str | None = None,
        kind: Kind | None = None,
        state: RunState | None = None,
        outcome: Outcome | None = None,
    ) -> list[Run]:
        """The newest runs, newest first; `ended` leaves out those that are not over.

        `before` is the id of a run: only older ones.

        Raises:
            NotFound: there is no run `before`.
        """
        query = select(run).order_by(run.c.seq.desc()).limit(limit)
        only = {"source": name, "kind": kind, "state": state, "outcome": outcome}
        for column, value in only.items():
            if value is not None:
                query = query.where(run.c[column] == value)
        if before is not None:
            self.run(before)
            query = query.where(run.c.seq < select(run.c.seq).where(run.c.id == before).scalar_subquery())
        if ended:
            # Not by the state: a database may rather find all that ended by it, and sort them.
            query = (
                query.where(run.c.ended.is_not(None))
                .order_by(None)
                .order_by(run.c.ended.desc(), run.c.seq.desc())
            )
        with self._engine.connect() as db:
            return [rows.run(row) for row in db.execute(query)]

    def newest_run(self, name: str, *outcomes: Outcome, kind: Kind | None = None) -> Run | None:
        """The newest run of a source, of this kind and of one of these outcomes where any are given."""
        wanted: tuple[Outcome | None, ...] = outcomes or (*Outcome, None)
        newest = [newest_seq(name, kind, outcome) for outcome in wanted]
        with self._engine.connect() as db:
            numbers = [number for number in db.execute(select(*newest)).one() if number is not None]
            if not numbers:
                return None
            return rows.run(db.execute(select(run).where(run.c.seq == max(numbers))).one())

    def ended_since(self, moment: datetime) -> dict[str, str]:
        """The runs that ended at or after `moment`, each with its source."""
        with self._engine.connect() as db:
            found = db.execute(select(run.c.id, run.c.source).where(run.c.ended >= moment))
            return {row.id: row.source for row in found}

    # receipts

    def add_receipt(self, value: Receipt) -> None:
        """Record a snapshot as received; a second time changes nothing."""
        known = self.repository(value.source)
        if known is None:
            raise LedgerError(f"{value.source} has no repository in the ledger", "`pbs reload` makes it")
        with self._writer.begin() as db:
            there = db.execute(
                select(receipt.c.seq).where(receipt.c.repository == known.id, receipt.c.reference == value.id)
            ).first()
            if there is None:
                db.execute(insert(receipt).values(**rows.receipt_values(value, known.id)))
                count_one(db, known.id, value)

    def receipts(self, name: str, *states: ReceiptState) -> list[Receipt]:
        """Every receipt of a source, or those that stand so, oldest first by our clock."""
        return self._receipts(name, *([receipt.c.state.in_(states)] if states else []))

    def usable(self, name: str, last: int | None = None) -> list[Receipt]:
        """The receipts that answers to users are made from: admitted or imported, and not just leaving; oldest first.

        `last`: only so many, the newest of them.
        """
        found = self._receipts(name, *OF_USERS, last=last)
        return found if last is None else found[::-1]

    def usable_of(self, name: str, ids: Collection[str]) -> list[Receipt]:
        """Those of these snapshots."""
        parts = rows.parts(ids)
        return [
            each for part in parts for each in self._receipts(name, *OF_USERS, receipt.c.reference.in_(part))
        ]

    def same(self, name: str, tree: str) -> list[Receipt]:
        """Those that hold this very tree."""
        return self._receipts(name, *OF_USERS, receipt.c.tree == tree)

    def newest(self, name: str) -> Receipt | None:
        """The last one of all of them."""
        found = self._receipts(name, *OF_USERS, last=1)
        return found[0] if found else None

    def _receipts(self, name: str, *wanted: ColumnElement[bool], last: int | None = None) -> list[Receipt]:
        """Oldest first; or only so many of the newest, newest first."""
        query = (
            select(receipt)
            .join(repository, repository.c.id == receipt.c.repository)
            .join(source, source.c.uid == repository.c.source)
            .where(source.c.name == name, *wanted)
        )
        if last is None:
            query = query.order_by(receipt.c.time, receipt.c.seq)
        else:
            query = query.order_by(receipt.c.time.desc(), receipt.c.seq.desc()).limit(last)
        with self._engine.connect() as db:
            return [rows.receipt(row, name) for row in db.execute(query)]

    def find_receipt(self, name: str, wanted: str) -> Receipt:
        """The usable snapshot that `wanted` names: `latest`, a full id, or a prefix of 8 or more digits.

        Raises:
            NotFound: none, or not the only one.
        """
        if wanted == "latest":
            newest = self.newest(name)
            if newest is None:
                raise NotFound(f"{name} has no snapshot yet", f"make one with `pbs pull {name}`")
            return newest
        if len(wanted) < SHORTEST_PREFIX:
            raise UsageError(
                f"{wanted!r} is too short for a snapshot id", f"give {SHORTEST_PREFIX} digits or more"
            )
        # By the range of ids that begin so: an index finds them, however many snapshots there are.
        begin = receipt.c.reference >= wanted, receipt.c.reference < wanted + BEYOND_DIGITS
        found = self._receipts(name, *OF_USERS, *begin) if DIGITS.fullmatch(wanted) else []
        if len(found) != 1:
            what = "no snapshot" if not found else f"{len(found)} snapshots"
            raise NotFound(f"{name} has {what} with the id {wanted}", f"`pbs snapshots {name}` lists them")
        return found[0]

    # events

    def note(
        self, now: datetime, name: str, detail: dict[str, object], *, about: str | None, by: str | None = None
    ) -> None:
        """Write down that something happened to a source (`about`; None = to the server), in a run (`by`)."""
        with self._writer.begin() as db:
            db.execute(
                insert(entry).values(time=now, source=about, run=by, name=name, detail=json.dumps(detail))
            )

    def noted(self, name: str, *, about: str | None) -> list[dict[str, object]]:
        """What was written down under this name about a source (None = the server), oldest first."""
        with self._engine.connect() as db:
            query = (
                select(entry.c.detail)
                .where(entry.c.source == about, entry.c.name == name)
                .order_by(entry.c.seq)
            )
            return [json.loads(text) for text in db.execute(query).scalars()]

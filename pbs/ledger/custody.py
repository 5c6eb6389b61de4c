"""What the ledger keeps for retention: pins, what is about to be forgotten, what was forgotten, and damage.

A removal is written down before it happens and settled after it: whoever comes next can tell from what is still there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, ScalarSelect, func, insert, or_, select, update

from pbs.errors import LedgerError, NotFound
from pbs.ledger.engine import writer
from pbs.ledger.rows import parts
from pbs.ledger.schema import damage, entry, manifest, reading, receipt, repository, source
from pbs.ledger.usable import OF_USERS, USABLE, recount
from pbs.model import Damage, DamageState, ReceiptState

FORGOTTEN = "forgotten"
# A damaged pack that waits for its repair.
UNREPAIRED = (DamageState.FOUND, DamageState.WAITING)
EXPORTED = "key-exported"
HELD, RESUMED = "held", "resumed"
RESUMED_READS = "a person has looked at the source and resumed it"
MOST_WHY = 1000


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was written down about a source."""

    time: datetime
    name: str
    run: str | None
    detail: dict[str, Any]


class Custody:
    """Pins and removals of the receipts of each source."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def pin(self, name: str, snapshot: str, note: str | None, now: datetime, *, pinned: bool = True) -> None:
        """Have no rule remove this snapshot, or let the rules decide again.

        Raises:
            NotFound: it is just being removed, or was.
        """
        with self._writer.begin() as db:
            done = db.execute(
                update(receipt)
                .where(
                    receipt.c.repository == _repository(name), receipt.c.reference == snapshot, *OF_USERS,
                )
                .values(pinned=pinned, note=note)
            )  # fmt: skip
            if done.rowcount != 1:
                raise NotFound(
                    f"the snapshot {snapshot[:8]} is just being removed, or was",
                    f"see `pbs snapshots {name}`",
                )
            detail = json.dumps({"snapshot": snapshot, "note": note})
            word = "pinned" if pinned else "unpinned"
            db.execute(insert(entry).values(time=now, source=name, name=word, detail=detail))

    def intend(self, name: str, snapshots: Collection[str], run: str) -> None:
        """Write down that a run is about to forget these; from now on none of them can be pinned.

        Raises:
            LedgerError: one of them was pinned meanwhile; nothing was written.
        """
        with self._writer.begin() as db:
            for snapshot in snapshots:
                done = db.execute(
                    update(receipt)
                    .where(
                        receipt.c.repository == _repository(name), receipt.c.reference == snapshot,
                        receipt.c.state.in_(USABLE), receipt.c.pinned.is_(False),
                    )
                    .values(leaving=run)
                )  # fmt: skip
                if done.rowcount != 1:
                    raise LedgerError(
                        f"the snapshot {snapshot[:8]} was pinned or removed while the plan was made",
                        f"nothing was removed; `pbs retain {name}` makes a new plan",
                    )
            recount(db, _repository(name))

    def settle(self, name: str, present: Collection[str], now: datetime) -> list[str]:
        """Say of each snapshot that was to be forgotten what became of it, by what is still there; the forgotten ones."""
        with self._writer.begin() as db:
            rows = db.execute(
                select(receipt.c.seq, receipt.c.reference, receipt.c.leaving)
                .where(receipt.c.repository == _repository(name), receipt.c.leaving.is_not(None))
                .where(receipt.c.state.in_(USABLE))
                .order_by(receipt.c.seq)
            ).all()
            gone = [row for row in rows if row.reference not in present]
            for row in rows:
                values = {"leaving": None} if row.reference in present else {"state": ReceiptState.FORGOTTEN}
                db.execute(update(receipt).where(receipt.c.seq == row.seq).values(**values))
            recount(db, _repository(name))
            for run in dict.fromkeys(row.leaving for row in gone):
                ids = [row.reference for row in gone if row.leaving == run]
                detail = json.dumps({"snapshots": ids})
                db.execute(
                    insert(entry).values(time=now, source=name, run=run, name=FORGOTTEN, detail=detail)
                )
        return [row.reference for row in gone]

    def going(self, name: str, among: Collection[str]) -> dict[str, bool]:
        """Of these snapshots of a source those that are forgotten (True) or were to be (False)."""
        going = or_(receipt.c.state == ReceiptState.FORGOTTEN, receipt.c.leaving.is_not(None))
        found: dict[str, bool] = {}
        with self._engine.connect() as db:
            for part in parts(among):
                query = select(receipt.c.reference, receipt.c.state).where(
                    receipt.c.repository == _repository(name), receipt.c.reference.in_(part), going
                )
                found |= {row.reference: row.state == ReceiptState.FORGOTTEN for row in db.execute(query)}
        return found

    def last(self, *names: str, about: str) -> Note | None:
        """The newest note of one of these names about a source."""
        found = self.notes(*names, about=about, limit=1)
        return found[0] if found else None

    def notes(self, *names: str, about: str, limit: int) -> list[Note]:
        """The newest notes of these names about a source, newest first."""
        query = (
            select(entry)
            .where(entry.c.source == about, entry.c.name.in_(names))
            .order_by(entry.c.seq.desc())
            .limit(limit)
        )
        with self._engine.connect() as db:
            return [_note(row) for row in db.execute(query)]

    def held(self, name: str) -> Note | None:
        """Why no snapshot of a source may be removed until a person has looked, and since when; None where nothing is."""
        found = self.last(HELD, RESUMED, about=name)
        return found if found is not None and found.name == HELD else None

    def hold_changed(self, name: str) -> datetime | None:
        """When a source was held or resumed for the last time; None where it never was."""
        found = self.last(HELD, RESUMED, about=name)
        return found.time if found is not None else None

    def holds(self, names: Iterable[str]) -> dict[str, Note]:
        """Those of these sources that are held, and why."""
        return {
            name: note for name, note in self.newest_notes(names, HELD, RESUMED).items() if note.name == HELD
        }

    def newest_notes(self, names: Iterable[str], *words: str) -> dict[str, Note]:
        """The newest note of one of these names (`words`) about each of these sources."""
        newest = (
            select(func.max(entry.c.seq))
            .where(entry.c.source == source.c.name, entry.c.name.in_(words))
            .correlate(source)
            .scalar_subquery()
        )
        query = select(entry).join(source, entry.c.seq == newest)
        with self._engine.connect() as db:
            found = [row for part in parts(names) for row in db.execute(query.where(source.c.name.in_(part)))]
        return {row.source: _note(row) for row in found}

    def hold(
        self, name: str, why: str, now: datetime, *, run: str | None = None, snapshot: str | None = None,
        by: str | None = None,
    ) -> None:  # fmt: skip
        """Let no snapshot of a source be removed until a person has looked; a reason that stands already stays."""
        standing = self.held(name)
        if standing is not None:
            stood = standing.detail["why"]
            if why in stood or len(stood) + len(why) > MOST_WHY:
                return
            now, why, snapshot = standing.time, f"{stood}; {why}", standing.detail["snapshot"] or snapshot
        detail = json.dumps({"why": why[:MOST_WHY], "snapshot": snapshot, "by": by})
        with self._writer.begin() as db:
            db.execute(insert(entry).values(time=now, source=name, run=run, name=HELD, detail=detail))

    def resume(self, name: str, now: datetime, by: str | None = None) -> bool:
        """A person has looked: what is there now is right, and the next run reads all of it. False where nothing was held."""
        if self.held(name) is None:
            return False
        newest = (
            select(receipt.c.reference)
            .where(receipt.c.repository == _repository(name), receipt.c.state.in_(USABLE))
            .order_by(receipt.c.time.desc())
            .limit(1)
        )
        with self._writer.begin() as db:
            detail = json.dumps({"snapshot": db.execute(newest).scalar(), "by": by})
            db.execute(insert(entry).values(time=now, source=name, name=RESUMED, detail=detail))
            # What came while somebody else held the source may lie about content: no honest run shall go on from it.
            db.execute(
                update(manifest)
                .where(manifest.c.repository == _repository(name))
                .values(reread=RESUMED_READS)
            )
        return True

    def exported(self, name: str) -> datetime | None:
        """When the recovery sheet of a source was printed for the last time; None where its key is not the one of now."""
        query = select(repository.c.key).where(repository.c.id == _repository(name))
        with self._engine.connect() as db:
            key = db.execute(query).scalar()
        last = self.last(EXPORTED, about=name)
        return last.time if last is not None and key is not None and last.detail.get("key") == key else None

    def damaged(self, name: str) -> tuple[int, frozenset[str]]:
        """How many damaged packs wait for their repair, and which snapshots any damage touches that is not repaired."""
        found = self.damages(name)
        touched = [each for each in found if each.state is not DamageState.REPAIRED]
        waiting = sum(each.state in UNREPAIRED for each in touched)
        return waiting, frozenset(snapshot for each in touched for snapshot in each.lost)

    def damages(self, name: str) -> list[Damage]:
        """Every pack of a source that was ever found damaged, oldest first."""
        query = select(damage).where(damage.c.repository == _repository(name)).order_by(damage.c.seq)
        with self._engine.connect() as db:
            return [_damage(row) for row in db.execute(query)]

    def record_damage(self, name: str, found: Damage) -> None:
        """Write down a damaged pack, or what became of it; of each pack the newest word counts."""
        values = {
            "run": found.run, "found": found.found, "state": found.state, "ended": found.ended,
            "snapshots": json.dumps(sorted(found.lost)),
            "blobs": json.dumps({key: sorted(blobs) for key, blobs in found.lost.items()}),
        }  # fmt: skip
        with self._writer.begin() as db:
            done = db.execute(
                update(damage)
                .where(damage.c.repository == _repository(name), damage.c.pack == found.pack)
                .values(**values)
            )
            if done.rowcount == 0:
                db.execute(insert(damage).values(repository=_repository(name), pack=found.pack, **values))

    def readings(self, name: str) -> dict[str, datetime]:
        """When each folder of packs was read again for the last time."""
        query = select(reading.c.folder, reading.c.read).where(reading.c.repository == _repository(name))
        with self._engine.connect() as db:
            return {row.folder: row.read for row in db.execute(query)}

    def record_reading(self, name: str, folder: str, now: datetime, size: int) -> None:
        """Write down that a folder of packs was read again."""
        place = (reading.c.repository == _repository(name)) & (reading.c.folder == folder)
        with self._writer.begin() as db:
            done = db.execute(update(reading).where(place).values(read=now, bytes=size))
            if done.rowcount == 0:
                db.execute(
                    insert(reading).values(repository=_repository(name), folder=folder, read=now, bytes=size)
                )

    def made(self, name: str) -> datetime | None:
        """When the repository of a source was made."""
        query = select(repository.c.created).where(repository.c.id == _repository(name))
        with self._engine.connect() as db:
            created: datetime | None = db.execute(query).scalar()
        return created


def _note(row: Row[Any]) -> Note:
    return Note(row.time, row.name, row.run, json.loads(row.detail))


def _damage(row: Row[Any]) -> Damage:
    return Damage(
        pack=row.pack, run=row.run, found=row.found, state=DamageState(row.state),
        lost={key: frozenset(blobs) for key, blobs in json.loads(row.blobs).items()}, ended=row.ended,
    )  # fmt: skip


def _repository(name: str) -> ScalarSelect[str]:
    """The id of the repository of a source."""
    return (
        select(repository.c.id)
        .join(source, source.c.uid == repository.c.source)
        .where(source.c.name == name)
        .scalar_subquery()
    )

"""Which files of each repository were admitted, and what was set aside: the truth that admission compares a disk with.

It records what others decided, each decision in one transaction, and never looks at a disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, and_, delete, func, insert, select, update

from pbs.errors import LedgerError, NotFound
from pbs.ledger import rows
from pbs.ledger.engine import writer
from pbs.ledger.schema import item, manifest, quarantine, receipt, repository, source
from pbs.ledger.usable import recount
from pbs.model import Manifest, Quarantined, QuarantineState, Receipt, Verified

# In the place of a run, where it was none that made a file.
OURS = "key"


class Manifests:
    """The admitted files of repositories, given by the repository's id."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def of(self, known: str) -> Manifest | None:
        """The manifest of a repository; None where nothing of it was ever looked at."""
        with self._engine.connect() as db:
            row = db.execute(select(manifest).where(manifest.c.repository == known)).first()
        return _manifest(row) if row is not None else None

    def begin(self, known: str, config: str, run: str, keys: Mapping[str, int]) -> Manifest:
        """A manifest that holds the config and our keys, and nothing that a source could have sent."""
        with self._writer.begin() as db:
            there = db.execute(select(manifest).where(manifest.c.repository == known)).first()
            if there is None:
                db.execute(insert(manifest).values(repository=known, config=config, folders="{}", since=0))
                _add(db, _seq(db, known), "keys", keys, Verified.FULL, run)
        return Manifest(known, config, {}) if there is None else _manifest(there)

    def names(self, known: str, kind: str, folder: str = "") -> dict[str, int]:
        """The admitted files of a kind with their sizes; of packs, those of one folder where one is given."""
        return self._sizes(_items(known, kind, folder))

    def add(
        self, known: str, run: str, packs: Mapping[str, int], index: Mapping[str, int], verified: Verified
    ) -> None:
        """Packs that were inspected, together with the index that we made of them."""
        with self._writer.begin() as db:
            seq = _seq(db, known)
            _add(db, seq, "data", packs, verified, run)
            _add(db, seq, "index", index, verified, run)

    def unproven(self, known: str, folder: str) -> dict[str, int]:
        """The packs of one folder whose content nobody has read, with their sizes."""
        return self._sizes(_items(known, "data", folder).where(item.c.verified != Verified.FULL))

    def proven(self, known: str, names: Iterable[str]) -> None:
        """The content of these packs was read."""
        with self._writer.begin() as db:
            of_kind = and_(item.c.manifest == _seq(db, known), item.c.kind == "data")
            for part in rows.parts(map(bytes.fromhex, names)):
                db.execute(update(item).where(of_kind, item.c.name.in_(part)).values(verified=Verified.FULL))

    def remove(self, known: str, kind: str, names: Iterable[str]) -> None:
        """These were admitted, and are gone because we removed them ourselves."""
        with self._writer.begin() as db:
            of_kind = and_(item.c.manifest == _seq(db, known), item.c.kind == kind)
            for part in rows.parts(map(bytes.fromhex, names)):
                db.execute(delete(item).where(of_kind, item.c.name.in_(part)))

    def change_key(
        self, known: str, key: str | None, *, add: Mapping[str, int] | None = None, drop: Iterable[str] = ()
    ) -> None:
        """Which key file is ours (None = any that was admitted), and which were made or removed by us."""
        with self._writer.begin() as db:
            db.execute(update(repository).where(repository.c.id == known).values(key=key))
            seq = db.execute(select(manifest.c.seq).where(manifest.c.repository == known)).scalar()
            if seq is not None:
                _add(db, seq, "keys", add or {}, Verified.FULL, OURS)
                gone = [bytes.fromhex(name) for name in drop]
                of_kind = and_(item.c.manifest == seq, item.c.kind == "keys")
                db.execute(delete(item).where(of_kind, item.c.name.in_(gone)))

    def add_snapshot(self, value: Receipt, known: str, size: int) -> None:
        """A snapshot that was inspected, and its receipt, together."""
        with self._writer.begin() as db:
            db.execute(delete(receipt).where(receipt.c.repository == known, receipt.c.reference == value.id))
            db.execute(insert(receipt).values(**rows.receipt_values(value, known)))
            recount(db, known)
            _add(db, _seq(db, known), "snapshots", {value.id: size}, value.verified, value.run)

    def weakest(self, known: str) -> Verified:
        """How far the least inspected pack was inspected."""
        query = _items(known, "data").where(item.c.verified != Verified.FULL).limit(1)
        with self._engine.connect() as db:
            return Verified.FULL if db.execute(query).first() is None else Verified.STRUCTURE

    def looked(self, known: str, folders: Mapping[str, int]) -> None:
        """Remember in which state of its folders nothing was left to look at."""
        self._set(known, folders=json.dumps(folders))

    def reread(self, known: str, reason: str | None) -> None:
        """Have the next run read every file again, for this reason; None: one did, and was admitted."""
        self._set(known, reread=reason, **({"since": 0} if reason is None else {}))

    def count(self, known: str) -> None:
        """One more run was admitted that read changed files alone."""
        self._set(known, since=manifest.c.since + 1)

    def work_begins(self, known: str, run: str) -> None:
        """A run of ours is about to change admitted files: retention removes snapshots and packs."""
        self._set(known, own=run)

    def settle(self, known: str, run: str, kinds: Mapping[str, Mapping[str, int]]) -> None:
        """What lies there after our own work is what is admitted: files with their sizes, by kind."""
        with self._writer.begin() as db:
            seq = _seq(db, known)
            for kind, names in kinds.items():
                of_kind = and_(item.c.manifest == seq, item.c.kind == kind)
                have = {bytes(name) for name in db.execute(select(item.c.name).where(of_kind)).scalars()}
                wanted = {bytes.fromhex(name) for name in names}
                for part in rows.parts(have - wanted):
                    db.execute(delete(item).where(of_kind, item.c.name.in_(part)))
                fresh = {name.hex(): names[name.hex()] for name in wanted - have}
                _add(db, seq, kind, fresh, Verified.FULL, run)
            db.execute(update(manifest).where(manifest.c.seq == seq).values(own=None, folders="{}"))

    def drop(self, name: str) -> None:
        """Forget what was admitted of a source's repository; receipts and the records of the quarantine stay."""
        with self._writer.begin() as db:
            uid = select(source.c.uid).where(source.c.name == name).scalar_subquery()
            ids = select(repository.c.id).where(repository.c.source == uid).scalar_subquery()
            seqs = select(manifest.c.seq).where(manifest.c.repository == ids).scalar_subquery()
            db.execute(delete(item).where(item.c.manifest == seqs))
            db.execute(delete(manifest).where(manifest.c.repository == ids))

    def forget(self, db: Connection, known: Any) -> None:
        """Remove everything about a repository, within a transaction of the caller's."""
        seqs = select(manifest.c.seq).where(manifest.c.repository == known).scalar_subquery()
        db.execute(delete(item).where(item.c.manifest == seqs))
        db.execute(delete(manifest).where(manifest.c.repository == known))
        db.execute(delete(quarantine).where(quarantine.c.repository == known))

    def _sizes(self, query: Select[Any]) -> dict[str, int]:
        with self._engine.connect() as db:
            return {bytes(row.name).hex(): row.size for row in db.execute(query)}

    def _set(self, known: str, **values: Any) -> None:
        with self._writer.begin() as db:
            db.execute(update(manifest).where(manifest.c.repository == known).values(**values))


class Quarantine:
    """What was set aside, in all repositories."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def add(self, known: str, found: Iterable[Quarantined]) -> None:
        """Write down what is about to be set aside; what is recorded of this run already stays as it is."""
        with self._writer.begin() as db:
            for each in found:
                there = db.execute(
                    select(quarantine.c.seq).where(
                        quarantine.c.repository == known, quarantine.c.run == each.run,
                        quarantine.c.kind == each.kind, quarantine.c.name == each.name,
                    )
                ).first()  # fmt: skip
                if there is None:
                    db.execute(
                        insert(quarantine).values(
                            repository=known, run=each.run, time=each.time, kind=each.kind, name=each.name,
                            bytes=each.bytes, reason=each.reason, state=each.state,
                        )
                    )  # fmt: skip

    def list(self, name: str | None = None, *, all_states: bool = False) -> list[Quarantined]:
        """What was set aside, oldest first; unless asked for all, what is still there."""
        query = _quarantined().order_by(quarantine.c.seq)
        if name is not None:
            query = query.where(source.c.name == name)
        if not all_states:
            query = query.where(quarantine.c.state == QuarantineState.KEPT)
        with self._engine.connect() as db:
            return [_record(row) for row in db.execute(query)]

    def one(self, number: int) -> Quarantined:
        """One record.

        Raises:
            NotFound: there is none of this number.
        """
        with self._engine.connect() as db:
            row = db.execute(_quarantined().where(quarantine.c.seq == number)).first()
        if row is None:
            raise NotFound(
                f"nothing with the number {number} was set aside", "`pbs quarantine list` names what was"
            )
        return _record(row)

    def kept_bytes(self, known: str) -> int:
        """How much lies in the quarantine of a repository."""
        query = select(func.coalesce(func.sum(quarantine.c.bytes), 0)).where(
            quarantine.c.repository == known, quarantine.c.state == QuarantineState.KEPT
        )
        with self._engine.connect() as db:
            return int(db.execute(query).scalar_one())

    def discarded(self, numbers: Iterable[int]) -> None:
        """Write down that a person had these removed."""
        with self._writer.begin() as db:
            for part in rows.parts(numbers):
                db.execute(
                    update(quarantine)
                    .where(quarantine.c.seq.in_(part))
                    .values(state=QuarantineState.DISCARDED)
                )


def _quarantined() -> Select[Any]:
    return (
        select(quarantine, source.c.name.label("source"))
        .join(repository, repository.c.id == quarantine.c.repository)
        .join(source, source.c.uid == repository.c.source)
    )


def _record(row: Row[Any]) -> Quarantined:
    return Quarantined(
        source=row.source, run=row.run, time=row.time, kind=row.kind, name=row.name, bytes=row.bytes,
        reason=row.reason, state=QuarantineState(row.state), id=row.seq,
    )  # fmt: skip


def _items(known: str, kind: str, folder: str = "") -> Select[Any]:
    """The names and sizes of admitted files of a kind; of packs, those of one folder where one is given."""
    query = (
        select(item.c.name, item.c.size)
        .join(manifest, manifest.c.seq == item.c.manifest)
        .where(manifest.c.repository == known, item.c.kind == kind)
    )
    if folder:
        first = bytes.fromhex(folder)
        query = query.where(item.c.name >= first.ljust(32, b"\0"), item.c.name <= first.ljust(32, b"\xff"))
    return query


def _manifest(row: Row[Any]) -> Manifest:
    return Manifest(
        repository=row.repository,
        config=row.config,
        folders=json.loads(row.folders),
        reread=row.reread,
        since=row.since,
        own=row.own,
    )


def _seq(db: Connection, known: str) -> int:
    seq = db.execute(select(manifest.c.seq).where(manifest.c.repository == known)).scalar()
    if seq is None:
        raise LedgerError(f"the repository {known[:8]} has no manifest", "the next run makes it")
    return int(seq)


def _add(db: Connection, seq: int, kind: str, names: Mapping[str, int], verified: Verified, run: str) -> None:
    have: set[bytes] = set()
    for part in rows.parts(map(bytes.fromhex, names)):
        query = select(item.c.name).where(item.c.manifest == seq, item.c.kind == kind, item.c.name.in_(part))
        have |= {bytes(name) for name in db.execute(query).scalars()}
    made = [
        {
            "manifest": seq,
            "kind": kind,
            "name": bytes.fromhex(name),
            "size": size,
            "verified": verified,
            "run": run,
        }
        for name, size in names.items()
        if bytes.fromhex(name) not in have
    ]
    if made:
        db.execute(insert(item), made)

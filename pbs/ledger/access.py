"""Who may ask over TCP, and who asked for what: tokens, logins, the audit. It holds digests, never a secret."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, delete, insert, select, update

from pbs.errors import NotFound, UsageError
from pbs.ledger.engine import writer
from pbs.ledger.schema import entry, session, token

SEEN_SECONDS = 60.0
MOST_SESSIONS = 200
MOST_WRITTEN = 20_000
AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Token:
    """What lets somebody ask over TCP, without the secret itself. `role` is `viewer` or `operator`."""

    id: str
    name: str
    role: str
    made: datetime
    expires: datetime | None = None
    used: datetime | None = None
    removed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A login of a browser. `token` is the id of the token that was typed."""

    digest: str
    name: str
    token: str
    role: str
    made: datetime
    seen: datetime
    expires: datetime


class Access:
    """Tokens, logins and the audit of one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def add_token(self, name: str, role: str, digest: str, now: datetime, expires: datetime | None) -> Token:
        """Remember a token by its digest.

        Raises:
            UsageError: one of this name is in force.
        """
        made = Token(uuid.uuid4().hex, name, role, now, expires)
        with self._writer.begin() as db:
            there = db.execute(
                select(token.c.id).where(token.c.name == name, token.c.removed.is_(None))
            ).first()
            if there is not None:
                raise UsageError(
                    f"there is a token {name} already",
                    f"take another name, or `pbs token remove {name}` first",
                )
            db.execute(
                insert(token).values(
                    id=made.id, name=name, role=role, digest=digest, made=now, expires=expires
                )
            )
        return made

    def tokens(self) -> list[Token]:
        """The tokens that nobody removed, oldest first."""
        with self._engine.connect() as db:
            query = select(token).where(token.c.removed.is_(None)).order_by(token.c.made, token.c.id)
            return [_token(row) for row in db.execute(query)]

    def remove_token(self, name: str, now: datetime) -> None:
        """Have a token, and every login that was made with it, count no more.

        Raises:
            NotFound: there is none.
        """
        with self._writer.begin() as db:
            found = db.execute(
                select(token.c.id).where(token.c.name == name, token.c.removed.is_(None))
            ).scalar()
            if found is None:
                raise NotFound(f"there is no token {name!r}", "`pbs token list` names them")
            db.execute(update(token).where(token.c.id == found).values(removed=now))
            db.execute(delete(session).where(session.c.name == f"{name}:{found}"))

    def token(self, digest: str, now: datetime) -> Token | None:
        """The token that is in force and has this digest; that it was used is remembered, to the minute."""
        with self._engine.connect() as db:
            row = db.execute(select(token).where(token.c.digest == digest)).first()
        found = _token(row) if row is not None else None
        if found is None or not _in_force(found, now):
            return None
        if found.used is None or now - found.used > timedelta(seconds=SEEN_SECONDS):
            with self._writer.begin() as db:
                db.execute(update(token).where(token.c.id == found.id).values(used=now))
        return found

    # logins

    def add_session(self, made: Session) -> None:
        """Remember a login; those that are over are forgotten, and of too many the oldest."""
        with self._writer.begin() as db:
            db.execute(delete(session).where(session.c.expires < made.made))
            kept = select(session.c.digest).order_by(session.c.seen.desc()).limit(MOST_SESSIONS - 1)
            db.execute(delete(session).where(session.c.digest.not_in(list(db.execute(kept).scalars()))))
            values = {"digest": made.digest, "role": made.role, "made": made.made, "seen": made.seen}
            name = f"{made.name}:{made.token}"
            db.execute(insert(session).values(**values, name=name, expires=made.expires))

    def session(self, digest: str, now: datetime, idle: timedelta, own: str) -> Session | None:
        """The login that has this digest, is not over, was not left alone for too long, and whose token is in force.

        `own` is the id of the operator's token, which is no row here.
        """
        with self._engine.connect() as db:
            row = db.execute(select(session).where(session.c.digest == digest)).first()
            if row is None:
                return None
            name, _, identity = row.name.partition(":")
            found = Session(row.digest, name, identity, row.role, row.made, row.seen, row.expires)
            if found.expires <= now or now - found.seen > idle:
                return None
            if identity != own:
                kept = db.execute(select(token).where(token.c.id == identity)).first()
                if kept is None or not _in_force(_token(kept), now):
                    return None
        if now - found.seen > timedelta(seconds=SEEN_SECONDS):
            with self._writer.begin() as db:
                db.execute(update(session).where(session.c.digest == digest).values(seen=now))
        return found

    def end_session(self, digest: str) -> None:
        """Forget a login."""
        with self._writer.begin() as db:
            db.execute(delete(session).where(session.c.digest == digest))

    # the audit

    def write_down(self, now: datetime, detail: dict[str, Any]) -> None:
        """Add to the audit; of too many entries the oldest go."""
        with self._writer.begin() as db:
            made = db.execute(insert(entry).values(time=now, name=AUDIT, detail=json.dumps(detail)))
            seq = (made.inserted_primary_key or (0,))[0]
            if seq % 100 == 0:
                mine = entry.c.source.is_(None), entry.c.name == AUDIT
                oldest = (
                    select(entry.c.seq)
                    .where(*mine)
                    .order_by(entry.c.seq.desc())
                    .offset(MOST_WRITTEN)
                    .limit(1)
                )
                db.execute(delete(entry).where(*mine, entry.c.seq <= oldest.scalar_subquery()))

    def written(self, limit: int, before: int | None = None) -> list[tuple[int, datetime, dict[str, Any]]]:
        """The newest entries of the audit, newest first, each with its number."""
        query = select(entry.c.seq, entry.c.time, entry.c.detail).where(
            entry.c.source.is_(None), entry.c.name == AUDIT
        )
        if before is not None:
            query = query.where(entry.c.seq < before)
        with self._engine.connect() as db:
            found = db.execute(query.order_by(entry.c.seq.desc()).limit(limit))
            return [(row.seq, row.time, json.loads(row.detail)) for row in found]


def _token(row: Row[Any]) -> Token:
    return Token(row.id, row.name, row.role, row.made, row.expires, row.used, row.removed)


def _in_force(found: Token, now: datetime) -> bool:
    return found.removed is None and (found.expires is None or now < found.expires)

"""The tables, as SQLAlchemy Core knows them.

Times are RFC 3339 text in UTC with a fixed width, so that text order is time order on any database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

HEAD = "0009"
# What a run printed is cut to so much when it is old; a migration knows the number too.
SHORT_OUTPUT = 2000
LONG_OUTPUT = text(f"length(output) > {SHORT_OUTPUT + 100}")


class Moment(TypeDecorator[datetime]):
    """A moment in UTC as text of fixed width."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:  # noqa: ARG002 - the base class decides
        """To text."""
        if value is None:
            return None
        # Not strftime: it writes the year 1, which a source may claim, without zeros, and nobody could read it back.
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:  # noqa: ARG002
        """From text."""
        if value is None:
            return None
        # Forty times as fast as strptime, which is felt where a thousand sources are looked at.
        return datetime.fromisoformat(value)


metadata = MetaData()

source = Table(
    "source",
    metadata,
    Column("uid", String(32), primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("server", String(64), nullable=False),
    Column("added", Moment, nullable=False),
    Column("removed", Moment),
)

repository = Table(
    "repository",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("source", String(32), ForeignKey("source.uid"), nullable=False, unique=True),
    Column("engine", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("key", String(64)),
    Column("created", Moment, nullable=False),
    # Its size on the disk when a run of it ended for the last time.
    Column("bytes", BigInteger),
    # How many of its snapshots can be restored.
    Column("snapshots", Integer, nullable=False, default=0, server_default="0"),
)

run = Table(
    "run",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(120), nullable=False, unique=True),
    Column("source", String(63), nullable=False),
    Column("clone", String(63)),
    Column("kind", String(16), nullable=False),
    Column("cause", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("lease", String(64)),
    Column("outcome", String(16)),
    Column("queued", Moment, nullable=False),
    Column("started", Moment),
    Column("ended", Moment),
    Column("snapshot", String(64)),
    Column("files", Integer),
    Column("bytes", Integer),
    Column("added_bytes", Integer),
    Column("stored_bytes", Integer),
    Column("tunnel_bytes", Integer),
    Column("warnings", Integer, nullable=False, default=0),
    Column("message", Text),
    Column("hint", Text),
    Column("output", Text),
    # When it should have begun by its schedule; before when it must not be claimed; which try it is, and of what.
    Column("due", Moment),
    Column("not_before", Moment),
    Column("attempt", Integer, nullable=False, default=1, server_default="1"),
    Column("retry_of", String(120)),
    # When, and by whom, it was asked to stop.
    Column("cancel", Moment),
    Column("cancelled_by", String(120)),
    # What else it was asked for with, as JSON.
    Column("options", Text),
    # What kind of error ended it, as one word.
    Column("code", String(32)),
    Index("run_by_source", "source", "seq"),
    Index("run_by_outcome", "source", "outcome", "seq"),
    # The newest of each kind and outcome, and how many and how much in all, without a look at the rows.
    Index("run_by_kind", "source", "kind", "outcome", "seq", "tunnel_bytes", "stored_bytes"),
    Index("run_by_state", "state", "source"),
    # The newest that are over, of all sources and of one: what a feed shows, however many there ever were.
    Index("run_by_end", "ended"),
    Index("run_by_source_end", "source", "ended"),
    # Those that printed much, which is let go of with age: few of all there ever were.
    Index("run_by_long_output", "ended", sqlite_where=LONG_OUTPUT),
)

receipt = Table(
    "receipt",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("repository", String(64), ForeignKey("repository.id"), nullable=False),
    Column("reference", String(64), nullable=False),
    Column("run", String(120), nullable=False),
    Column("received", Moment, nullable=False),
    Column("time", Moment, nullable=False),
    Column("claimed", Moment),
    Column("state", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("verified", String(16), nullable=False),
    Column("paths", Text, nullable=False),
    Column("files", Integer),
    Column("bytes", Integer),
    Column("added_bytes", Integer),
    Column("root", Text),
    Column("pinned", Boolean, nullable=False, default=False),
    Column("reason", Text),
    # Why it is pinned; the run that is about to forget it.
    Column("note", Text),
    Column("leaving", String(120)),
    # The root of its tree: a later snapshot of the same tree needs no second look at it.
    Column("tree", String(64)),
    UniqueConstraint("repository", "reference"),
    Index("receipt_by_time", "repository", "time"),
    # Also how many can be used, without a look at the rows.
    Index("receipt_by_state", "repository", "state", "time", "leaving"),
)

# Where else a received snapshot lies (clones, vaults): rows, not columns.
copy = Table(
    "copy",
    metadata,
    Column("receipt", Integer, ForeignKey("receipt.seq"), primary_key=True),
    Column("place", String(120), primary_key=True),
    Column("verified", Moment),
)

entry = Table(
    "event",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("time", Moment, nullable=False),
    Column("source", String(63)),
    Column("run", String(120)),
    Column("name", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Index("event_by_source", "source", "name"),
)

# How far the schedule of a source has been dealt with: every slot up to `seen` became a run, or a missed one.
slot = Table(
    "slot",
    metadata,
    Column("source", String(63), primary_key=True),
    Column("schedule", Text, nullable=False),
    Column("seen", Moment, nullable=False),
)

# Who may ask over TCP; only a digest of what they know is kept.
token = Table(
    "token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("made", Moment, nullable=False),
    Column("expires", Moment),
    Column("used", Moment),
    Column("removed", Moment),
)

session = Table(
    "session",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("role", String(16), nullable=False),
    Column("made", Moment, nullable=False),
    Column("seen", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
)

# When the packs of each folder below data/ were read again for the last time, and how many bytes that were.
reading = Table(
    "reading",
    metadata,
    Column("repository", String(64), ForeignKey("repository.id"), primary_key=True),
    Column("folder", String(2), primary_key=True),
    Column("read", Moment, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# Packs that were found damaged: which snapshots they touch, which blobs were lost, and what became of them.
damage = Table(
    "damage",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("repository", String(64), ForeignKey("repository.id"), nullable=False),
    Column("pack", String(64), nullable=False),
    Column("run", String(120), nullable=False),
    Column("found", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("snapshots", Text, nullable=False),
    Column("blobs", Text, nullable=False),
    Column("ended", Moment),
    UniqueConstraint("repository", "pack"),
)


# What was admitted of a repository, file by file: everything else that lies there is not.
manifest = Table(
    "manifest",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("repository", String(64), ForeignKey("repository.id"), nullable=False, unique=True),
    Column("config", String(64), nullable=False),
    # Pack folders in which nothing was left to look at, with their modification times in nanoseconds.
    Column("folders", Text, nullable=False),
    # Why the next run must read every file again; how many were admitted since one did.
    Column("reread", Text),
    Column("since", Integer, nullable=False, default=0),
    # The run of ours that changes admitted files just now.
    Column("own", String(120)),
)

item = Table(
    "object",
    metadata,
    Column("manifest", Integer, ForeignKey("manifest.seq"), primary_key=True),
    Column("kind", String(9), primary_key=True),
    Column("name", LargeBinary(32), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("verified", String(16), nullable=False),
    Column("run", String(120), nullable=False),
    sqlite_with_rowid=False,
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("repository", String(64), ForeignKey("repository.id"), nullable=False),
    Column("run", String(120), nullable=False),
    Column("time", Moment, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Index("quarantine_by_repository", "repository", "seq"),
)

# How each promise stood at the last look, and since when; those of the server have no source.
promise = Table(
    "promise",
    metadata,
    Column("source", String(63), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("since", Moment, nullable=False),
)

# What was told of which promise, and when, by each channel of messages.
told = Table(
    "told",
    metadata,
    Column("channel", String(63), primary_key=True),
    Column("source", String(63), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("time", Moment, nullable=False),
)

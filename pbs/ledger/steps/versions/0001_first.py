"""The first schema: sources, repositories, runs, receipts, copies, events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    moment = sa.String(27)
    op.create_table(
        "source",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False, unique=True),
        sa.Column("server", sa.String(64), nullable=False),
        sa.Column("added", moment, nullable=False),
        sa.Column("removed", moment),
    )
    op.create_table(
        "repository",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("source", sa.String(32), sa.ForeignKey("source.uid"), nullable=False, unique=True),
        sa.Column("engine", sa.String(16), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("created", moment, nullable=False),
    )
    _runs(moment)
    _receipts(moment)
    op.create_table(
        "event",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time", moment, nullable=False),
        sa.Column("source", sa.String(63)),
        sa.Column("run", sa.String(120)),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("event_by_source", "event", ["source", "name"])


def _runs(moment: sa.String) -> None:
    op.create_table(
        "run",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(120), nullable=False, unique=True),
        sa.Column("source", sa.String(63), nullable=False),
        sa.Column("clone", sa.String(63)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("lease", sa.String(64)),
        sa.Column("outcome", sa.String(16)),
        sa.Column("queued", moment, nullable=False),
        sa.Column("started", moment),
        sa.Column("ended", moment),
        sa.Column("snapshot", sa.String(64)),
        sa.Column("files", sa.Integer),
        sa.Column("bytes", sa.Integer),
        sa.Column("added_bytes", sa.Integer),
        sa.Column("stored_bytes", sa.Integer),
        sa.Column("tunnel_bytes", sa.Integer),
        sa.Column("warnings", sa.Integer, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("hint", sa.Text),
        sa.Column("output", sa.Text),
    )
    op.create_index("run_by_source", "run", ["source", "seq"])
    op.create_index("run_by_state", "run", ["state", "source"])
    op.create_index("run_by_end", "run", ["ended"])


def _receipts(moment: sa.String) -> None:
    op.create_table(
        "receipt",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("repository", sa.String(64), sa.ForeignKey("repository.id"), nullable=False),
        sa.Column("reference", sa.String(64), nullable=False),
        sa.Column("run", sa.String(120), nullable=False),
        sa.Column("received", moment, nullable=False),
        sa.Column("time", moment, nullable=False),
        sa.Column("claimed", moment),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("verified", sa.String(16), nullable=False),
        sa.Column("paths", sa.Text, nullable=False),
        sa.Column("files", sa.Integer),
        sa.Column("bytes", sa.Integer),
        sa.Column("added_bytes", sa.Integer),
        sa.Column("root", sa.Text),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.UniqueConstraint("repository", "reference"),
    )
    op.create_index("receipt_by_time", "receipt", ["repository", "time"])
    op.create_table(
        "copy",
        sa.Column("receipt", sa.Integer, sa.ForeignKey("receipt.seq"), primary_key=True),
        sa.Column("place", sa.String(120), primary_key=True),
        sa.Column("verified", moment),
    )

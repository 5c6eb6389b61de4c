"""For a service that decides by itself: slots of schedules, retries, wishes to cancel, tokens and logins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns to runs, and the tables of slots, tokens and sessions."""
    moment = sa.String(27)
    for column in (
        sa.Column("due", moment),
        sa.Column("not_before", moment),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("retry_of", sa.String(120)),
        sa.Column("cancel", moment),
        sa.Column("cancelled_by", sa.String(120)),
    ):
        op.add_column("run", column)
    op.create_index("run_by_outcome", "run", ["source", "outcome", "seq"])
    op.create_table(
        "slot",
        sa.Column("source", sa.String(63), primary_key=True),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("seen", moment, nullable=False),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("made", moment, nullable=False),
        sa.Column("expires", moment),
        sa.Column("used", moment),
        sa.Column("removed", moment),
    )
    op.create_table(
        "session",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("made", moment, nullable=False),
        sa.Column("seen", moment, nullable=False),
        sa.Column("expires", moment, nullable=False),
    )

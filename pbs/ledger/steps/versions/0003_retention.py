"""For retention and verification: what runs were asked with, what is about to be forgotten, what was re-read, damage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns to runs and receipts, and the tables of readings and damage."""
    moment = sa.String(27)
    op.add_column("run", sa.Column("options", sa.Text))
    op.add_column("receipt", sa.Column("note", sa.Text))
    op.add_column("receipt", sa.Column("leaving", sa.String(120)))
    op.create_table(
        "reading",
        sa.Column("repository", sa.String(64), sa.ForeignKey("repository.id"), primary_key=True),
        sa.Column("folder", sa.String(2), primary_key=True),
        sa.Column("read", moment, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "damage",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("repository", sa.String(64), sa.ForeignKey("repository.id"), nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("run", sa.String(120), nullable=False),
        sa.Column("found", moment, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("snapshots", sa.Text, nullable=False),
        sa.Column("blobs", sa.Text, nullable=False),
        sa.Column("ended", moment),
        sa.UniqueConstraint("repository", "pack"),
    )

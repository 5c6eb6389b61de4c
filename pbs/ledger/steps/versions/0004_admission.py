"""For admission: what was admitted of each repository, file by file, and what was set aside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables of manifests, their objects and the quarantine, and the tree of a receipt."""
    repository = sa.String(64)
    op.add_column("receipt", sa.Column("tree", sa.String(64)))
    op.create_table(
        "manifest",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("repository", repository, sa.ForeignKey("repository.id"), nullable=False, unique=True),
        sa.Column("config", sa.String(64), nullable=False),
        sa.Column("folders", sa.Text, nullable=False),
        sa.Column("reread", sa.Text),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("own", sa.String(120)),
    )
    op.create_table(
        "object",
        sa.Column("manifest", sa.Integer, sa.ForeignKey("manifest.seq"), primary_key=True),
        sa.Column("kind", sa.String(9), primary_key=True),
        sa.Column("name", sa.LargeBinary(32), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("verified", sa.String(16), nullable=False),
        sa.Column("run", sa.String(120), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quarantine",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("repository", repository, sa.ForeignKey("repository.id"), nullable=False),
        sa.Column("run", sa.String(120), nullable=False),
        sa.Column("time", sa.String(27), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
    )
    op.create_index("quarantine_by_repository", "quarantine", ["repository", "seq"])

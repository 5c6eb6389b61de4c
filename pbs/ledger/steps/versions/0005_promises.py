"""For promises: how each stands and since when, what ended a run, sizes of repositories, and what is asked of all sources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table of promises, two columns, and the indexes that answer for all sources at once."""
    op.add_column("run", sa.Column("code", sa.String(32)))
    op.add_column("repository", sa.Column("bytes", sa.BigInteger))
    columns = ["source", "kind", "outcome", "seq", "tunnel_bytes", "stored_bytes"]
    op.create_index("run_by_kind", "run", columns)
    op.create_index("receipt_by_state", "receipt", ["repository", "state", "time"])
    op.create_table(
        "promise",
        sa.Column("source", sa.String(63), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.String(27), nullable=False),
    )

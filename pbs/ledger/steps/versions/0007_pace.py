"""For feeds and lists of many sources: what is over, by source and end; how many snapshots can be used, from an index alone."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add an index, and a column to another."""
    op.create_index("run_by_source_end", "run", ["source", "ended"])
    op.drop_index("receipt_by_state", "receipt")
    op.create_index("receipt_by_state", "receipt", ["repository", "state", "time", "leaving"])

"""How many snapshots of a repository can be restored, kept beside it: everybody asks, and counting millions takes seconds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add a column, and count once."""
    op.add_column("repository", sa.Column("snapshots", sa.Integer, nullable=False, server_default="0"))
    op.execute(
        "UPDATE repository SET snapshots = (SELECT count(*) FROM receipt WHERE receipt.repository = repository.id "
        "AND receipt.state IN ('admitted', 'legacy') AND receipt.leaving IS NULL)"
    )

"""For letting go of what old runs printed: those that printed much are found without a look at all there ever were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add an index of those alone."""
    op.create_index("run_by_long_output", "run", ["ended"], sqlite_where=sa.text("length(output) > 2100"))

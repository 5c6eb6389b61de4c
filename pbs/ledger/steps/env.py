"""What Alembic runs for each upgrade: it uses the connection that it is handed and never opens one."""

from __future__ import annotations

from alembic import context

from pbs.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()

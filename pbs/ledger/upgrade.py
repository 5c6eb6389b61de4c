"""Brings the ledger's schema forward, under a lock, after a copy of the file. Only `init` and `serve` call it.

The only door to Alembic, which costs 45 MB of memory: nothing else may import it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from pbs.errors import SchemaMismatch
from pbs.files import PRIVATE_FILE, explained, locked
from pbs.ledger.engine import make_engine, writer
from pbs.ledger.files import copy
from pbs.ledger.store import schema_version

_STEPS = Path(__file__).parent / "steps"
BEFORE = ".before-"
# The second newest is what a step that went wrong, and was mended by the next, leaves to go back to.
KEPT = 2


def upgrade(path: Path, lock: Path) -> bool:
    """Make the ledger at `path` what this version expects; True where something had to be done.

    The old file stays beside it as `NAME.before-REVISION`, until two more upgrades have left theirs.

    Raises:
        SchemaMismatch: the ledger was written by a newer version.
        LedgerError: another process upgrades it, or the file is no ledger.
    """
    config = Config()
    config.set_main_option("script_location", str(_STEPS))
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head()
    with locked(lock, what="the ledger"), explained("open the ledger", path):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, PRIVATE_FILE))
        engine = make_engine(path)
        try:
            current = schema_version(engine)
            if current == head:
                return False
            if current is not None:
                _known(script, current)
                copy(path, path.with_name(f"{path.name}{BEFORE}{head}"))
            with writer(engine).begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            _drop_older(script, path)
        finally:
            engine.dispose()
    return True


def _drop_older(script: ScriptDirectory, path: Path) -> None:
    """Remove what earlier upgrades left, but for the newest: each is as large as the ledger was. Of files of others, nothing."""
    steps = [path.with_name(f"{path.name}{BEFORE}{step.revision}") for step in script.walk_revisions()]
    for each in [step for step in steps if step.exists()][KEPT:]:
        with suppress(OSError):
            each.unlink()


def _known(script: ScriptDirectory, revision: str) -> None:
    if revision not in {step.revision for step in script.walk_revisions()}:
        raise SchemaMismatch(
            f"the ledger has schema {revision}, which this version of pbs does not know",
            "it was written by a newer pbs: install that version again",
        )

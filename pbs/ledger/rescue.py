"""Reads a ledger whose disk takes nothing more (full, or mounted read-only): from a copy elsewhere, for a short time.

SQLite cannot even read without writing a file beside the ledger, and somebody may want a backup back just then. It
never writes to the ledger, and lets nobody write to the copy: what is only in a copy would be lost.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import Engine

from pbs.files import SYSTEM_TEMPORARY, explained
from pbs.ledger.engine import engine_on

NO_ROOM = ("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY")


def may_help(error: BaseException | None) -> bool:
    """Whether a copy on another disk could be read where the ledger itself cannot."""
    return isinstance(error, sqlite3.Error) and str(getattr(error, "sqlite_errorname", "")).startswith(
        NO_ROOM
    )


def engine_of_copy(path: Path) -> Engine:
    """An engine on a copy that ends with this process.

    Raises:
        HomeError: no copy can be made either.
    """
    with explained("copy the ledger to read it", SYSTEM_TEMPORARY):
        folder = Path(tempfile.mkdtemp(prefix="pbs-ledger-", dir=SYSTEM_TEMPORARY))
        try:
            # What was written last may still be in the file beside it.
            for name in (path, path.with_name(f"{path.name}-wal")):
                if name.exists():
                    shutil.copyfile(name, folder / name.name)
            copy = sqlite3.connect(folder / path.name, check_same_thread=False)
            # This takes the other file in; from then on one file is all, and it needs no name.
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("PRAGMA query_only=ON")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return engine_on(copy, path)

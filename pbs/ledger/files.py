"""The ledger as a file: is it sound, and a copy of it while others write. It never changes the file that it looks at."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from pbs.errors import LedgerError
from pbs.files import PRIVATE_FILE
from pbs.ledger.engine import BUSY_SECONDS, explain

MOST_FAULTS = 10
# A database in WAL mode is three files; one of them alone is none.
PARTS = ("", "-wal", "-shm")


def faults(path: Path) -> list[str]:
    """What is wrong with the ledger at `path`, at most ten sentences; none where it is sound.

    Reads all of it: pages, indexes, and whether every row that another one names is there.
    """
    if not path.is_file():
        return ["there is no ledger"]
    try:
        # Not read-only: what was written last may still be in the file beside it.
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as database:
            found = [row[0] for row in database.execute(f"PRAGMA integrity_check({MOST_FAULTS})")]
            broken = database.execute("PRAGMA foreign_key_check").fetchmany(MOST_FAULTS)
            found += [f"a row of {row[0]} names one of {row[2]} that is not there" for row in broken]
            if not broken and not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                found.append("it is empty")
    except sqlite3.Error as error:
        return [str(explain(error, path).message)]
    return [str(each) for each in found if each != "ok"][:MOST_FAULTS]


def empty(path: Path) -> bool:
    """Whether nothing was ever written there: no file, one without a byte, or a database without a table."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as database:
            return database.execute("SELECT 1 FROM sqlite_master").fetchone() is None
    except sqlite3.Error:
        return False  # something was, and is damaged now


def journal_mode(path: Path) -> str:
    """How the ledger keeps its promises over a power loss: `wal` is what it should be."""
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as database:
        return str(database.execute("PRAGMA journal_mode").fetchone()[0])


def copy(path: Path, target: Path) -> None:
    """A whole copy of the ledger as it is at one moment, also while others write; `target` is then private.

    Raises:
        LedgerError: it could not be read or written; nothing was changed.
    """
    # In the place of an older copy only when it is whole: that one may be the last that is sound.
    unfinished = target.with_name(f"{target.name}.new")
    try:
        unfinished.touch(PRIVATE_FILE)
        with (
            closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as old,
            closing(sqlite3.connect(unfinished)) as new,
        ):
            old.backup(new)
        unfinished.chmod(PRIVATE_FILE)
        unfinished.replace(target)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)  # half a copy is none, and takes the room that was lacking
        raise LedgerError(
            f"the ledger could not be copied to {target}: {error}", "nothing was changed; is there space?"
        ) from error

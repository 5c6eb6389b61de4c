"""The door to SQLite: engines whose transactions are real, and the database's refusals as sentences. It knows no table."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import StaticPool

from pbs.errors import LedgerError

BUSY_SECONDS = 30
LEAST_FREE_BYTES = 1 << 16


def make_engine(path: Path) -> Engine:
    """An engine whose transactions are what they say: those of `writer(engine)` take the write lock at once.

    SQLAlchemy's defaults on SQLite open no transaction before a SELECT, so two workers would claim one run.
    """
    # Not as text: a home may have a `?` or a `%` in its path.
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return _listened(engine, path)


def engine_on(connection: sqlite3.Connection, path: Path) -> Engine:
    """An engine on this one connection, which stands for the ledger at `path`."""
    connection.isolation_level = None
    return _listened(create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool), path)


def _listened(engine: Engine, path: Path) -> Engine:
    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A reader must not wait for writers, so only a writer takes the write lock, and takes it at once.
        wants_to_write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if wants_to_write else "BEGIN")

    @event.listens_for(engine, "handle_error")
    def _failed(context: ExceptionContext) -> None:
        original = context.original_exception
        # A broken constraint is for whoever wrote that row to explain.
        if isinstance(original, sqlite3.Error) and not isinstance(original, sqlite3.IntegrityError):
            raise explain(original, path)

    return engine


def _full(path: Path) -> bool:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < LEAST_FREE_BYTES or status.f_favail == 0 < status.f_files


def explain(error: sqlite3.Error, path: Path) -> LedgerError:
    """The database's refusal as one sentence that says what to do."""
    name = getattr(error, "sqlite_errorname", None) or ""
    kind = name.partition("_")[2].partition("_")[0]
    # A disk that is full shows as any of these when a file beside the ledger cannot grow.
    match "FULL" if kind in ("IOERR", "CANTOPEN") and _full(path) else kind:
        case "FULL":
            return LedgerError(
                f"the ledger {path} cannot be written: the disk is full", "free some space, then try again"
            )
        case "BUSY" | "LOCKED":
            return LedgerError(
                f"the ledger {path} is locked by another process for longer than {BUSY_SECONDS} s",
                "try again; `pbs status` shows what runs",
            )
        case "CORRUPT" | "NOTADB":
            return LedgerError(
                f"the ledger {path} is damaged: {error}",
                "`pbs stop`, then `pbs ledger rebuild`: it sets this file aside and makes the ledger anew from all that is left",
            )
        case "CANTOPEN" | "READONLY" | "PERM" | "AUTH":
            return LedgerError(
                f"the ledger {path} cannot be opened for writing: {error}",
                "is its disk mounted writable, and does the home belong to the user that runs this?",
            )
        case "IOERR":
            return LedgerError(
                f"the ledger {path} cannot be read or written: {error} ({name})",
                "is the disk full or failing? see `df` and the kernel's log",
            )
    return LedgerError(f"the ledger {path} says no: {error}", "see `pbs doctor`")


def writer(engine: Engine) -> Engine:
    """The same engine for transactions that write."""
    return engine.execution_options(write=True)

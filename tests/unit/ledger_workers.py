"""What the ledger's tests have other processes do; a module of its own, so that a fresh interpreter can import it."""

from __future__ import annotations

import resource
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig

from pbs.errors import LedgerError
from pbs.ledger import open_ledger, schema
from pbs.ledger.engine import make_engine, writer
from pbs.ledger.files import copy
from pbs.model import Cause, Ending, Kind, Outcome

NOW = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)


def claim_all(path: Path, lease: str, barrier: Any, won: Any) -> None:
    """Claim whatever waits until nothing does, as a worker would; tell what was won."""
    ledger = open_ledger(path)
    barrier.wait()
    while waiting := ledger.queue.waiting():
        for run in waiting:
            if ledger.queue.claim(run, lease, NOW, at_most=10_000) is not None:
                won.put(run.id)
    won.put(None)


def claim_beside(
    path: Path, lease: str, barrier: Any, won: Any, hosts: dict[str, str], per_host: int
) -> None:
    """Claim and end whatever waits, telling after each claim how many runs of that host go on."""
    ledger = open_ledger(path)
    barrier.wait()
    while waiting := ledger.queue.waiting():
        for run in waiting:
            claimed = ledger.queue.claim(run, lease, NOW, at_most=100, per_host=per_host, hosts=hosts)
            if claimed is None:
                continue
            beside = [each for each in ledger.queue.running() if hosts[each.source] == hosts[run.source]]
            won.put((run.id, len(beside)))
            ledger.queue.end(claimed, lease, Ending(Outcome.OK, "done"), NOW)
    won.put(None)


def full_disk(path: Path, heard: Any) -> None:
    """Write until no file may grow any more, in a process of its own: the limit cannot be taken back."""
    ledger = open_ledger(path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = path.with_name(f"{path.name}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        for number in range(100):
            ledger.queue.request(f"s{number}", Kind.PULL, Cause.ASKED, NOW)
    except LedgerError as error:
        heard.put(error.message)
    heard.put([run.source for run in ledger.queue.waiting()])


def copy_without_room(path: Path, target: Path, heard: Any) -> None:
    """Copy the ledger where no file may grow to its size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = path.stat().st_size // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        copy(path, target)
    except LedgerError as error:
        heard.put(error.message)
    heard.put("")


def write_older(path: Path, revision: str, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """A ledger as the version of this revision would have left it, with these rows."""
    engine = make_engine(path)
    script = AlembicConfig()
    script.set_main_option("script_location", str(Path(schema.__file__).parent / "steps"))
    with writer(engine).begin() as connection:
        script.attributes["connection"] = connection
        command.upgrade(script, revision)
        for statement, values in statements:
            connection.exec_driver_sql(statement, values)
    engine.dispose()

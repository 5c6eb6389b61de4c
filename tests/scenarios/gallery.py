"""Serves the pages of a home that was filled by hand: `python gallery.py HOME [SOURCES]`, for states that take a real server weeks.

Ledger, configuration and controller are the real ones; only time did not pass: runs and receipts are written into the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stage import PBS, free_port, short_folder

from pbs.controller import Controller
from pbs.home import Home
from pbs.ledger.engine import make_engine
from pbs.ledger.schema import receipt, repository, run, source
from pbs.model import Outcome, ReceiptState
from pbs.web.app import serve

NAMES = ("web", "db", "mail", "files", "git")
RUNS = 40
BAD = ("failed", "partial", "missed", "refused", "cancelled", "interrupted")
SAID = {"ok": "every file was read", "failed": "the source cannot be reached: connection refused"}


@contextmanager
def gallery(sources: int) -> Iterator[tuple[str, Path]]:
    """A home with so many sources whose pages are served: their address and the home's folder."""
    with short_folder() as folder:
        home, port = folder / "home", free_port()
        subprocess.run([*PBS, "init", str(home)], check=True, capture_output=True)
        address = f"127.0.0.1:{port}"
        (home / "pbs.toml").write_text(
            f'[server]\nlisten = "{address}"\nbase_url = "http://{address}"\n[defaults]\nschedule = "every 6h"\n'
        )
        fill(home, sources)
        process = subprocess.Popen([sys.executable, __file__, str(home)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert b"ready\n" == process.stdout.readline()
            yield f"http://{address}", home
        finally:
            process.terminate()
            process.communicate()


def fill(home: Path, sources: int) -> None:
    """Write sources with a past into configuration and ledger; every seventh is not as it should be."""
    key = " ".join((home / "etc/keys/ssh_ed25519.pub").read_text().split()[:2])
    dice, now = random.Random(1), datetime.now(UTC)
    names = [f"{NAMES[number % len(NAMES)]}{number}" for number in range(sources)]
    tables: dict[Any, list[dict[str, Any]]] = {source: [], repository: [], run: [], receipt: []}
    for number, name in enumerate(names):
        (home / "sources.d").mkdir(exist_ok=True)
        (home / f"sources.d/{name}.toml").write_text(
            f'host = "{name}.example.org"\nhost_key = "{key}"\nuser = "backup"\nendpoint = "on-demand"\n'
        )
        (home / f"srv/feeds/{name}.xml").write_text("<rss></rss>")
        tables[source].append({"uid": f"{number:032x}", "name": name, "server": "here", "added": now})
        tables[repository].append(
            {
                "id": f"{number:064x}",
                "source": f"{number:032x}",
                "engine": "restic",
                "path": name,
                "created": now,
            }
        )
        _past(tables, name, number, dice, now)
    engine = make_engine(home / "var/lib/ledger.sqlite")
    with engine.execution_options(write=True).begin() as db:
        for table, rows in tables.items():
            if rows:
                db.execute(table.insert(), rows)
    engine.dispose()


def _past(
    tables: dict[Any, list[dict[str, Any]]], name: str, number: int, dice: random.Random, now: datetime
) -> None:
    size = dice.randrange(10**8, 10**11)
    for count in range(RUNS if number % 50 != 49 else 0):
        left = RUNS - count
        begun = now - timedelta(hours=6 * left, seconds=dice.randrange(900))
        sick = (number % 7 == 3 and left < 4) or dice.random() < 0.03
        outcome = BAD[number % len(BAD)] if sick else "ok"
        size = int(size * (1 + dice.random() * 0.02 - 0.008))
        added, read = dice.randrange(10**5, 10**8), outcome in ("ok", "partial")
        identity = f"{begun:%Y%m%dT%H%M%SZ}-{name}-pull-{count:08x}"
        snapshot = f"{dice.getrandbits(256):064x}" if read else None
        tables[run].append({
            "id": identity, "source": name, "kind": "pull", "cause": "due", "state": "ended", "outcome": outcome,
            "queued": begun, "started": begun, "ended": begun + timedelta(seconds=dice.randrange(4, 400)),
            "snapshot": snapshot, "files": 1000 + number if read else None, "bytes": size if read else None,
            "added_bytes": added if read else None, "stored_bytes": added // 2 if read else None,
            "warnings": 0, "attempt": 1, "message": SAID.get(outcome, "not all was as it should be"),
            "hint": None if outcome == "ok" else "look at the log of the run",
        })  # fmt: skip
        if read:
            tables[receipt].append({
                "repository": f"{number:064x}", "reference": snapshot, "run": identity, "received": begun, "time": begun,
                "state": ReceiptState.ADMITTED, "outcome": Outcome(outcome), "verified": "full", "paths": '["/srv"]',
                "files": 1000 + number, "bytes": size, "added_bytes": added, "pinned": False,
            })  # fmt: skip


async def main(folder: Path) -> None:
    """Serve until told to stop."""
    home = Home.at(folder)
    controller, stop = Controller(home), asyncio.Event()
    # Its rounds would queue runs that nobody carries out.
    controller._planned = controller.clock.now()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serve(controller, home, controller.config.server):
        print("ready", flush=True)
        await stop.wait()
    controller.ledger.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))

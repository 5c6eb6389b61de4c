"""Gathers what promises are judged by: a few queries to the ledger, and one look at the disk for each source. It judges nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pbs.endpoint import listening
from pbs.home import Home
from pbs.ledger import Ledger, Vitals
from pbs.model import ServerSettings, Source
from pbs.promises.facts import Facts, FeedFile, ServerFacts
from pbs.servercopy import newest
from pbs.space import Space, space_of

SHEET = "recovery-shown"
FEED_END = b"</rss>"


def of_sources(
    home: Home,
    ledger: Ledger,
    sources: Mapping[str, Source],
    vitals: Sequence[Vitals],
    *,
    served: bool,
) -> dict[str, Facts]:
    """The facts of every source that is configured or known, by name."""
    known = {each.name: each for each in vitals}
    busy = {run.source for run in ledger.queue.running()}
    held = ledger.custody.holds(known)
    return {
        name: Facts(
            source=sources.get(name),
            vitals=known.get(name),
            busy=name in busy,
            endpoint=listening(home.endpoint_socket(name)) if served and name in sources else None,
            feed=_feed(home.feeds / f"{name}.xml"),
            held=held[name].detail["why"] if name in held else None,
        )
        for name in sorted(known.keys() | sources.keys())
    }


def of_the_server(
    home: Home,
    ledger: Ledger,
    server: ServerSettings,
    now: datetime,
    *,
    served: bool,
    planned: datetime | None = None,
    faults: Sequence[str] = (),
) -> ServerFacts:
    """The facts of the server."""
    return ServerFacts(
        now=now,
        served=served,
        planned=planned,
        space=_space(home.backups),
        reserve=server.reserve,
        copied=newest(ledger),
        copies=server.copies == "daily",
        sheet=ledger.upkeep.last_noted(SHEET) is not None,
        waiting=min((max(run.queued, run.not_before or run.queued) for run in ledger.queue.waiting(now)), default=None),
        faults=tuple(faults),
    )  # fmt: skip


def _feed(path: Path) -> FeedFile | None:
    """The feed as it lies there: its end says whether it is whole, since it is only ever replaced as one."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            file.seek(-min(status.st_size, len(FEED_END) + 8), os.SEEK_END)
            whole = file.read().rstrip().endswith(FEED_END)
    except OSError:
        return None
    return FeedFile(datetime.fromtimestamp(status.st_mtime, UTC), whole)


def _space(folder: Path) -> Space | None:
    try:
        return space_of(folder)
    except OSError:
        return None

"""Gathers what promises are judged by: a few queries to the ledger, and one look at the disk for each source. It judges nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pbs.endpoint import listening
from pbs.home import Home
from pbs.ledger import Ledger, Vitals
from pbs.model import ServerSettings, Source
from pbs.promises.certificate import Shown
from pbs.promises.facts import Facts, FeedFile, ServerFacts
from pbs.servercopy import newest
from pbs.space import Space, space_of, together

SHEET = "recovery-shown"
FEED_END = b"</rss>"
RATES_SECONDS = 900.0


class Rates:
    """By how much each repository grows in a day; looked at now and then, since it says little and costs a scan of runs."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._at: float | None = None
        self._known: dict[str, int | None] = {}

    def look(self, names: Iterable[str], now: datetime, at: float) -> dict[str, int | None]:
        """The rates, as of the last quarter of an hour; `at` by a clock that never goes back."""
        if self._at is None or at - self._at >= RATES_SECONDS:
            self._known, self._at = self._ledger.overview.rates(names, now), at
        return self._known


class Endpoints:
    """Which endpoints answer, and since when the others do not: one look says little of one that is just starting."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._silent: dict[str, datetime] = {}

    def look(self, source: Source, now: datetime) -> tuple[bool | None, datetime | None]:
        """Whether the endpoint of a source answers, and since when it does not; one that is not kept up is not asked."""
        if source.endpoint != "always":
            return None, None
        if listening(self._home.endpoint_socket(source.name)):
            self._silent.pop(source.name, None)
            return True, None
        return False, self._silent.setdefault(source.name, now)


def of_sources(
    home: Home,
    ledger: Ledger,
    sources: Mapping[str, Source],
    vitals: Sequence[Vitals],
    now: datetime,
    *,
    copies: bool,
    endpoints: Endpoints | None = None,
    rates: Mapping[str, int | None] | None = None,
) -> dict[str, Facts]:
    """The facts of every source that is configured or known, by name. `endpoints` is None where no service runs.

    `copies`: whether the server is copied; `rates`: by how much each repository grows in a day.
    """
    known = {each.name: each for each in vitals}
    busy = {run.source for run in ledger.queue.running()}
    held = ledger.custody.holds(known)
    found = {}
    for name in sorted(known.keys() | sources.keys()):
        source = sources.get(name)
        answers, silent = endpoints.look(source, now) if endpoints and source else (None, None)
        found[name] = Facts(
            source=source,
            vitals=known.get(name),
            busy=name in busy,
            endpoint=answers,
            silent=silent,
            feed=_feed(home.feeds / f"{name}.xml"),
            per_day=(rates or {}).get(name),
            copied=copies,
            held=held[name].detail["why"] if name in held else None,
        )
    return found


def of_the_server(
    home: Home,
    ledger: Ledger,
    server: ServerSettings,
    now: datetime,
    *,
    served: bool,
    planned: datetime | None = None,
    faults: Sequence[str] = (),
    channels: Mapping[str, str | None] | None = None,
    rates: Mapping[str, int | None] | None = None,
    certificate: Shown | None = None,
) -> ServerFacts:
    """The facts of the server."""
    return ServerFacts(
        now=now,
        served=served,
        planned=planned,
        space=_space(home.backups),
        reserve=server.reserve,
        per_day=together((rates or {}).values()),
        copied=newest(ledger),
        copies=server.copies == "daily",
        sheet=ledger.upkeep.last_noted(SHEET) is not None,
        waiting=min((max(run.queued, run.not_before or run.queued) for run in ledger.queue.waiting(now)), default=None),
        faults=tuple(faults),
        channels=channels or {},
        base_url=server.base_url,
        certificate=certificate,
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

"""Where sources stand, as everybody is told: the service that answers, and the command line without it.

A handful of queries, however many sources there are; it only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pbs.ledger import Ledger, Standing
from pbs.model import Source
from pbs.retention import all_frozen
from pbs.space import space_of, together
from pbs.views import source_view, space_view


def source_views(
    ledger: Ledger,
    sources: Mapping[str, Source],
    names: Iterable[str],
    size: Callable[[str], int | None],
    coming: Callable[[str], datetime | None],
    broken: Callable[[str], int | None],
    per_day: Callable[[str], int | None],
) -> list[dict[str, Any]]:
    """These sources as JSON. Who calls knows: `size` of a repository on disk, the next run, how many promises are broken, by how
    much a repository grows in a day.
    """
    wanted = list(names)
    known = ledger.overview
    standings, counts = known.standings(wanted), known.counts(wanted)
    unread, held = known.unread(wanted), ledger.custody.holds(wanted)
    pulls = {name: standings[name].pull if name in standings else None for name in wanted}
    reasons = all_frozen(known, ledger.custody, pulls, held)
    views = []
    for name in wanted:
        stands = standings.get(name, Standing())
        view = source_view(
            sources[name], last=stands.last, last_ok=stands.last_ok, snapshots=counts.get(name, 0),
            repository_bytes=size(name), coming=coming(name), broken=broken(name), unread=unread.get(name),
            frozen=reasons.get(name), held=held.get(name),
            per_day=per_day(name) if sources[name].quota is not None else None,
        )  # fmt: skip
        views.append(view)
    return views


def disk_view(sources: Mapping[str, Source], folder: Path, rates: Mapping[str, int | None]) -> dict[str, Any]:
    """The disk that the repositories lie on, below `folder`; `rates` is by how much each of them grows in a day."""
    reserve = next((each.reserve for each in sources.values()), (0, 0))
    return space_view(space_of(folder), reserve, together(rates.values()))

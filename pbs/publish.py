"""The feed of a source, or of all: which runs it shows and under which addresses. It writes nothing."""

from __future__ import annotations

from pbs.feed import render_feed
from pbs.model import Run

ALL = "all"
FEED_ITEMS = 100


def feed_of(name: str, base_url: str, runs: list[Run]) -> bytes:
    """The RSS document of these runs, newest first."""
    title = "All backups" if name == ALL else f"Backups of {name}"
    outputs = {run.id: run.output or "" for run in runs}
    return render_feed(
        title, f"{base_url}/feeds/{name}.xml", runs, outputs, base_url=base_url, limit=FEED_ITEMS
    )

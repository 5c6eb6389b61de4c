"""The feed of a source, or of all: which runs it shows and under which addresses. It writes nothing."""

from __future__ import annotations

from pbs.feed import render_feed, render_json
from pbs.model import Run

ALL = "all"
RENDERERS = {"xml": render_feed, "json": render_json}
TYPES = {"xml": "application/rss+xml", "json": "application/feed+json"}


def feed_of(name: str, base_url: str, runs: list[Run], limit: int, kind: str = "xml") -> bytes:
    """The document of these runs, newest first: RSS, or JSON Feed."""
    title = "All backups" if name == ALL else f"Backups of {name}"
    outputs = {run.id: run.output or "" for run in runs}
    return RENDERERS[kind](
        title, f"{base_url}/feeds/{name}.{kind}", runs, outputs, base_url=base_url, limit=limit
    )

"""What the HTTP side needs from the controller, as a Protocol, so that neither imports the other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from aiohttp import web

from pbs.clock import Clock
from pbs.config import Channel
from pbs.errors import NotFound
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import Cause, Kind, Run, Source
from pbs.promises import Health


class Face(Protocol):
    """The controller as the API sees it."""

    ledger: Ledger
    home: Home

    @property
    def time(self) -> Clock:
        """The time."""
        ...

    @property
    def sources(self) -> Mapping[str, Source]:
        """The configured sources."""
        ...

    def request(self, source: str, kind: Kind, cause: Cause, options: str | None = None) -> Run:
        """Queue a run, or join the one of its kind that waits; `options`, JSON, say what else is wanted of it."""
        ...

    def run_log(self, run: Run) -> Path:
        """Where the log of a run lies, once it has begun."""
        ...

    def cancel(self, run: str, by: str) -> Run:
        """Ask for the end of a run: a queued one ends at once, a running one within seconds."""
        ...

    async def reload(self) -> tuple[list[str], list[str]]:
        """Take up a changed configuration: what could not be settled, and which fields wait for the next start."""
        ...

    def feed(self, name: str, kind: str = "xml") -> bytes:
        """The feed of one source, or of all: RSS (`xml`) or JSON Feed (`json`)."""
        ...

    def next(self, name: str) -> datetime | None:
        """When a source is pulled next by its schedule; None where it has none."""
        ...

    async def health(self, *, fresh: bool = True, anew: bool = False) -> Health:
        """How all promises stand; not `fresh` = as the last look found them, at once; `anew` = looked at now, whatever was seen before."""
        ...

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Where messages go."""
        ...

    @property
    def base_url(self) -> str:
        """What addresses of this server begin with."""
        ...

    async def metrics(self) -> bytes:
        """Figures for Prometheus."""
        ...

    def repository_bytes(self, name: str) -> int | None:
        """The size of a source's repository on disk; None where nobody has looked."""
        ...

    @property
    def rates(self) -> Mapping[str, int | None]:
        """By how many bytes each repository grows in a day, as the last look at promises saw it; None where that is not known."""
        ...

    def resolved(self, name: str) -> list[tuple[str, object, str]]:
        """The fields of a source as (key, value as it is written, where it came from)."""
        ...

    def key_line(self, name: str) -> str:
        """The line that belongs into the authorized_keys of a source."""
        ...


FACE: web.AppKey[Face] = web.AppKey("face")


def known(face: Face, name: str) -> str:
    """The name of a configured source.

    Raises:
        NotFound: there is none of this name.
    """
    if name not in face.sources:
        raise NotFound(f"there is no source {name[:80]!r}", "`pbs source list` names them")
    return name

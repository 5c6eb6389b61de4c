"""What promises are judged by: plain values, gathered elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pbs.ledger import Vitals
from pbs.model import Source
from pbs.promises.certificate import Shown
from pbs.space import Reserve, Space


@dataclass(frozen=True, slots=True)
class FeedFile:
    """The feed of a source as it lies on the disk."""

    written: datetime
    whole: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one source.

    Attributes:
        source: As it is configured; None where it is not.
        vitals: What the ledger knows; None where it does not know the source.
        busy: Whether a run of it goes on.
        endpoint: Whether its endpoint answers; None where nobody could look.
        silent: Since when it does not answer, as far as anybody looked.
        feed: Its feed; None where there is none.
        per_day: By how many bytes its repository grows in a day; None where too little was seen.
        copied: Whether its key is in copies of the server.
        held: Why no snapshot of it is removed until a person has looked; None where nobody needs to.
    """

    source: Source | None
    vitals: Vitals | None
    busy: bool = False
    endpoint: bool | None = None
    silent: datetime | None = None
    feed: FeedFile | None = None
    per_day: int | None = None
    copied: bool = True
    held: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A configured source that the ledger knows, at a moment."""

    facts: Facts
    source: Source
    known: Vitals
    now: datetime


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Of the server.

    Attributes:
        now: When it was looked.
        served: Whether the service runs; whatever only it knows is not told where it does not.
        planned: When it was last looked at what is due.
        space: The disk of the backups.
        reserve: What stays free there.
        per_day: By how many bytes the repositories grow in a day.
        copied: When the server itself was last copied; None where it never was.
        copies: Whether it should be.
        sheet: Whether the recovery sheet was ever printed.
        waiting: Since when the run waits that has waited for the longest time and may begin; None where none does.
        channels: Where messages go, and what is wrong with each.
        base_url: Where people reach it.
        certificate: What is shown there; None where nobody has looked yet.
        faults: What the service failed to do at its last try.
    """

    now: datetime
    served: bool
    planned: datetime | None = None
    space: Space | None = None
    reserve: Reserve = (0, 0)
    per_day: int | None = None
    copied: datetime | None = None
    copies: bool = True
    sheet: bool = True
    waiting: datetime | None = None
    channels: Mapping[str, str | None] = field(default_factory=dict)
    base_url: str = ""
    certificate: Shown | None = None
    faults: tuple[str, ...] = field(default=())

"""What a run needs from the tools, as Protocols. The real ones are handed in by `pbs.assemble`; mypy proves there that they fit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pbs import retention
from pbs.errors import PbsError
from pbs.model import Damage, Kind, Outcome, Receipt, ReceiptState, RootMeta, Run, Snapshot

Event = dict[str, Any]


class Journal(Protocol):
    """The run's log."""

    def write(self, event: str, **fields: Any) -> None:
        """Add one event, with the time by our clock."""
        ...


@dataclass(slots=True)
class Verdict:
    """What became of what arrived.

    Attributes:
        snapshot: The snapshot that the run was to make, where it was admitted.
        refusal: Why it was not.
        incidents: What arrived that no honest source sends, some words for each kind.
        remarks: What else a person should read.
    """

    snapshot: Snapshot | None = None
    refusal: PbsError | None = None
    incidents: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Desk(Protocol):
    """Who decides what counts of what arrived in the repository."""

    @property
    def reread(self) -> str | None:
        """Why this run must read every file of the source again; None where changed ones will do."""
        ...

    async def ready(self) -> Verdict:
        """Deal with what an earlier run left, before anything new can arrive."""
        ...

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Inspect what arrives while a block goes on."""
        ...

    async def close(
        self, promised: str | None, outcome: Outcome, root: RootMeta | None, imported: datetime | None = None
    ) -> Verdict:
        """Inspect what arrived, and admit the promised snapshot; `imported`: when what we imported ourselves was made."""
        ...

    def clear(self) -> None:
        """Remove locks and torn uploads; only while no source can reach the repository."""
        ...


class Endpoint(Protocol):
    """The append-only door of the source."""

    @property
    def socket(self) -> Path:
        """Where it listens."""
        ...

    async def open(self) -> None:
        """Have it answer."""
        ...

    async def shut(self) -> None:
        """Have nobody answer."""
        ...


class Talk(Protocol):
    """One word's conversation with the agent."""

    hello: Event
    end: Event | None

    async def ask(self, request: Event) -> None:
        """Send the request."""
        ...

    def events(self, within: float | None = None) -> AsyncIterator[Event]:
        """What it reports until its end; `within` so many seconds, for a word that is answered at once."""
        ...


class Denial(Protocol):
    """A request of the source that was not let through to its endpoint, in words of ours."""

    @property
    def request(self) -> str:
        """What it was."""
        ...

    @property
    def reason(self) -> str:
        """Why not."""
        ...


class Counter(Protocol):
    """What went through a lent socket, in bytes, and what was not let through."""

    received: int
    sent: int

    @property
    def unanswered_seconds(self) -> float:
        """For how long the endpoint has answered none of the source's connections; 0 where it does."""
        ...

    @property
    def denials(self) -> Sequence[Denial]:
        """The first requests that were not let through."""
        ...

    @property
    def denied(self) -> int:
        """How many there were."""
        ...

    @property
    def cut(self) -> str | None:
        """Why the source cannot reach its endpoint any more in this run; None while it can."""
        ...


class Line(Protocol):
    """The connection to the source."""

    async def say(self, word: str) -> AbstractAsyncContextManager[Talk]:
        """Have the agent started with one word."""
        ...

    def lend(
        self, listen: str, target: Path, read_budget: int | None, writable: Callable[[int], str | None]
    ) -> AbstractAsyncContextManager[Counter]:
        """Let the source reach `target` at its path `listen`, read so many bytes there, and send as long as it is writable."""
        ...


class Custody(retention.Custody, Protocol):
    """What the ledger keeps for retention, and how a removal is written down."""

    def intend(self, name: str, snapshots: Collection[str], run: str) -> None:
        """Write down that a run is about to forget these."""
        ...

    def settle(self, name: str, present: Collection[str], now: datetime) -> list[str]:
        """Say what became of those that were to be forgotten, by what is still there."""
        ...

    def damages(self, name: str) -> list[Damage]:
        """Every pack that was ever found damaged."""
        ...

    def record_damage(self, name: str, found: Damage) -> None:
        """Write down a damaged pack, or what became of it."""
        ...

    def readings(self, name: str) -> dict[str, datetime]:
        """When each folder of packs was read again for the last time."""
        ...

    def record_reading(self, name: str, folder: str, now: datetime, size: int) -> None:
        """Write down that a folder of packs was read again."""
        ...

    def made(self, name: str) -> datetime | None:
        """When the repository was made."""
        ...


class Records(Protocol):
    """What a run reads from the ledger and leaves in it."""

    @property
    def custody(self) -> Custody:
        """Pins, removals and damage."""
        ...

    def newest_run(self, name: str, *outcomes: Outcome, kind: Kind | None = None) -> Run | None:
        """The newest run of the source, of this kind and one of these outcomes where any are given."""
        ...

    def receipts(self, name: str, *states: ReceiptState) -> list[Receipt]:
        """Every receipt of the source, or those that stand so, oldest first."""
        ...

    def usable(self, name: str) -> list[Receipt]:
        """The admitted and imported ones, oldest first."""
        ...

    def newest(self, name: str) -> Receipt | None:
        """The last of those."""
        ...

    def note(
        self, now: datetime, name: str, detail: dict[str, object], *, about: str, by: str | None = None
    ) -> None:
        """Write down that something happened."""
        ...


class Legacy(Protocol):
    """The rdiff-backup tree of the source, if there is one."""

    def present(self) -> bool:
        """Whether there is something to import."""
        ...

    def root(self) -> RootMeta | None:
        """The metadata of the tree's own folder."""
        ...

    def obstacle(self) -> str | None:
        """Why it must not be removed by a program; None where nothing is odd about it."""
        ...

    def half_gone(self) -> bool:
        """Whether its removal began and did not come to its end."""
        ...

    async def size(self) -> int:
        """Bytes that its removal frees."""
        ...

    async def set_aside(self) -> None:
        """Take it out of its place, so that nobody sees half of it."""
        ...

    async def remove(self, until: float) -> bool:
        """Go on removing it until this moment of the monotonic clock; True when nothing of it is left."""
        ...

    async def import_newest(
        self, run: Run, report: Callable[[Event], None], look: Callable[[], None]
    ) -> tuple[str, datetime]:
        """Make a snapshot of its newest state: the snapshot's id, the increment's time. What `look` raises ends it."""
        ...

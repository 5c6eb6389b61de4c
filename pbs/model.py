"""The nouns and the closed sets of states. Pure values: this module imports nothing of ours and does nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
RESERVED_NAMES = frozenset({"all", "latest"})
SNAPSHOT_ID = re.compile(r"[0-9a-f]{64}")
# Where the agent lies on a source, unless it is said otherwise.
AGENT_PATH = "/usr/local/bin/pbs-agent"


class Kind(StrEnum):
    """What a run does."""

    PULL = "pull"
    PUSH = "push"
    MIGRATE = "migrate"
    RETAIN = "retain"
    CHECK = "check"
    DRILL = "drill"
    RESTORE = "restore"


class Cause(StrEnum):
    """Why a run was asked for."""

    ASKED = "asked"
    DUE = "due"
    NOTICE = "notice"
    FOLLOW_UP = "follow-up"
    RETRY = "retry"


class RunState(StrEnum):
    """Where a run stands. Only a queued one may be joined, only a running one holds a lease."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Outcome(StrEnum):
    """How a run ended."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    MISSED = "missed"


class ReceiptState(StrEnum):
    """What a received snapshot counts as."""

    ADMITTED = "admitted"
    QUARANTINED = "quarantined"
    FORGOTTEN = "forgotten"
    LEGACY = "legacy"


class Verified(StrEnum):
    """How far a received snapshot was inspected."""

    NONE = "none"
    STRUCTURE = "structure"
    FULL = "full"


class QuarantineState(StrEnum):
    """What became of a file that was set aside."""

    KEPT = "kept"
    REMOVED = "removed"
    DISCARDED = "discarded"


class DamageState(StrEnum):
    """What became of a damaged pack.

    `waiting` = it is out of the way, and what was lost with it may come back with the next pull; `lost` = it did not.
    """

    FOUND = "found"
    WAITING = "waiting"
    REPAIRED = "repaired"
    LOST = "lost"


def valid_name(name: str) -> bool:
    """Whether this may be a source's name: letters, digits, `-`, `_`, 63 at most, not a reserved word."""
    return NAME_PATTERN.fullmatch(name) is not None and name.lower() not in RESERVED_NAMES


@dataclass(frozen=True, slots=True)
class Address:
    """Where a source answers: host name or IP literal, port, account, and the host key that it must show."""

    host: str
    port: int
    user: str
    host_key: str
    ssh_key: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes per second that a transfer may use; None = no limit."""

    upload: int | None = None
    download: int | None = None


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long the snapshots of a source are kept, and how its repository is looked after.

    Attributes:
        keep: Rules by name: counts, and `within` as a span. Empty = everything is kept.
        timezone: Whose hours and days are meant.
        keep_least: So many good snapshots are never removed by a rule.
        max_forget: In per cent: one application that would remove more stops and asks.
        prune: Seconds between two prunings; None = only when asked for.
        prune_unused: In per cent: how much data that nothing needs may stay.
        verify: Seconds within which everything is re-read; None = only when asked for.
        legacy: Whether a legacy tree goes once retention has removed a snapshot.
    """

    keep: Mapping[str, int | str] = field(default_factory=dict)
    timezone: str = "UTC"
    keep_least: int = 3
    max_forget: int = 30
    prune: float | None = 604800.0
    prune_unused: int = 10
    verify: float | None = 2592000.0
    legacy: bool = True


@dataclass(frozen=True, slots=True)
class Tripwires:
    """What of a run looks like somebody else's work: shares in per cent, None = never; floors below which nothing is judged.

    `canaries` are paths that must be in every snapshot, unchanged.
    """

    changed: int | None = 50
    vanished: int | None = 50
    new: int | None = None
    encrypted: int | None = 95
    least_files: int = 100
    least_bytes: int = 10_000_000
    canaries: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether a wire is set at all."""
        shares = (self.changed, self.vanished, self.new, self.encrypted)
        return bool(self.canaries) or any(each is not None for each in shares)


@dataclass(frozen=True, slots=True)
class Source:
    """One thing that is backed up, with everything that a run of it needs to know (no secrets).

    `window` is opening and closing in minutes of the day; `jitter` in seconds, None = as the schedule allows;
    `read_budget` the bytes that a run may read back, `write_budget` those that it may send, None = any number; `reserve`
    what stays free on the server's disk, in bytes or in per cent of it;
    `max_age` the seconds that its newest backup may have, None = as the schedule says, 0 = any.
    """

    name: str
    address: Address
    encryption: str = "controller"
    endpoint: str = "always"
    quota: int | None = None
    limits: Limits = field(default_factory=Limits)
    migrate: str = "latest"
    schedule: str = "0 * * * *"
    timeout: float = 43200.0
    timezone: str = "UTC"
    window: tuple[int, int] | None = None
    jitter: float | None = None
    retries: int = 2
    sandbox: bool = True
    read_budget: int | None = 8_000_000_000
    write_budget: int | None = None
    reserve: tuple[int, int] = (0, 1)
    keeping: Keeping = field(default_factory=Keeping)
    tripwires: Tripwires = field(default_factory=Tripwires)
    admission: Verified = Verified.FULL
    reread_every: int = 100
    max_age: float | None = None
    max_entries: int | None = None


@dataclass(frozen=True, slots=True)
class RunLogs:
    """How long logs of runs are kept: days, number for each source, bytes of all together."""

    days: int = 400
    count: int = 2000
    size: int = 5_000_000_000


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What concerns the server as a whole. `listen` is host and port, None for the socket alone."""

    listen: tuple[str, int] | None = ("127.0.0.1", 8484)
    base_url: str = "http://127.0.0.1:8484"
    workers: int = 2
    max_runs: int = 4
    run_dir: str = "var/run"
    open: tuple[str, ...] = ()
    copies: str = "daily"
    run_logs: RunLogs = field(default_factory=RunLogs)
    log_format: str = "text"
    max_runs_per_host: int = 2
    stop_grace: float = 60.0
    reserve: tuple[int, int] = (0, 1)
    feed_items: int = 100
    feed_aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository that the ledger knows for a source: its restic id and the id of our key in it."""

    id: str
    source: str
    path: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of work on one source, as the ledger tells it. Sizes in bytes, times in UTC."""

    id: str
    source: str
    kind: Kind
    cause: Cause
    state: RunState
    queued: datetime
    outcome: Outcome | None = None
    started: datetime | None = None
    ended: datetime | None = None
    snapshot: str | None = None
    files: int | None = None
    bytes: int | None = None
    added_bytes: int | None = None
    stored_bytes: int | None = None
    tunnel_bytes: int | None = None
    warnings: int = 0
    message: str | None = None
    hint: str | None = None
    clone: str | None = None
    output: str | None = None
    due: datetime | None = None
    not_before: datetime | None = None
    attempt: int = 1
    retry_of: str | None = None
    cancel: datetime | None = None
    cancelled_by: str | None = None
    options: str | None = None
    code: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long it ran, in seconds; None while it has not both begun and ended."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to which moment the slots of a source were dealt with, and by which schedule."""

    schedule: str
    seen: datetime


@dataclass(frozen=True, slots=True)
class RootMeta:
    """Metadata of the backed-up folder itself, which a snapshot of its contents does not hold."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the repository says of one snapshot; every field but the id is the source's claim."""

    id: str
    claimed: datetime | None
    host: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]
    files: int | None = None
    bytes: int | None = None
    added_bytes: int | None = None
    stored_bytes: int | None = None
    tree: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ledger's record of one snapshot as we received it. `time` is ours and the one that counts."""

    id: str
    source: str
    run: str
    received: datetime
    time: datetime
    claimed: datetime | None
    state: ReceiptState
    outcome: Outcome
    verified: Verified = Verified.NONE
    paths: tuple[str, ...] = ()
    files: int | None = None
    bytes: int | None = None
    added_bytes: int | None = None
    root: RootMeta | None = None
    pinned: bool = False
    reason: str | None = None
    note: str | None = None
    leaving: str | None = None
    tree: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was admitted of a repository. `folders`: pack folders with nothing left to look at, and their mtimes."""

    repository: str
    config: str
    folders: dict[str, int]
    reread: str | None = None
    since: int = 0
    own: str | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One thing that arrived and was not admitted. `name` is a path from the repository's folder."""

    source: str
    run: str
    time: datetime
    kind: str
    name: str
    bytes: int
    reason: str
    state: QuarantineState = QuarantineState.KEPT
    id: int = 0


@dataclass(frozen=True, slots=True)
class Damage:
    """A pack that was found damaged. `lost`: each snapshot that it touches, with the blobs of it that are missing."""

    pack: str
    run: str
    found: datetime
    state: DamageState
    lost: Mapping[str, frozenset[str]]
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends: a value, never an exception, across the run's border.

    `retry`: whether another try may help; `code`: the kind of error, in one word.
    """

    outcome: Outcome
    message: str
    hint: str | None = None
    snapshot: str | None = None
    files: int | None = None
    bytes: int | None = None
    added_bytes: int | None = None
    stored_bytes: int | None = None
    tunnel_bytes: int | None = None
    warnings: int = 0
    output: str | None = None
    retry: bool = False
    code: str | None = None

"""What the API answers, as the OpenAPI document tells it. The answers themselves are made by `pbs.views`; a test compares them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from pbs.model import Cause, Kind, Outcome, QuarantineState, ReceiptState, RunState, Verified
from pbs.promises import State

Bytes = Annotated[int, Field(ge=0)]
SnapshotId = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Refusal(BaseModel):
    """What failed, in one sentence, and what to do about it."""

    code: str
    message: str
    hint: str | None


class Error(BaseModel):
    """The one shape of every refusal."""

    error: Refusal


class Document(BaseModel):
    """An OpenAPI document."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


class Run(BaseModel):
    """One piece of work on one source."""

    id: str
    source: str
    clone: str | None
    kind: Kind
    cause: Cause
    state: RunState
    outcome: Outcome | None
    queued: datetime
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    snapshot: SnapshotId | None
    files: int | None
    bytes: Bytes | None
    added_bytes: Bytes | None
    stored_bytes: Bytes | None
    tunnel_bytes: Bytes | None
    warnings: int
    message: str | None
    hint: str | None
    code: str | None
    due: datetime | None
    not_before: datetime | None
    attempt: int
    retry_of: str | None
    cancel: datetime | None
    cancelled_by: str | None
    options: dict[str, Any] | None


class Runs(BaseModel):
    """Runs, newest first."""

    runs: list[Run]


class Snapshot(BaseModel):
    """The receipt of one snapshot, as it was received here."""

    id: SnapshotId
    source: str
    run: str
    received: datetime
    time: datetime
    claimed: datetime | None
    state: ReceiptState
    outcome: Outcome
    complete: bool
    verified: Verified
    paths: list[str]
    files: int | None
    bytes: Bytes | None
    added_bytes: Bytes | None
    kept_by: list[str]
    damaged: bool
    pinned: bool
    note: str | None
    reason: str | None


class Snapshots(BaseModel):
    """Receipts, oldest first."""

    snapshots: list[Snapshot]


class Planned(BaseModel):
    """What becomes of one snapshot; of one that no rule holds, nothing stays."""

    id: str
    time: datetime
    kept_by: list[str]
    reason: str


class Plan(BaseModel):
    """What retention would do. `frozen` and `doubt` say why it does nothing now, or nothing unconfirmed."""

    source: str
    plan: str
    frozen: str | None
    doubt: str | None
    goes: int
    snapshots: list[Planned]


class Quarantined(BaseModel):
    """One thing that arrived and was not admitted."""

    number: int
    source: str
    run: str
    time: datetime
    kind: str
    name: str
    bytes: Bytes
    reason: str
    state: QuarantineState


class Quarantine(BaseModel):
    """What was set aside, oldest first."""

    quarantine: list[Quarantined]


class Source(BaseModel):
    """One thing that is backed up, and where it stands."""

    name: str
    host: str
    port: int
    user: str
    state: str
    schedule: str
    next: datetime | None
    last_run: Run | None
    last_ok: datetime | None
    snapshots: int
    repository_bytes: Bytes | None
    quota: Bytes | None
    growth_per_day: int | None
    days_to_full: int | None
    unread_since: datetime | None
    frozen: str | None
    promises_broken: int | None
    held: str | None


class Disk(BaseModel):
    """The disk that the repositories lie on; `reserve` is what stays free there, `days_to_full` when only that is left."""

    total: Bytes
    free: Bytes
    reserve: Bytes
    growth_per_day: int | None
    days_to_full: int | None


class Hold(BaseModel):
    """Whether no snapshot of a source is removed until a person has looked, since when, why, and by whom or what."""

    source: str
    held: bool
    since: datetime | None
    why: str | None
    by: str | None
    run: str | None
    snapshot: SnapshotId | None


class Sources(BaseModel):
    """Every configured source."""

    sources: list[Source]


class Promise(BaseModel):
    """A named check of health: how it stands, since when, why, and what to do. `source` is null for those of the server."""

    name: str
    source: str | None
    state: State
    since: datetime
    reason: str
    hint: str | None


class Promises(BaseModel):
    """Promises, the worst first; `state` is the worst of all, `looked` when somebody looked."""

    state: State
    looked: datetime
    kept: int
    warning: int
    broken: int
    promises: list[Promise]


class Channel(BaseModel):
    """A place where messages go; `secret` = whether its address or password is there."""

    name: str
    kind: str
    level: str
    sources: list[str]
    secret: bool


class Channels(BaseModel):
    """Where messages go; no sources = those of all, and of the server."""

    channels: list[Channel]


class Remarks(BaseModel):
    """What could not be settled, one sentence each, and which changed fields of [server] wait for the next start."""

    remarks: list[str]
    restart: list[str]


class Version(BaseModel):
    """Which program answers, and as whom it knows whoever asks."""

    version: str
    name: str
    role: str


class Log(BaseModel):
    """Events of a run's log, oldest first; `next` is where to go on, also once more was written."""

    events: list[dict[str, Any]]
    next: int


class Entry(BaseModel):
    """A name in a snapshot. `path_b64` is set where the name is no UTF-8 and `path` therefore only shows it."""

    path: str
    path_b64: str | None
    type: str
    size: Bytes | None
    mode: int
    uid: int
    gid: int
    mtime: datetime | None
    linktarget: str | None


class Tree(BaseModel):
    """A part of the `count` names that a folder holds; `next` is where to go on, null at its end."""

    snapshot: SnapshotId
    entries: list[Entry]
    count: int
    next: int | None

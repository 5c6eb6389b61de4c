"""Nouns as JSON: the one place where the fields that scripts rely on are spelled. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from pbs.clock import stamp
from pbs.errors import PbsError
from pbs.model import Quarantined, Receipt, Run, Source
from pbs.promises import Health, Promise, State, worst, worst_first
from pbs.retention import Note, Plan
from pbs.space import Reserve, Space, days_to_full, kept_free


def run_view(run: Run) -> dict[str, Any]:
    """A run. Sizes in bytes, durations in seconds, times RFC 3339 UTC; absent = null."""
    return {
        "id": run.id,
        "source": run.source,
        "clone": run.clone,
        "kind": run.kind.value,
        "cause": run.cause.value,
        "state": run.state.value,
        "outcome": run.outcome.value if run.outcome else None,
        "queued": stamp(run.queued),
        "started": stamp(run.started),
        "ended": stamp(run.ended),
        "seconds": run.seconds,
        "snapshot": run.snapshot,
        "files": run.files,
        "bytes": run.bytes,
        "added_bytes": run.added_bytes,
        "stored_bytes": run.stored_bytes,
        "tunnel_bytes": run.tunnel_bytes,
        "warnings": run.warnings,
        "message": run.message,
        "hint": run.hint,
        "code": run.code,
        "due": stamp(run.due),
        "not_before": stamp(run.not_before),
        "attempt": run.attempt,
        "retry_of": run.retry_of,
        "cancel": stamp(run.cancel),
        "cancelled_by": run.cancelled_by,
        "options": json.loads(run.options) if run.options else None,
    }


def quarantined_view(found: Quarantined) -> dict[str, Any]:
    """One thing that was set aside. `name` is its path from the repository's folder."""
    return {
        "number": found.id,
        "source": found.source,
        "run": found.run,
        "time": stamp(found.time),
        "kind": found.kind,
        "name": found.name,
        "bytes": found.bytes,
        "reason": found.reason,
        "state": found.state.value,
    }


def receipt_view(receipt: Receipt, kept_by: Sequence[str] = (), *, damaged: bool = False) -> dict[str, Any]:
    """A snapshot as we received it, the rules that hold it now, and whether a damaged pack touches it."""
    return {
        "id": receipt.id,
        "source": receipt.source,
        "run": receipt.run,
        "received": stamp(receipt.received),
        "time": stamp(receipt.time),
        "claimed": stamp(receipt.claimed),
        "state": receipt.state.value,
        "outcome": receipt.outcome.value,
        "complete": receipt.outcome.value == "ok",
        "verified": receipt.verified.value,
        "paths": list(receipt.paths),
        "files": receipt.files,
        "bytes": receipt.bytes,
        "added_bytes": receipt.added_bytes,
        "kept_by": list(kept_by),
        "damaged": damaged,
        "pinned": receipt.pinned,
        "note": receipt.note,
        "reason": receipt.reason,
    }


def plan_view(plan: Plan) -> dict[str, Any]:
    """What retention would do, snapshot by snapshot."""
    return {
        "source": plan.source,
        "plan": plan.id,
        "frozen": plan.frozen,
        "doubt": plan.doubt,
        "goes": len(plan.goes),
        "snapshots": [
            {
                "id": each.snapshot,
                "time": stamp(each.time),
                "kept_by": list(each.kept_by),
                "reason": each.reason,
            }
            for each in plan.verdicts
        ],
    }


def source_view(
    source: Source,
    *,
    last: Run | None,
    last_ok: Run | None,
    snapshots: int,
    repository_bytes: int | None,
    coming: datetime | None = None,
    broken: int | None = None,
    unread: datetime | None = None,
    frozen: str | None = None,
    held: Note | None = None,
    per_day: int | None = None,
) -> dict[str, Any]:
    """A source. `per_day` is by how much its repository grows in a day, null where that is not known. `held` is why no snapshot of it is removed until a person has looked. `next` is null where no schedule or no
    service runs, `promises_broken` where nobody looked.
    """
    return {
        "name": source.name,
        "host": source.address.host,
        "port": source.address.port,
        "user": source.address.user,
        "state": last.state.value if last and last.state.value != "ended" else "idle",
        "schedule": source.schedule,
        "next": stamp(coming),
        "last_run": run_view(last) if last else None,
        "last_ok": stamp(last_ok.ended) if last_ok else None,
        "snapshots": snapshots,
        "repository_bytes": repository_bytes,
        "quota": source.quota,
        "growth_per_day": per_day,
        "days_to_full": days_to_full(source.quota - repository_bytes, per_day)
        if source.quota is not None and repository_bytes is not None
        else None,
        "unread_since": stamp(unread),
        "frozen": frozen,
        "promises_broken": broken,
        "held": held.detail["why"] if held is not None else None,
    }


def space_view(space: Space, reserve: Reserve, per_day: int | None) -> dict[str, Any]:
    """The disk of the repositories, and in how many days only its reserve is left; null where that is not known."""
    kept = kept_free(reserve, space)
    return {
        "total": space.total,
        "free": space.free,
        "reserve": kept,
        "growth_per_day": per_day,
        "days_to_full": days_to_full(space.free - kept, per_day),
    }


def hold_view(name: str, held: Note | None) -> dict[str, Any]:
    """Whether a source is held, since when, why, by whom where it was a person, and by which run where it was a tripwire."""
    detail = held.detail if held is not None else {}
    return {
        "source": name,
        "held": held is not None,
        "since": stamp(held.time) if held is not None else None,
        "why": detail.get("why"),
        "by": detail.get("by"),
        "run": held.run if held is not None else None,
        "snapshot": detail.get("snapshot"),
    }


def promise_view(promise: Promise) -> dict[str, str | None]:
    """A promise; `source` is null for those of the server."""
    return {
        "name": promise.name,
        "source": promise.source,
        "state": promise.state.value,
        "since": stamp(promise.since),
        "reason": promise.reason,
        "hint": promise.hint,
    }


def promises_view(health: Health, promises: Sequence[Promise], *, everything: bool = True) -> dict[str, Any]:
    """These promises, the worst first; all of them, or only what is not kept."""
    count = Counter(each.state for each in promises)
    return {
        "state": worst(each.state for each in promises).value,
        "looked": stamp(health.looked),
        **{state.value: count[state] for state in State},
        "promises": [
            promise_view(each) for each in worst_first(promises) if everything or each.state is not State.KEPT
        ],
    }


class ToldChannel(Protocol):
    """A place where messages go."""

    @property
    def name(self) -> str:
        """How the configuration calls it."""
        ...

    @property
    def kind(self) -> str:
        """How messages go there."""
        ...

    @property
    def level(self) -> str:
        """From which state on."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """Of which sources; none = all."""
        ...


def channel_view(channel: ToldChannel, secret: bool) -> dict[str, Any]:
    """A channel of messages, and whether what is secret of it is there."""
    return {
        "name": channel.name, "kind": channel.kind, "level": channel.level,
        "sources": list(channel.sources), "secret": secret,
    }  # fmt: skip


class Entry(Protocol):
    """A name in a snapshot. `path_b64` is set where the name is no UTF-8 and `path` therefore only shows it."""

    @property
    def path(self) -> str:
        """Where it lies, as text."""
        ...

    @property
    def path_b64(self) -> str | None:
        """Where it lies, byte by byte."""
        ...

    @property
    def type(self) -> str:
        """What it is."""
        ...

    @property
    def size(self) -> int | None:
        """Of a file."""
        ...

    @property
    def mode(self) -> int:
        """Its permissions."""
        ...

    @property
    def uid(self) -> int:
        """Its owner."""
        ...

    @property
    def gid(self) -> int:
        """Its group."""
        ...

    @property
    def mtime(self) -> datetime | None:
        """When it was changed."""
        ...

    @property
    def linktarget(self) -> str | None:
        """Of a symbolic link."""
        ...


def entry_view(entry: Entry) -> dict[str, Any]:
    """A name in a snapshot."""
    return {
        "path": entry.path,
        "path_b64": entry.path_b64,
        "type": entry.type,
        "size": entry.size,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": stamp(entry.mtime),
        "linktarget": entry.linktarget,
    }


def error_view(error: PbsError) -> dict[str, Any]:
    """An error, in the one shape that every answer uses."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}

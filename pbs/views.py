"""Nouns as JSON: the one place where the fields that scripts rely on are spelled. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pbs.clock import stamp
from pbs.errors import PbsError
from pbs.model import Receipt, Run, Source


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
        "due": stamp(run.due),
        "not_before": stamp(run.not_before),
        "attempt": run.attempt,
        "retry_of": run.retry_of,
        "cancel": stamp(run.cancel),
        "cancelled_by": run.cancelled_by,
    }


def receipt_view(receipt: Receipt) -> dict[str, Any]:
    """A snapshot as we received it. `kept_by` stays empty until retention decides."""
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
        "kept_by": [],
        "pinned": receipt.pinned,
        "reason": receipt.reason,
    }


def source_view(
    source: Source,
    *,
    last: Run | None,
    last_ok: Run | None,
    snapshots: int,
    repository_bytes: int | None,
    coming: datetime | None = None,
) -> dict[str, Any]:
    """A source. `next` is null where no schedule or no service runs; `promises_broken` until something decides them."""
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
        "promises_broken": None,
    }


def error_view(error: PbsError) -> dict[str, Any]:
    """An error, in the one shape that every answer uses."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}

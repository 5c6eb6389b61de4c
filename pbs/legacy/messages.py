"""What restic says during an import, as the events that an agent would send. It judges nothing but the snapshot's id."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

LONGEST = 4096
NAMES_SHOWN = 4
SUMMARY = (
    "files_new", "files_changed", "files_unmodified", "dirs_new", "dirs_changed", "dirs_unmodified", "data_blobs",
    "tree_blobs", "data_added", "data_added_packed", "total_files_processed", "total_bytes_processed",
)  # fmt: skip


class Backup:
    """Follows one `restic backup --json`."""

    def __init__(self, progress: Callable[[dict[str, Any]], None]) -> None:
        self._progress = progress
        self.snapshot: str | None = None

    def line(self, line: bytes) -> None:
        """One line of standard output."""
        values = _record(line)
        if values.get("message_type") == "status":
            self._progress({"event": "progress", **_status(values)})
        elif values.get("message_type") == "summary":
            identity = values.get("snapshot_id")
            self.snapshot = identity if isinstance(identity, str) else None
            self._progress({"event": "summary", **{name: values.get(name) for name in SUMMARY}})

    def complain(self, line: bytes) -> None:
        """One line of standard error: an unreadable file, or a word."""
        values = _record(line)
        error = values.get("error")
        if values.get("message_type") == "error" and isinstance(error, dict):
            if values.get("during") != "scan":  # the scan runs ahead and meets the same file first
                self._progress({"event": "warning", "path": str(values.get("item"))[:LONGEST],
                                "reason": str(error.get("message"))[:LONGEST]})  # fmt: skip
        elif not values and line.strip():
            self._progress({"event": "log", "text": line[:LONGEST].decode("utf-8", "replace")})


def _status(values: dict[str, Any]) -> dict[str, Any]:
    done, names = values.get("percent_done"), values.get("current_files")
    total = values.get("total_bytes")
    return {
        "percent": round(100.0 * done, 1) if total and isinstance(done, int | float) else None,
        "files": values.get("files_done", 0),
        "bytes": values.get("bytes_done", 0),
        "total_files": values.get("total_files"),
        "total_bytes": total,
        "current": [str(name)[:LONGEST] for name in names[:NAMES_SHOWN]] if isinstance(names, list) else [],
        "seconds_left": values.get("seconds_remaining"),
    }


def _record(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}

"""What an agent reports in a run, bounded and cleaned: into the run's log, and what is worth repeating kept.

Nothing that is said here decides anything; every string is taken as hostile.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pbs.clock import Clock
from pbs.model import Receipt
from pbs.runs.ports import Event, Journal
from pbs.runs.progress import Progress, whole_number
from pbs.text import clean_line

MOST_WARNINGS_LOGGED = 1000
MOST_LINES_KEPT = 200
MOST_NAMES_COMPARED = 200
MOST_CHARACTERS_KEPT = 1 << 16
PATH_LIMIT = 4096
# restic's own counts. Any other name is the source's, and might be one that the log's readers rely on.
SUMMARY = (
    "files_new", "files_changed", "files_unmodified", "dirs_new", "dirs_changed", "dirs_unmodified", "data_blobs",
    "tree_blobs", "data_added", "data_added_packed", "total_files_processed", "total_bytes_processed",
)  # fmt: skip


class Report:
    """Collects one run's events."""

    def __init__(self, journal: Journal, expected: Receipt | None, clock: Clock) -> None:
        self._journal = journal
        self._progress = Progress(expected, clock)
        self._lines: list[str] = []
        self._room = MOST_CHARACTERS_KEPT
        self._summary: Event = {}
        self.remarks: list[str] = []
        self.warnings = 0
        self.unreadable = 0
        self.unreadable_names: set[str] = set()
        self.tunnel_bytes = 0

    @staticmethod
    def words(value: Any) -> str:
        """A hostile string as one line that may be shown; anything else is empty."""
        return clean_line(value, 1000) if isinstance(value, str) else ""

    def take(self, event: Event) -> None:
        """Record one event of the agent."""
        match event.get("event"):
            case "progress":
                fields = self._progress.take(event, self.tunnel_bytes)
                if fields is not None:
                    self._journal.write("progress", **fields)
            case "warning":
                self._warning(event)
            case "summary":
                self._summary = {name: whole_number(event.get(name)) for name in SUMMARY}
                files, read = self.summary("total_files_processed"), self.summary("total_bytes_processed")
                self._journal.write("progress", **self._progress.done(files, read, self.tunnel_bytes))
                self._journal.write("summary", **self._summary)
            case "log":
                self._line(self.words(event.get("text")))
                self._journal.write("log", text=self.words(event.get("text")))
            case other:
                self._journal.write("unknown", name=self.words(other))

    @property
    def reached(self) -> tuple[int, int, int]:
        """How far it is: where this stands still for long, nothing goes on."""
        return self._progress.files, self._progress.bytes, self.warnings

    def remark(self, text: str) -> None:
        """Something that we noticed ourselves and that a person should read first."""
        self.remarks.append(text)
        self._journal.write("remark", text=text)

    def summary(self, field: str) -> int | None:
        """One of restic's own counts, as the agent repeats it."""
        return whole_number(self._summary.get(field))

    def text(self) -> str:
        """The run's output for people: what could not be read first, then the rest."""
        left_out = self.warnings - sum(line.startswith("cannot read ") for line in self._lines)
        return "\n".join(
            [*self._lines, *([f"… and {left_out} more that could not be read"] if left_out > 0 else [])]
        )

    @staticmethod
    def _name(value: Any, limit: int) -> str:
        return (clean_line(value, limit) if isinstance(value, str) else "") or "?"

    def _line(self, text: str) -> None:
        if text and len(self._lines) < MOST_LINES_KEPT and len(text) <= self._room:
            self._room -= len(text)
            self._lines.append(text)

    def _warning(self, event: Event) -> None:
        self.warnings += 1
        self.unreadable += 1
        path = self._name(event.get("path"), PATH_LIMIT)
        if len(self.unreadable_names) < MOST_NAMES_COMPARED:
            self.unreadable_names.add(sha256(path.encode("utf-8", "replace")).hexdigest()[:8])
        # restic begins the reason with the path once more.
        reason = self.words(event.get("reason")).removeprefix(f"{path}: ")
        self._line(f"cannot read {path}: {reason}")
        if self.warnings <= MOST_WARNINGS_LOGGED:
            raw = event.get("path_b64")
            more = {"path_b64": raw[:PATH_LIMIT]} if isinstance(raw, str) else {}
            self._journal.write("warning", path=path, reason=reason, **more)

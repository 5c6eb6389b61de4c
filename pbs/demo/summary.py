"""What the demo found: checks, runs, figures, and the one place that makes a text, a document or an exit code of them.

Pure: it starts nothing, reads nothing and removes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pbs.text import clean_line, duration, size

LABELS = ("first pull", "after a day's changes", "nothing changed", "the source gone bad")


@dataclass(frozen=True, slots=True)
class Check:
    """One promise that was put to the test."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log, kept where something failed."""

    file: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is that `--keep` leaves running, and the commands that end it."""

    home: str
    url: str
    feed: str
    ssh_port: int
    sshd_pid: int
    stop: tuple[str, ...]


@dataclass(slots=True)
class Summary:
    """Everything that is told at the end. `source` holds what was counted in the source's tree."""

    checks: list[Check] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    source: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    logs: list[Tail] = field(default_factory=list)
    kept: Addresses | None = None
    interrupted: bool = False
    seconds: float = 0.0

    def add(self, name: str, ok: bool, detail: str) -> None:
        """Note one check."""
        self.checks.append(Check(name, ok, clean_line(detail, 1000)))

    @property
    def ok(self) -> bool:
        """Whether everything was tried and everything held."""
        return bool(self.checks) and all(check.ok for check in self.checks) and not self.interrupted

    @property
    def exit_code(self) -> int:
        """0 only where all held; 5 where somebody stopped it."""
        if self.interrupted:
            return 5
        return 0 if self.ok else 1

    def document(self) -> dict[str, Any]:
        """The fields that scripts may rely on."""
        kept = self.kept
        return {
            "ok": self.ok,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 1),
            "checks": [{"name": each.name, "ok": each.ok, "detail": each.detail} for each in self.checks],
            "runs": self.runs,
            "source": self.source,
            "notes": self.notes,
            "logs": [{"file": each.file, "lines": list(each.lines)} for each in self.logs],
            "home": kept.home if kept else None,
            "url": kept.url if kept else None,
            "feed": kept.feed if kept else None,
            "ssh_port": kept.ssh_port if kept else None,
            "sshd_pid": kept.sshd_pid if kept else None,
            "stop": list(kept.stop) if kept else None,
        }

    def text(self) -> str:
        """The same for people."""
        lines = [self._headline(), "", *self._check_lines()]
        if self.runs:
            lines += ["", *_run_lines(self.runs)]
        if self.notes:
            lines += ["", *(f"  note: {note}" for note in self.notes)]
        for tail in self.logs:
            lines += ["", f"  {tail.file} ends with:", *(f"    {line}" for line in tail.lines)]
        if self.kept:
            lines += ["", *_kept_lines(self.kept)]
        return "\n".join(lines)

    def _headline(self) -> str:
        took = duration(self.seconds)
        if self.interrupted:
            return f"The demo was stopped after {took}."
        broken = sum(not check.ok for check in self.checks)
        if not self.ok:
            return f"{broken} of {len(self.checks)} checks did NOT hold, after {took}."
        return f"All {len(self.checks)} checks held, in {took}."

    def _check_lines(self) -> list[str]:
        width = max((len(check.name) for check in self.checks), default=0)
        return [f"  {'✓' if each.ok else '✗'} {each.name:<{width}}  {each.detail}" for each in self.checks]


def _run_lines(runs: Sequence[dict[str, Any]]) -> list[str]:
    """A table of the runs, oldest first, and what each cost."""
    head = ("RUN", "WHAT", "OUTCOME", "TIME", "FILES", "SIZE", "NEW", "STORED", "SENT")
    labels = iter(LABELS)
    rows = [head]
    for run in runs:
        label = next(labels, "") if run["kind"] == "pull" else "the rdiff-backup tree"
        sizes = (_amount(run[key]) for key in ("bytes", "added_bytes", "stored_bytes", "tunnel_bytes"))
        seconds = duration(run["seconds"]) if run["seconds"] is not None else "–"
        files = "–" if run["files"] is None else f"{run['files']:,}"
        rows.append((run["kind"], label, run["outcome"] or run["state"], seconds, files, *sizes))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _amount(value: int | None) -> str:
    return "–" if value is None else size(value)


def _kept_lines(kept: Addresses) -> list[str]:
    return [
        "  Everything is left running:",
        f"    home      {kept.home}",
        f"    web       {kept.url}",
        f"    feed      {kept.feed}",
        f"    sshd      port {kept.ssh_port} on 127.0.0.1, process {kept.sshd_pid}",
        f"    try       pbs --home {kept.home} pull demo",
        "  To end it:",
        *(f"    {command}" for command in kept.stop),
    ]

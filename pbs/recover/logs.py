"""Reads the logs of runs for what they prove: that there was a run, how it ended, and what it admitted or refused.

We wrote them ourselves, but a line may be torn, and a file may lie where none should: what makes no sense is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pbs.model import Cause, Kind, Outcome, Receipt, Run, RunState
from pbs.runs.evidence import admitted_receipt, moment

RUN_ID = re.compile(r"(\d{8}T\d{6}Z)-(?P<source>.+)-(?P<kind>[a-z]+)-[0-9a-f]{4,16}")
# Looked for in the bytes first: a log may have a million lines of progress.
TELLING = (b'"begin"', b'"admitted"', b'"quarantined"', b'"tripped"', b'"ended"')
LONGEST_REASONS = 500
TORN = "its log ends without an outcome"


@dataclass(frozen=True, slots=True)
class Tripped:
    """That a run tripped a wire: when, and what it was."""

    run: str
    time: datetime
    why: str


@dataclass(slots=True)
class Told:
    """What the logs of one source say. `silent` are runs whose log cannot tell what was admitted."""

    runs: list[Run] = field(default_factory=list)
    admitted: dict[str, Receipt] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    tripped: list[Tripped] = field(default_factory=list)


def run_of(run_id: str, source: str) -> tuple[datetime, Kind] | None:
    """When a run was asked for and of which kind it was, by its id; None where this is no id of this source."""
    match = RUN_ID.fullmatch(run_id)
    if match is None or match["source"] != source or match["kind"] not in [kind.value for kind in Kind]:
        return None
    try:
        return datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC), Kind(match["kind"])
    except ValueError:
        return None


def read_logs(folder: Path, source: str) -> Told:
    """What all logs of a source say, the oldest run first."""
    told = Told()
    for path in sorted(folder.glob("*.jsonl")):
        if run_of(path.stem, source) is not None and path.is_file():
            _read(path, source, told)
    return told


def _read(path: Path, source: str, told: Told) -> None:
    lines = list(_lines(path))
    begin = next((line for line in lines if line["event"] == "begin"), None)
    ended = next((line for line in reversed(lines) if line["event"] == "ended"), None)
    for line in lines:
        if line["event"] == "admitted":
            receipt = admitted_receipt(line, source, path.stem)
            if receipt is not None:
                told.admitted[receipt.id] = receipt
        elif line["event"] == "quarantined":
            told.refused[str(line.get("snapshot"))] = str(line.get("reason"))[:500]
        elif line["event"] == "tripped" and (time := moment(line.get("time"))) is not None:
            told.tripped.append(Tripped(path.stem, time, _reasons(line.get("reasons"))))
    if ended is not None and "snapshot" not in ended:
        told.silent.add(path.stem)  # an older version wrote it
    run = _run(path.stem, source, begin, ended, lines[-1] if lines else None)
    if run is not None:
        told.runs.append(run)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if any(word in line for word in TELLING):
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(value, dict) and isinstance(value.get("event"), str):
                    yield value


def _run(
    run_id: str,
    source: str,
    begin: dict[str, Any] | None,
    ended: dict[str, Any] | None,
    last: dict[str, Any] | None,
) -> Run | None:
    known = run_of(run_id, source)
    if known is None or begin is None:
        return None
    said = ended or {}
    cause, outcome = str(begin.get("cause")), str(said.get("outcome"))
    return Run(
        id=run_id,
        source=source,
        kind=known[1],
        cause=Cause(cause) if cause in [each.value for each in Cause] else Cause.ASKED,
        state=RunState.ENDED,
        queued=known[0],
        outcome=Outcome(outcome) if outcome in [each.value for each in Outcome] else Outcome.INTERRUPTED,
        started=moment(begin.get("time")),
        ended=moment(said.get("at")) or moment((last or {}).get("time")) or known[0],
        snapshot=_text(said.get("snapshot")),
        warnings=_count(said.get("warnings")) or 0,
        message=_text(said.get("message")) if ended else TORN,
        hint=_text(said.get("hint")),
        code=(_text(said.get("code")) or "")[:32] or None,
        files=_count(said.get("files")),
        bytes=_count(said.get("bytes")),
        added_bytes=_count(said.get("added_bytes")),
        stored_bytes=_count(said.get("stored_bytes")),
        tunnel_bytes=_count(said.get("tunnel_bytes")),
    )


def _reasons(value: object) -> str:
    said = [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    return "; ".join(said)[:LONGEST_REASONS] or "a tripwire tripped"


def _text(value: object) -> str | None:
    return value[:10_000] if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 63 else None

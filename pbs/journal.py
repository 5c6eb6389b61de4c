"""The log of one run: JSON lines, written by the worker, followed by anybody. It is a view for people, never the truth."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbs.clock import Clock, stamp
from pbs.files import append_line, explained
from pbs.model import Run

SIZE_LIMIT = 64 << 20
PART_LIMIT = 4 << 20
# Few, and what a lost ledger is rebuilt from: a source that talks without end must not keep them out.
ALWAYS = frozenset({"admitted", "quarantined", "tripped", "ended"})
TAIL = 1 << 15


class FileJournal:
    """Writes a run's log."""

    def __init__(self, path: Path, clock: Clock) -> None:
        with explained("make the folder of the run's log", path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._clock = clock
        self._written = 0

    def write(self, event: str, **fields: Any) -> None:
        """Add one event. A full disk loses lines of the log, never the run."""
        line = json.dumps(
            {"time": stamp(self._clock.now()), "event": event, **fields}, ensure_ascii=True
        ).encode()
        self._written += len(line)
        if self._written < SIZE_LIMIT or event in ALWAYS:
            with contextlib.suppress(OSError):
                append_line(self._path, line)


class Follower:
    """Reads a run's log and goes on where it stopped; torn or foreign lines are passed over.

    `offset` counts the bytes that were read: whoever begins there again misses nothing and sees nothing twice.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def new(self, most: int | None = None) -> Iterator[dict[str, Any]]:
        """The events that came since the last call; of `most` bytes or a little more, where that is given."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        end = self.offset + most if most is not None else math.inf
        with os.fdopen(descriptor, "rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                yield from _events(line)
                if self.offset >= end:
                    break

    def fits(self) -> bool:
        """Whether the offset is where a line begins: anything else never came from here."""
        if self.offset == 0:
            return True
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset - 1)
                return file.read(1) == b"\n"
        except FileNotFoundError:
            return False


def newest(path: Path, *names: str) -> dict[str, dict[str, Any]]:
    """The last event of each of these names near the end of a run's log: where a run stands, read in one go."""
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(-min(TAIL, path.stat().st_size), os.SEEK_END)
        for line in file.read(TAIL).split(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") in names:
                    found[str(event["event"])] = event
    return found


@dataclass(frozen=True, slots=True)
class Story:
    """A run's log for people: its stages, how far it came, and the newest of its other events, oldest first."""

    stages: list[dict[str, Any]]
    progress: dict[str, Any] | None
    events: list[dict[str, Any]]
    passed_over: int


def story_of(path: Path, most: int) -> Story:
    """What a run's log tells, with at most so many events that are neither stage nor progress."""
    stages: list[dict[str, Any]] = []
    progress, count = b"", 0
    events: deque[dict[str, Any]] = deque(maxlen=most)
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            # Most lines of a long run are progress, of which only the last is wanted.
            if b'"event": "progress"' in line[:80]:
                progress = line
                continue
            for event in _events(line):
                if event["event"] == "stage":
                    stages.append(event)
                else:
                    count += 1
                    events.append(event)
    return Story(stages, next(_events(progress), None), list(events), count - len(events))


def _events(line: bytes) -> Iterator[dict[str, Any]]:
    """The event that a line holds; none where it is torn or foreign."""
    with contextlib.suppress(ValueError, RecursionError):
        event = json.loads(line)
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event


def part_of_log(path: Path, start: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    """So many events from this byte of a log on, and the byte to go on at."""
    events: list[dict[str, Any]] = []
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return events, 0
    with os.fdopen(descriptor, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        place = file.seek(min(start, end))
        while len(events) < limit and place - start < PART_LIMIT:
            line = file.readline()
            if not line.endswith(b"\n"):
                break
            place += len(line)
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
    return events, place


def find_log(logs: Path, run_id: str) -> Path | None:
    """Where the log of a run lies, by its id alone: works with a lost ledger too."""
    for folder in logs.iterdir() if logs.is_dir() else ():
        candidate = folder / f"{run_id}.jsonl"
        if "/" not in run_id and os.path.isfile(candidate):  # noqa: PTH113 - False as well for what no file can be called
            return candidate
    return None


def log_of(home_log: Path, run: Run) -> Path:
    """The path of a run's log."""
    return home_log / "runs" / run.source / f"{run.id}.jsonl"

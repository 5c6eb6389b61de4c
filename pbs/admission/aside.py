"""Puts aside what was not admitted: first a record of it, then the move, so that a death between the two repeats both.

Nothing is ever removed without a record that says so. What lies there is bounded; beyond that only the record is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pbs import files
from pbs.clock import stamp
from pbs.ledger import Ledger
from pbs.model import Quarantined, QuarantineState
from pbs.repository import size_of
from pbs.space import Reserve, shortage, space_of

# Each has a row and a line of its own: a source that leaves a million must not keep a worker for hours.
MOST_RECORDED = 1000
DEFAULT_ROOM = 10 << 30
LONGEST_NAME = 200
RECORDS = "records.jsonl"


@dataclass(frozen=True, slots=True)
class Found:
    """One thing to be put aside: its kind, its path from the repository, and why."""

    kind: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Aside:
    """The quarantine of one repository, for one run."""

    repository: Path
    place: Path
    source: str
    run: str
    ledger: Ledger
    known: str
    room: int
    reserve: Reserve = (0, 0)

    def take(self, found: Iterable[Found], now: datetime) -> list[Quarantined]:
        """Record these and move them away; what there is no room for is removed. Says what was recorded.

        Raises:
            HomeError: they cannot be moved.
        """
        everything = list(found)
        # On a full disk the others need the room more than anybody needs to look at this.
        scarce = shortage(self.reserve, space_of(self.repository)) is not None
        left = 0 if scarce else self.room - self.ledger.quarantine.kept_bytes(self.known)
        records, moves = [], []
        for each in everything[:MOST_RECORDED]:
            size = size_of(self.repository / each.path)
            left -= size
            state, reason = QuarantineState.KEPT, each.reason
            if left < 0:
                state, reason = (
                    QuarantineState.REMOVED,
                    f"{reason}; the {'disk' if scarce else 'quarantine'} is full, so it was removed",
                )
            made = Quarantined(self.source, self.run, now, each.kind, shown(each.path), size, reason, state)
            records.append(made)
            moves.append((each, made))
        rest = everything[MOST_RECORDED:]
        records += _summaries(rest, self, now)
        self.ledger.quarantine.add(self.known, records)
        self._note(records)
        for each, made in moves:
            self._move(each, made)
        for each in rest:
            self._remove(each)
        return records

    def _note(self, records: list[Quarantined]) -> None:
        if records:
            folder = self.place / self.run
            files.make_folder(folder)
            for each in records:
                line = {"time": stamp(each.time), "kind": each.kind, "name": each.name, "bytes": each.bytes,
                        "reason": each.reason, "state": each.state}  # fmt: skip
                files.append_line(folder / RECORDS, json.dumps(line).encode())

    def _move(self, each: Found, made: Quarantined) -> None:
        if made.state is not QuarantineState.KEPT:
            self._remove(each)
            return
        target = self.place / self.run / made.name
        files.make_folder(target.parent)
        if os.path.lexists(target):
            _gone(target)
        files.move(self.repository / each.path, target)

    def _remove(self, each: Found) -> None:
        _gone(self.repository / each.path)


def _summaries(rest: list[Found], aside: Aside, now: datetime) -> list[Quarantined]:
    made = []
    for kind in sorted({each.kind for each in rest}):
        same = [each for each in rest if each.kind == kind]
        size = sum(size_of(aside.repository / each.path) for each in same)
        reason = f"{same[0].reason}; too many to keep, so they were removed"
        name = f"{len(same)} more"
        made.append(
            Quarantined(aside.source, aside.run, now, kind, name, size, reason, QuarantineState.REMOVED)
        )
    return made


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        files.remove_tree(path)
    else:
        files.remove_file(path)


def shown(path: str) -> str:
    """A path as text that any file system, database and terminal takes; its parts stay parts."""
    return "/".join(_plain(part) for part in path.split("/"))


def _plain(part: str) -> str:
    raw = os.fsencode(part)
    text = raw.decode("ascii", "backslashreplace")
    text = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
    if len(text) > LONGEST_NAME or text in (".", ".."):
        return hashlib.sha256(raw).hexdigest()
    return text


def discard(ledger: Ledger, place: Path, chosen: Iterable[Quarantined]) -> int:
    """Remove what was put aside, for good, and keep the records; says how many files or folders that were."""
    chosen = [each for each in chosen if each.state is QuarantineState.KEPT]
    for each in chosen:
        _gone(place / each.run / each.name)
        _sweep_empty(place, place / each.run / each.name)
    ledger.quarantine.discarded(each.id for each in chosen)
    still = {each.run for each in ledger.quarantine.list(chosen[0].source)} if chosen else set()
    for run in {each.run for each in chosen} - still:
        with suppress(OSError):
            files.remove_tree(place / run)
    return len(chosen)


def _sweep_empty(place: Path, gone: Path) -> None:
    for parent in gone.parents:
        if parent == place or not files.remove_folder(parent):
            return

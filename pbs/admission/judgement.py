"""What admission decides about and how it tells it: pure values and pure rules, nothing is read or moved here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pbs.model import Manifest, Quarantined, Receipt, Snapshot, Verified
from pbs.repository import Handle, Tree

CLOCK_SLACK = timedelta(minutes=5)
TICK = timedelta(microseconds=1)
NOT_NAMED = "it arrived without being named by the run's agent"
LEFT_OVER = "its run ended before it could be admitted"
FOREIGN_KEY = "a repository key that nobody asked for"
STRANGE = "no repository holds a file of this name"
UNSEALED = "no restic made it: it is not sealed with the repository's key"


@dataclass(frozen=True, slots=True)
class Place:
    """The repository of one source and the folders that belong to it."""

    source: str
    id: str
    handle: Handle
    work: Path
    quarantine: Path


def fits(snapshot: Snapshot, source: str, run: str, more: frozenset[str] = frozenset()) -> str | None:
    """Why a snapshot is not the one that this run was to make; None where it is."""
    if snapshot.host != source:
        return f"it is of the host {snapshot.host!r}, not {source!r}"
    wanted = {f"source={source}", f"run={run}"} | more
    if missing := wanted - set(snapshot.tags):
        return f"it lacks the tag {min(missing)!r}"
    if foreign := set(snapshot.tags) - wanted:
        return f"it has the tag {min(foreign)!r}, which nobody asked for"
    if not snapshot.paths:
        return "it does not say what was backed up"
    if snapshot.tree is None:
        return "it names no tree"
    return None


def counted(receipt: Receipt, tree: str | None) -> Tree | None:
    """What was counted of this very tree when it was admitted before; None where it was not, or not counted."""
    if tree is None or receipt.tree != tree or receipt.verified is Verified.NONE:
        return None
    known = receipt.files is not None and receipt.bytes is not None
    return Tree(files=receipt.files or 0, bytes=receipt.bytes or 0) if known else None


def clock_fault(claimed: datetime | None, begun: datetime, now: datetime) -> str | None:
    """How far the time that a snapshot claims lies outside its run; None where it does not.

    A machine whose clock is wrong needs backups like any other, and the time that counts is ours: this refuses nothing.
    """
    if claimed is None:
        return "the snapshot claims no time that makes sense"
    if claimed < begun - CLOCK_SLACK:
        return f"the source's clock is {_span(begun - claimed)} behind"
    if claimed > now + CLOCK_SLACK:
        return f"the source's clock is {_span(claimed - now)} ahead"
    return None


def never_before(newest: Receipt | None, now: datetime) -> datetime:
    """The time of a new receipt: our clock's, but never before the newest one that is there already.

    A clock that was set back would otherwise make an older snapshot `latest`.
    """
    return max(now, newest.time + TICK) if newest is not None else now


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"


def must_reread(manifest: Manifest, every: int) -> str | None:
    """Why the next run must read every file again; None where changed ones will do.

    A parent that lies about content is inherited by every run after it, and nothing on this side can see that.
    """
    if manifest.reread is not None:
        return manifest.reread
    return f"every {every} runs" if every and manifest.since + 1 >= every else None


def told(aside: list[Quarantined], snapshots: int) -> list[str]:
    """The incidents that things set aside amount to: how many of each kind, in words. Left-over snapshots are none."""
    words = {
        "data": "pack(s) that do not hold what they say",
        "keys": "repository key(s) that nobody asked for",
        "index": "index file(s) that no restic made",
        "stray": "file(s) or folder(s) that belong in no repository",
    }
    counts = {kind: sum(each.kind == kind for each in aside) for kind in words}
    said = [f"{count} {words[kind]}" for kind, count in counts.items() if count]
    return said + ([f"{snapshots} snapshot(s) that the run did not name"] if snapshots else [])

"""What counts of what arrived: compares the repository's inventory with what the ledger knows.

`judge` is pure. It never removes anything; what is not admitted is recorded, reported and never answered with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pbs.errors import AdmissionRefused
from pbs.model import SNAPSHOT_ID, Outcome, Receipt, ReceiptState, RootMeta, Snapshot
from pbs.runs.evidence import admitted_facts
from pbs.runs.ports import Inventory
from pbs.runs.work import Work

NOT_NAMED = "arrived without being named by the run's agent"
CLOCK_SLACK = timedelta(minutes=1)
TICK = timedelta(microseconds=1)
LEFT_OVER = "its run ended before it could be admitted"
# Each is written down in a transaction of its own: a source that leaves a million must not keep a worker for hours.
MOST_RECORDED = 100


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is new in a repository, and what of it was promised."""

    named: str | None
    missing: str | None
    unexpected: tuple[str, ...]
    keys: tuple[str, ...]


def judge(inventory: Inventory, known: frozenset[str], keys: frozenset[str], promised: str | None) -> Arrival:
    """What arrived, against what is known and what was promised.

    Args:
        inventory: What lies in the repository now.
        known: Snapshots that have a receipt.
        keys: Our key, and the keys that were reported before.
        promised: The snapshot that the agent named; None where it named none.
    """
    new = inventory.snapshots - known
    here = promised is not None and promised in new
    return Arrival(
        named=promised if here else None,
        missing=promised if promised is not None and not here else None,
        unexpected=tuple(sorted(new - {promised})),
        keys=tuple(sorted(inventory.keys - keys)),
    )


def fits(snapshot: Snapshot, source: str, run: str) -> str | None:
    """Why a snapshot is not the one that this run was to make; None where it is."""
    if snapshot.host != source:
        return f"it is of the host {snapshot.host!r}, not {source!r}"
    missing = {f"source={source}", f"run={run}"} - set(snapshot.tags)
    if missing:
        return f"it lacks the tag {min(missing)!r}"
    return None


async def clear(work: Work) -> None:
    """Remove locks, torn uploads and junk; only while no source can reach the repository."""
    cleared = work.repository.clear_locks() + work.repository.clear_uploads()
    if cleared:
        work.journal.write("cleared", count=cleared)
    # What came before the newest snapshot was received was looked at then.
    newest = max((receipt.received for receipt in work.records.usable(work.source.name)), default=None)
    junk = await work.repository.clear_junk(newest - CLOCK_SLACK if newest else None)
    if junk:
        work.report.remark(
            f"{junk} file(s) of the repository that no restic made were uploaded; they were removed"
        )


async def sweep(work: Work) -> list[str]:
    """Record what an earlier run left without admission, before anything new can arrive; says what it found."""
    # What would only be in the way: a lock that was left behind, or planted, must not stop the next run.
    await clear(work)
    arrival = _look(work, None)
    for snapshot_id in arrival.unexpected[:MOST_RECORDED]:
        _quarantine(work, snapshot_id, LEFT_OVER)
    _report_keys(work, arrival)
    remarks = _remarks(replace(arrival, unexpected=()))
    if arrival.unexpected:
        remarks.insert(
            0,
            f"{len(arrival.unexpected)} snapshot(s) of an earlier run that broke off were found; they were not admitted",
        )
    return remarks


async def admit(
    work: Work, promised: str | None, outcome: Outcome, root: RootMeta | None
) -> tuple[Snapshot | None, list[str]]:
    """Give the promised snapshot its receipt, and say what else arrived.

    The caller has shut the endpoint: nobody but us can touch the repository.

    Raises:
        AdmissionRefused: the agent named a snapshot that is not there, or not of this run.
    """
    if promised is not None and SNAPSHOT_ID.fullmatch(promised) is None:
        raise AdmissionRefused(
            "the agent named a snapshot by something that is no id", "look at that machine"
        )
    arrival = _look(work, promised)
    for snapshot_id in arrival.unexpected[:MOST_RECORDED]:
        _quarantine(work, snapshot_id, NOT_NAMED)
    _report_keys(work, arrival)
    remarks = _remarks(arrival)
    if arrival.missing is not None:
        raise AdmissionRefused(
            f"the agent named the snapshot {arrival.missing[:8]}, which did not arrive in this run",
            "look at that machine: its agent does not tell the truth",
        )
    if arrival.named is None:
        return None, remarks
    snapshot = await work.repository.snapshot(arrival.named)
    reason = fits(snapshot, work.source.name, work.run.id)
    if reason is not None:
        _quarantine(work, arrival.named, reason)
        raise AdmissionRefused(
            f"the snapshot {arrival.named[:8]} is not the one that this run was to make: {reason}",
            "look at that machine",
        )
    receipt = _receipt(work, snapshot)
    receipt = replace(receipt, time=after(work, receipt.received), outcome=outcome, root=root)
    work.records.add_receipt(receipt)
    # After the fact: what the log calls admitted was, should the ledger be lost.
    work.journal.write("admitted", **admitted_facts(receipt))
    return snapshot, remarks


def after(work: Work, now: datetime) -> datetime:
    """The time of a new receipt: our clock's, but never before one that is there already.

    A clock that was set back would otherwise make an older snapshot `latest`.
    """
    newest = max((receipt.time for receipt in work.records.usable(work.source.name)), default=now - TICK)
    return max(now, newest + TICK)


def _look(work: Work, promised: str | None) -> Arrival:
    known = frozenset(receipt.id for receipt in work.records.receipts(work.source.name))
    reported = {str(each.get("key")) for each in work.records.noted("unexpected-key", about=work.source.name)}
    own = {work.repository.key} if work.repository.key else set()
    return judge(work.repository.inventory(), known, frozenset(own | reported), promised)


def _receipt(work: Work, snapshot: Snapshot) -> Receipt:
    now = work.clock.now()
    return Receipt(
        id=snapshot.id,
        source=work.source.name,
        run=work.run.id,
        received=now,
        time=now,
        claimed=snapshot.claimed,
        state=ReceiptState.ADMITTED,
        outcome=Outcome.OK,
        paths=snapshot.paths,
        files=snapshot.files,
        bytes=snapshot.bytes,
        added_bytes=snapshot.added_bytes,
    )


def _quarantine(work: Work, snapshot_id: str, reason: str) -> None:
    # Nothing of it is read: only its name is known, and only its name is written down.
    nothing = Snapshot(snapshot_id, None, "", (), ())
    receipt = replace(
        _receipt(work, nothing), state=ReceiptState.QUARANTINED, outcome=Outcome.REFUSED, reason=reason
    )
    work.records.add_receipt(receipt)
    work.journal.write("quarantined", snapshot=snapshot_id, reason=reason)


def _report_keys(work: Work, arrival: Arrival) -> None:
    for key in arrival.keys[:MOST_RECORDED]:
        work.records.note(
            work.clock.now(), "unexpected-key", {"key": key}, about=work.source.name, by=work.run.id
        )
        work.journal.write("unexpected-key", key=key)


def _remarks(arrival: Arrival) -> list[str]:
    remarks = []
    if arrival.unexpected:
        remarks.append(
            f"{len(arrival.unexpected)} snapshot(s) arrived that the run did not name; they were not admitted"
        )
    if arrival.keys:
        remarks.append(
            f"{len(arrival.keys)} repository key(s) arrived that nobody asked for; they are never used here"
        )
    return remarks

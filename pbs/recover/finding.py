"""Gives a source the runs and receipts that the ledger lacks. The caller sees to it that nobody works on the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pbs import repository
from pbs.clock import Clock
from pbs.errors import PbsError
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import Receipt, ReceiptState, Snapshot
from pbs.opening import handle_of
from pbs.recover.judging import Lying, judge
from pbs.recover.logs import Told, read_logs
from pbs.repository import Handle

# More than any run of a source ever admits in its life; the rest is junk, and is reported by the next run.
MOST_SNAPSHOTS = 100_000
UNTOLD = "its history was written down anew, and nothing tells whether it was held before"
GONE = "was not in the repository any more when the ledger was rebuilt"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was written down again for one source. `held`: why none of its snapshots is removed until a person resumes it."""

    source: str
    runs: int
    from_logs: int
    from_repository: int
    refused: int
    missing: int = 0
    held: str | None = None

    @property
    def snapshots(self) -> int:
        """How many snapshots can be restored again."""
        return self.from_logs + self.from_repository


async def recover(home: Home, ledger: Ledger, name: str, clock: Clock) -> Recovered:
    """Write down the runs and receipts of a source that can still be known; what stands in the ledger stays as it is.

    Raises:
        PbsError: its repository cannot be read.
    """
    told = read_logs(home.log / "runs" / name, name)
    # Before anything is added: only what the ledger itself says of a run speaks against its snapshot.
    ended = {run.id for run in ledger.runs(name, limit=MOST_SNAPSHOTS, ended=True)}
    runs = sum(ledger.upkeep.restore_run(run) for run in told.runs)
    _hold_as_told(ledger, name, told)
    known = ledger.repository(name)
    if known is None:
        return Recovered(name, runs, 0, 0, 0)
    handle = handle_of(home, known)
    there = repository.inventory(handle.path)
    have = {receipt.id for receipt in ledger.receipts(name)}
    new = sorted(there.snapshots - have)[:MOST_SNAPSHOTS]
    lying = [await _look(handle, snapshot_id, told) for snapshot_id in new]
    receipts = judge(name, lying, told, ended, clock.now())
    for receipt in sorted(receipts, key=lambda each: (each.received, each.id)):
        ledger.add_receipt(receipt)
    # A ledger of last night knows what was forgotten since; where nothing lies at all, the disk is not there.
    gone = have - there.snapshots if there.config else set()
    missing = ledger.upkeep.forget_missing(name, gone, GONE)
    counted = _count(name, runs, receipts, told, missing)
    if counted.from_repository or (counted.snapshots and not have):
        # A hold that stood is a person's to lift: that of a lost one is none's.
        ledger.custody.hold(name, UNTOLD, clock.now())
    held = ledger.custody.held(name)
    return replace(counted, held=str(held.detail["why"]) if held is not None else None)


def _hold_as_told(ledger: Ledger, name: str, told: Told) -> None:
    """Hold a source again for what its logs say that the ledger does not; whether somebody has resumed it since is lost."""
    known = ledger.custody.hold_changed(name)
    for each in sorted(told.tripped, key=lambda each: each.time):
        if known is None or each.time > known:
            ledger.custody.hold(name, each.why, each.time, run=each.run)


def _count(name: str, runs: int, receipts: list[Receipt], told: Told, missing: int) -> Recovered:
    refused = sum(receipt.state is ReceiptState.QUARANTINED for receipt in receipts)
    logged = sum(receipt.id in told.admitted for receipt in receipts)
    return Recovered(name, runs, logged, len(receipts) - refused - logged, refused, missing)


async def _look(handle: Handle, snapshot_id: str, told: Told) -> Lying:
    """What a snapshot claims, where that still matters; one that cannot be read claims nothing, and so is refused."""
    path = handle.path / "snapshots" / snapshot_id
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    nothing = Snapshot(snapshot_id, None, "", (), ())
    if snapshot_id in told.admitted or snapshot_id in told.refused:
        return Lying(nothing, written)
    try:
        return Lying(await repository.snapshot(handle, snapshot_id), written)
    except PbsError:
        return Lying(nothing, written)

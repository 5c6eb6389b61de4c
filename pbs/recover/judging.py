"""What a snapshot without a receipt counts as, when all that is left is looked at. Pure.

The rule: what a log of ours calls admitted is; what a log of ours would have called so and does not is not; of the rest
one snapshot of each run counts, dated by our own clock as far as that still shows, and each says that it was rebuilt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pbs.model import Kind, Outcome, Receipt, ReceiptState, Snapshot
from pbs.recover.logs import Told, run_of

SLACK = timedelta(minutes=1)
# A run takes no longer. A file that is younger than its run by more was copied here without its time.
LONGEST_RUN = timedelta(days=7)
FROM_LOG = "rebuilt from the log of its run"
FROM_REPOSITORY = "rebuilt from the repository alone: whether every file was read is not known any more"
NOT_LOGGED = "its run has a log, which does not say that it was admitted"
NOT_IN_LEDGER = "its run stands in the ledger, which does not say that it was admitted"
NAMELESS = "it does not say which run of this source made it"
SECOND = "another snapshot says that the same run made it"


@dataclass(frozen=True, slots=True)
class Lying:
    """A snapshot that lies in the repository: what it claims, and when its file was written, by our clock."""

    snapshot: Snapshot
    written: datetime


def judge(
    source: str, lying: Sequence[Lying], told: Told, ended: Collection[str], now: datetime
) -> list[Receipt]:
    """A receipt for each snapshot that has none.

    Args:
        source: Whose they are.
        lying: What lies in the repository without a receipt.
        told: What the logs say.
        ended: The runs that the ledger calls ended.
        now: What we call the moment at which a refused one was received.
    """
    receipts, open_ones = [], []
    for each in sorted(lying, key=lambda each: (each.written, each.snapshot.id)):
        admitted = told.admitted.get(each.snapshot.id)
        reason = _why_not(source, each, told, ended)
        if admitted is not None:
            receipts.append(replace(admitted, reason=FROM_LOG))
        elif reason is not None:
            receipts.append(_refused(source, each, reason, now))
        else:
            open_ones.append(each)
    return [*receipts, *_one_of_each_run(source, open_ones, now)]


def _why_not(source: str, lying: Lying, told: Told, ended: Collection[str]) -> str | None:
    refused = told.refused.get(lying.snapshot.id)
    run = run_tag(lying.snapshot)
    known = run_of(run, source)
    if refused is not None:
        return refused
    if lying.snapshot.host != source or f"source={source}" not in lying.snapshot.tags or known is None:
        return NAMELESS
    if known[1] not in (Kind.PULL, Kind.MIGRATE) or known[0] > lying.written + SLACK:
        return NAMELESS
    if run in {each.id for each in told.runs} - told.silent:
        return NOT_LOGGED
    return NOT_IN_LEDGER if run in ended and run not in told.silent else None


def run_tag(snapshot: Snapshot) -> str:
    """The run that a snapshot claims to be of; nothing where it names none, or several."""
    runs = [tag.removeprefix("run=") for tag in snapshot.tags if tag.startswith("run=")]
    return runs[0] if len(runs) == 1 else ""


def _one_of_each_run(source: str, lying: Sequence[Lying], now: datetime) -> Iterator[Receipt]:
    """The last one that a run wrote is the one that an honest agent named; it wrote no other."""
    last = {run_tag(each.snapshot): each.snapshot.id for each in lying}
    for each in lying:
        if last[run_tag(each.snapshot)] == each.snapshot.id:
            yield _admitted(source, each)
        else:
            yield _refused(source, each, SECOND, now)


def _admitted(source: str, lying: Lying) -> Receipt:
    snapshot, run = lying.snapshot, run_tag(lying.snapshot)
    known = run_of(run, source)
    begun = known[0] if known else lying.written
    imported = known is not None and known[1] is Kind.MIGRATE and "legacy" in snapshot.tags
    received = lying.written if lying.written - begun <= LONGEST_RUN else begun
    # An import is dated by its increment, which only its snapshot tells; never later than it came.
    time = min(snapshot.claimed, received) if imported and snapshot.claimed else received
    return Receipt(
        id=snapshot.id,
        source=source,
        run=run,
        received=received,
        time=time,
        claimed=snapshot.claimed,
        state=ReceiptState.LEGACY if imported else ReceiptState.ADMITTED,
        outcome=Outcome.PARTIAL,
        paths=snapshot.paths,
        files=snapshot.files,
        bytes=snapshot.bytes,
        added_bytes=snapshot.added_bytes,
        reason=FROM_REPOSITORY,
    )


def _refused(source: str, lying: Lying, reason: str, now: datetime) -> Receipt:
    return Receipt(
        id=lying.snapshot.id,
        source=source,
        run=run_tag(lying.snapshot)[:120],
        received=min(lying.written, now),
        time=min(lying.written, now),
        claimed=None,
        state=ReceiptState.QUARANTINED,
        outcome=Outcome.REFUSED,
        reason=reason,
    )

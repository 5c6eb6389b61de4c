"""An import: the newest state of a legacy rdiff-backup tree becomes a snapshot, once, and again if it was killed.

It only ever reads the legacy tree. Its history stays where it is.
"""

from __future__ import annotations

from pbs.model import Ending, Kind, Outcome, Receipt, ReceiptState
from pbs.runs import admission
from pbs.runs.evidence import admitted_facts
from pbs.runs.work import Work


def wanted(work: Work) -> bool:
    """Whether there is a legacy tree to import: into a repository without snapshots, or after a try that failed."""
    return work.source.migrate != "off" and _needless(work) is None


def _needless(work: Work) -> str | None:
    """Why nothing is to be imported; None where something is."""
    usable = work.records.usable(work.source.name)
    if any(receipt.state is ReceiptState.LEGACY for receipt in usable) or (usable and not _failed(work)):
        return "nothing to import: the repository already holds snapshots"
    if not work.legacy.present():
        return "nothing to import: there is no rdiff-backup tree of this source"
    return None


def _failed(work: Work) -> bool:
    """Whether the last import did not come to its end: the pull after it went on, and the import is tried again."""
    last = work.records.newest_run(work.source.name, *Outcome, kind=Kind.MIGRATE)
    return last is not None and last.outcome not in (Outcome.OK, Outcome.PARTIAL)


async def migrate(work: Work) -> Ending:
    """Import the newest increment.

    Raises:
        PbsError: the tree or the repository cannot be used; nothing was changed in the tree.
    """
    needless = _needless(work)
    if needless is not None:
        return Ending(Outcome.OK, needless)
    work.stages.enter("repository")
    await work.repository.verify()
    # A killed import may have left a whole snapshot without a receipt: it is made anew, from the same packs.
    await admission.sweep(work)
    work.stages.enter("import")
    snapshot_id, moment = await work.legacy.import_newest(work.run, work.report.take)
    work.repository.clear_locks()
    snapshot = await work.repository.snapshot(snapshot_id)
    receipt = Receipt(
        id=snapshot.id,
        source=work.source.name,
        run=work.run.id,
        received=work.clock.now(),
        # What we imported ourselves is dated by the increment: the tree was on our own disk.
        time=moment,
        claimed=snapshot.claimed,
        state=ReceiptState.LEGACY,
        outcome=Outcome.OK,
        paths=snapshot.paths,
        files=snapshot.files,
        bytes=snapshot.bytes,
        added_bytes=snapshot.added_bytes,
        root=work.legacy.root(),
    )
    work.records.add_receipt(receipt)
    work.journal.write("admitted", **admitted_facts(receipt))
    return Ending(
        Outcome.PARTIAL if work.report.unreadable else Outcome.OK,
        f"the newest state of the rdiff-backup tree, of {moment:%Y-%m-%d %H:%M:%S} UTC, was imported; "
        "its older increments stay in the tree",
        snapshot=snapshot.id,
        files=snapshot.files,
        bytes=snapshot.bytes,
        added_bytes=snapshot.added_bytes,
        stored_bytes=snapshot.stored_bytes,
        warnings=work.report.warnings,
        output=work.report.text(),
    )

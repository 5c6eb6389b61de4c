"""An import: the newest state of a legacy rdiff-backup tree becomes a snapshot, once, and again if it was killed.

It only ever reads the legacy tree. Its history stays where it is.
"""

from __future__ import annotations

from pbs.model import Ending, Outcome, Receipt, ReceiptState
from pbs.runs import admission
from pbs.runs.work import Work


def wanted(work: Work) -> bool:
    """Whether there is a legacy tree to import, and a repository that holds no snapshot that counts."""
    return (
        work.source.migrate != "off" and not work.records.usable(work.source.name) and work.legacy.present()
    )


async def migrate(work: Work) -> Ending:
    """Import the newest increment.

    Raises:
        PbsError: the tree or the repository cannot be used; nothing was changed in the tree.
    """
    if work.records.usable(work.source.name):
        return Ending(Outcome.OK, "nothing to import: the repository already holds snapshots")
    if not work.legacy.present():
        return Ending(Outcome.OK, "nothing to import: there is no rdiff-backup tree of this source")
    work.journal.write("stage", stage="repository")
    await work.repository.verify()
    # A killed import may have left a whole snapshot without a receipt: it is made anew, from the same packs.
    await admission.sweep(work)
    work.journal.write("stage", stage="import")
    snapshot_id, moment = await work.legacy.import_newest(work.run, work.report.take)
    work.repository.clear_locks()
    snapshot = await work.repository.snapshot(snapshot_id)
    work.records.add_receipt(
        Receipt(
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
    )
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

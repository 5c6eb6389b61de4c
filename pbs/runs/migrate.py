"""An import: the newest state of a legacy rdiff-backup tree becomes a snapshot, once, and again if it was killed.

It only ever reads the legacy tree. Its history stays where it is.
"""

from __future__ import annotations

from pbs.errors import AdmissionRefused, NoRoom
from pbs.model import Ending, Kind, Outcome, ReceiptState
from pbs.runs.room import Room, tidy
from pbs.runs.work import Work


def wanted(work: Work) -> bool:
    """Whether there is a legacy tree to import: into a repository without snapshots, or after a try that failed."""
    return work.source.migrate != "off" and _needless(work) is None


def _needless(work: Work) -> str | None:
    """Why nothing is to be imported; None where something is."""
    records, name = work.records, work.source.name
    if records.newest(name) is not None and (
        not _failed(work) or records.receipts(name, ReceiptState.LEGACY)
    ):
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
    # A killed import may have left packs and even a whole snapshot: the packs are used again, the snapshot is made anew.
    before = await work.desk.ready()
    for remark in (*before.incidents, *before.remarks):
        work.report.remark(remark)
    room = Room(work)
    room.enter()
    work.stages.enter("import")
    try:
        snapshot_id, moment = await work.legacy.import_newest(
            work.run, room.watched(work.report.take), room.look
        )
    except NoRoom as error:
        return await tidy(work, error)
    work.stages.enter("admission")
    # What we wrote ourselves is read as well: it proves the disk, and one rule for everything is the one that holds.
    verdict = await work.desk.close(snapshot_id, Outcome.OK, work.legacy.root(), moment)
    snapshot = verdict.snapshot
    if snapshot is None:
        raise verdict.refusal or AdmissionRefused("the import left no snapshot", "try again")
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

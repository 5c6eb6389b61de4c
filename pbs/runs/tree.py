"""A legacy tree goes once retention has removed a first snapshot: guarded, out of its place at once, then bit by bit."""

from __future__ import annotations

from pbs.model import Kind, Outcome, Source
from pbs.retention import facts_of, frozen, tree_stays
from pbs.runs.ports import Records
from pbs.runs.work import Work
from pbs.text import size

REMOVAL, REMOVED = "legacy-removal", "legacy-removed"
# Between two of these somebody may stop the run.
SLICE_SECONDS = 3.0


def stays(records: Records, source: Source) -> str | None:
    """Why the tree of a source must not go, by what the ledger knows; None where it may."""
    facts = facts_of(records, source.name)
    check = records.newest_run(source.name, *ENDED, kind=Kind.CHECK)
    return frozen(facts) or tree_stays(
        records.receipts(source.name),
        facts.damaged,
        check.outcome if check else None,
        source.keeping.keep_least,
        wanted=source.keeping.legacy,
    )


ENDED = (Outcome.OK, Outcome.PARTIAL, Outcome.FAILED, Outcome.REFUSED)


async def remove_tree(work: Work) -> str:
    """Remove the tree where it may go, or go on with a removal that was killed; what was done, in words."""
    name, legacy = work.source.name, work.legacy
    if not legacy.half_gone():
        if not legacy.present():
            return ""
        reason = stays(work.records, work.source)
        if reason is not None:
            work.journal.write("legacy-tree", stays=reason)
            return ""
        odd = legacy.obstacle()
        if odd is not None:
            return f"the legacy tree was not removed: {odd}; remove it by hand, if nobody needs it any more"
        work.stages.enter("legacy")
        freed = await legacy.size()
        work.records.note(work.clock.now(), REMOVAL, {"bytes": freed}, about=name, by=work.run.id)
        await legacy.set_aside()
    work.stages.enter("legacy")
    while not await legacy.remove(work.clock.monotonic() + SLICE_SECONDS):
        pass
    begun = work.records.custody.last(REMOVAL, about=name)
    freed = int(begun.detail.get("bytes", 0)) if begun is not None else 0
    work.journal.write("legacy-removed", freed=freed)
    work.records.note(work.clock.now(), REMOVED, {"bytes": freed}, about=name, by=work.run.id)
    return f"the rdiff-backup tree of before was removed, {size(freed)} were freed"

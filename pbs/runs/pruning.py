"""Pruning: the data that no snapshot needs any more goes. Only where the repository is exactly what was admitted.

A source could have made restic's own prune destroy good packs; whatever was not admitted makes it stop here instead.
"""

from __future__ import annotations

from pbs.errors import RetentionHeld
from pbs.runs.checking import structure
from pbs.runs.work import Work
from pbs.space import kept_free
from pbs.text import size

PRUNED = "pruned"
# restic writes a new index before it removes anything, and the ledger, whose disk this may be, takes note of it.
LEAST_BYTES, INDEXES = 8 << 20, 2


async def prune(work: Work) -> str:
    """Carry it out, and look at the repository's structure afterwards; what it freed, in words.

    Raises:
        LeaseHeld: somebody reads in the repository just now.
        RetentionHeld: damage, too little space, or something that was not admitted stands against it.
        PbsError: restic failed; every admitted snapshot is whole all the same.
    """
    name, repository = work.source.name, work.repository
    waiting, touched = work.records.custody.damaged(name)
    if waiting or touched:
        raise RetentionHeld(
            f"nothing is pruned while {len(touched)} snapshot(s) are damaged",
            f"`pbs pull {name}` repairs what the source still has; what stays damaged goes by its rules first",
        )
    work.stages.enter("prune")
    with work.to_itself():
        await work.endpoint.shut()
        room = _room(work)
        before = repository.packed_bytes()
        with repository.changing(work.run.id):
            await repository.prune(work.source.keeping.prune_unused, room)
        freed = before - repository.packed_bytes()
        work.journal.write("pruned", freed=freed, room=room)
        await structure(work)
    work.records.note(work.clock.now(), PRUNED, {"freed": freed}, about=name, by=work.run.id)
    return f"{size(max(freed, 0))} were freed"


def _room(work: Work) -> int:
    """How much may be written anew, what is kept free left alone; 0 = only what is wholly unneeded goes.

    Raises:
        RetentionHeld: the disk is so full that nothing can be written at all.
    """
    space = work.repository.space()
    free, least = space.free, LEAST_BYTES + INDEXES * work.repository.index_bytes()
    if free < least:
        raise RetentionHeld(
            f"nothing is pruned: only {size(free)} are free on the disk of the repository",
            f"free {size(least)} first: prune writes a new index before it removes anything",
        )
    return max(0, free - max(least, kept_free(work.source.reserve, space)))

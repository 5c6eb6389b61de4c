"""What a damaged pack touches, and how a source gets over it: what is left is saved, the next pull sends the rest again.

Each step is written down before the next begins, so a kill at any moment leaves something that the next check goes on with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pbs.errors import PbsError
from pbs.model import Damage, DamageState, Ending, Outcome
from pbs.runs.work import Work

# A disk that is dying damages many: it is for a person to move away from it, not for a program to write to it.
MOST_REPAIRED = 20
MOST_PATHS_TOLD = 20


async def examine(work: Work, bad: Mapping[str, str]) -> None:
    """Write down what each of these packs touches, and say it in the run's log."""
    for pack, reason in sorted(bad.items()):
        lost: dict[str, frozenset[str]] = {}
        paths: set[str] = set()
        for receipt in work.records.usable(work.source.name):
            found = await work.repository.touched(receipt.id, pack)
            if found is not None:
                trees = await work.repository.tree_blobs(pack) if found.whole else frozenset()
                lost[receipt.id] = found.blobs | trees
                paths.update(found.paths)
        work.journal.write(
            "damaged", pack=pack, reason=reason, snapshots=sorted(lost), paths=sorted(paths)[:MOST_PATHS_TOLD]
        )
        work.report.remark(_sentence(pack, reason, len(lost), sorted(paths)))
        work.records.custody.record_damage(
            work.source.name, Damage(pack, work.run.id, work.clock.now(), DamageState.FOUND, lost)
        )


def _sentence(pack: str, reason: str, snapshots: int, paths: list[str]) -> str:
    names = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    what = f"it touches {snapshots} snapshot(s)" + (f" in {names}" if names else "")
    return f"the pack {pack[:16]} is damaged: {reason}; {what if snapshots else 'no snapshot needs it'}"


async def repair(work: Work) -> str:
    """Save what is left of the packs that were found damaged; what was done, in words.

    Raises:
        PbsError: it cannot be done now; the packs stay as they are, and the next check tries again.
    """
    name, custody = work.source.name, work.records.custody
    found = [each for each in custody.damages(name) if each.state is DamageState.FOUND]
    if not found:
        return ""
    if len(found) > MOST_REPAIRED:
        return f"{len(found)} packs are damaged, too many for a repair by itself: is the disk failing?"
    with work.alone() as alone:
        if not alone:
            return "the repair waits: the repository is in use (a restore or a mount goes on)"
        await work.endpoint.shut()
        packs = [each.pack for each in found]
        with work.repository.changing(work.run.id, frozenset(packs)):
            await work.repository.salvage(packs)
        for each in found:
            present = await work.repository.present_blobs(frozenset().union(*each.lost.values()))
            _record(work, each, present, DamageState.WAITING)
    work.repository.reread(f"{len(packs)} damaged pack(s)")
    return "what is left was saved; the next pull reads every file again and sends what is missing"


async def mend(work: Work, ending: Ending) -> str:
    """After a pull: see which snapshots that a damaged pack had touched are whole again; the news in words."""
    name, custody = work.source.name, work.records.custody
    waiting = [each for each in custody.damages(name) if each.state is DamageState.WAITING]
    if not waiting or ending.outcome is not Outcome.OK:
        return ""
    try:
        for each in waiting:
            present = await work.repository.present_blobs(frozenset().union(*each.lost.values()))
            _record(work, each, present, DamageState.LOST)
    except PbsError as error:
        return f"whether the damage is repaired cannot be told: {error.message}"
    left = custody.damaged(name)[1]
    if left:
        return f"{len(left)} snapshot(s) stay damaged: the source no longer has what they held"
    return "the damage is repaired: every snapshot is whole again"


def _record(work: Work, found: Damage, present: frozenset[str], otherwise: DamageState) -> None:
    """Write down which snapshots still lack something; none = the damage is over."""
    lost = {key: blobs - present for key, blobs in found.lost.items() if blobs - present}
    state = otherwise if lost else DamageState.REPAIRED
    now = work.clock.now()
    ended = None if state is DamageState.WAITING else now
    work.journal.write("damage", pack=found.pack, state=state, snapshots=sorted(lost))
    work.records.custody.record_damage(
        work.source.name, replace(found, state=state, lost=lost or found.lost, ended=ended)
    )

"""What a damaged pack touches: the snapshots and files that cannot be restored whole. It changes nothing in the repository."""

from __future__ import annotations

from collections.abc import Mapping

from pbs.model import Damage, DamageState
from pbs.runs.work import Work

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

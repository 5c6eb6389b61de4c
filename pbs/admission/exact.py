"""Whether a repository is exactly what was admitted, and how work of our own on it becomes what is admitted.

For whoever changes admitted files: retention, repair. Only while nobody else can reach the repository: the endpoint is
shut and the repository lock is held alone.
"""

from __future__ import annotations

from pbs.admission.judgement import Place
from pbs.ledger import Ledger
from pbs.repository import everything, survey

MOST_TOLD = 100


def drop_forgotten(place: Place, ledger: Ledger) -> None:
    """Snapshots that retention removed are no part of the manifest any more, also where its run died in the middle."""
    known = ledger.manifests.names(place.id, "snapshots")
    folder = place.handle.path / "snapshots"
    going = ledger.custody.going(place.source, known)
    gone = {name for name, forgotten in going.items() if forgotten or not (folder / name).exists()}
    if gone:
        ledger.manifests.remove(place.id, "snapshots", gone)


def differences(place: Place, ledger: Ledger) -> list[str]:
    """What keeps the repository from being exactly what was admitted, as paths with a word; empty where nothing does.

    It looks at the name and size of every file. Locks are none of it.
    """
    manifest = ledger.manifests.of(place.id)
    if manifest is None:
        return ["nothing of it was ever admitted"]
    if manifest.own is not None:
        return [f"the work of {manifest.own} on it did not come to its end"]
    drop_forgotten(place, ledger)
    found = survey(
        place.handle.path, lambda kind, folder: ledger.manifests.names(place.id, kind, folder), {}, sizes=True
    )
    told = [f"{path}: gone or changed" for path in found.lost]
    told += [f"{kind}/{name}: not admitted" for kind, names in found.new.items() for name in sorted(names)]
    told += [f"{path}: belongs in no repository" for path in found.strays]
    if found.config != manifest.config:
        told.append("config: gone or changed")
    return told[:MOST_TOLD]


def begin_own_work(place: Place, ledger: Ledger, run: str) -> None:
    """Say that this run is about to change admitted files. To be called when `differences` found none, before it acts."""
    ledger.manifests.work_begins(place.id, run)


def settle(place: Place, ledger: Ledger, run: str) -> None:
    """Take what lies there now for what is admitted: the run's work on it is over, or it died, and only we were there.

    Every file of it was admitted, or made by a restic of ours from what was.
    """
    ledger.manifests.settle(place.id, run, everything(place.handle.path))

"""The alarm: something that was admitted is not there as it was. No source can do that, and nothing is repaired in silence.

It says so in the ledger and makes the refusal of the run. Where packs alone are gone, it has the next check look at them.
"""

from __future__ import annotations

from datetime import datetime

from pbs.admission.judgement import Place
from pbs.errors import AdmissionRefused
from pbs.journal import FileJournal
from pbs.ledger import Ledger
from pbs.model import Damage, DamageState, Manifest
from pbs.repository import Survey

MOST_TOLD = 100
OF_THE_SERVER = "no source can do that: look at this server and its disk"
BY_ITSELF = (
    "the check that begins now says what they held, and the next pull sends again what the source still has"
)


def alarm(
    place: Place,
    ledger: Ledger,
    journal: FileJournal,
    found: Survey,
    manifest: Manifest,
    run: str,
    now: datetime,
) -> AdmissionRefused | None:
    """Why the run is refused, where packs are gone; to be raised once all that was left there is dealt with.

    A check can do without such packs, but only in a repository that is otherwise what was admitted.

    Raises:
        AdmissionRefused: what no check can do without is gone or changed.
    """
    lost = [*found.lost, *(["config"] if found.config != manifest.config else [])]
    if not lost:
        return None
    journal.write("vanished", count=len(lost), files=lost[:MOST_TOLD])
    ledger.note(now, "vanished", {"count": len(lost), "files": lost[:MOST_TOLD]}, about=place.source, by=run)
    packs = [path.rpartition("/")[2] for path in lost if path.startswith("data/")]
    _damaged(place, ledger, packs, run, now)
    said = f"ALARM: {len(lost)} file(s) of the repository that were admitted are gone or changed, such as {lost[0]}"
    if len(packs) < len(lost):
        back = f"put the files back from a copy of the repository, or see `pbs quarantine readmit {place.source}`"
        raise AdmissionRefused(said, f"{OF_THE_SERVER}; {back}")
    return AdmissionRefused(said, f"{OF_THE_SERVER}; {BY_ITSELF}")


def _damaged(place: Place, ledger: Ledger, packs: list[str], run: str, now: datetime) -> None:
    """Have the next check look at what the loss of these packs touches."""
    custody = ledger.custody
    known = {each.pack for each in custody.damages(place.source) if each.state is DamageState.FOUND}
    for pack in packs[:MOST_TOLD]:
        if pack not in known:
            custody.record_damage(place.source, Damage(pack, run, now, DamageState.FOUND, {}))

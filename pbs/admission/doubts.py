"""What is odd about a sound snapshot, and no reason to be without a backup: told, and where a tripwire trips, the source held.

It refuses nothing. A hold is written down before the receipt is, so that no death in between lets a rule remove a snapshot.
"""

from __future__ import annotations

from datetime import datetime

from pbs.admission.judgement import Place, clock_fault
from pbs.admission.tripwires import REMEMBERED_RUNS, Measured, remembered, to_remember, tripped
from pbs.clock import Clock
from pbs.errors import PbsError, ResticError, ToolTimeout, TooMuch
from pbs.journal import FileJournal
from pbs.ledger import Ledger
from pbs.model import Receipt, ReceiptState, Run, Snapshot, Source
from pbs.repository import Arrived, Comparison, compared

MEASURED = "measured"


class Doubts:
    """Looks at the snapshots of one run of one source."""

    def __init__(
        self, place: Place, ledger: Ledger, run: Run, source: Source, clock: Clock, journal: FileJournal
    ) -> None:
        self._place = place
        self._ledger = ledger
        self._run = run
        self._source = source
        self._clock = clock
        self._journal = journal
        self.tripped = False

    async def look(self, found: Snapshot, arrived: Arrived, seconds: float) -> list[str]:
        """What a person should read about a snapshot that is about to be admitted.

        Args:
            found: The snapshot, with its size as counted here.
            arrived: What arrived in this run, and what it was before it was packed.
            seconds: How long the look may take.
        """
        before = self._before()
        said = self._claims(found, before)
        moved = before is None or before.tree is None or before.tree != found.tree
        canaries = self._source.tripwires.canaries
        if not moved and not canaries:
            return said
        try:
            changed = await self._compared(before if moved else None, found, seconds)
        except (ResticError, ToolTimeout, TooMuch) as error:
            # Its tree was found sound: what cannot be compared all the same may have been made so.
            why = f"what changed could not be compared with the snapshot before: {error.message}"
            return said + (self._trip(found, [why]) if self._source.tripwires.any else [why])
        except PbsError as error:
            return [*said, f"what changed could not be compared with the snapshot before: {error.message}"]
        return said + self._judged(found, before, arrived, changed)

    def next_reading(self, read: str | None) -> None:
        """Whether the next run reads every file again: not where this one did (`read` is why), unless it tripped a wire."""
        manifests, known = self._ledger.manifests, self._place.id
        if self.tripped:
            # Whoever replaced content may have lied about it as well, so that honest runs inherit it.
            manifests.reread(known, f"after {self._run.id}, which tripped a wire")
        elif read is None:
            manifests.count(known)
        else:
            manifests.reread(known, None)

    def _before(self) -> Receipt | None:
        """The newest snapshot that the source sent before; an import is not compared with: it may be months old."""
        newest = self._ledger.newest(self._place.source)
        return newest if newest is not None and newest.state is ReceiptState.ADMITTED else None

    async def _compared(self, before: Receipt | None, found: Snapshot, seconds: float) -> Comparison:
        canaries = self._source.tripwires.canaries
        if before is None and not canaries:
            return Comparison()
        index = self._ledger.manifests.names(self._place.id, "index")
        return await compared(
            self._place.handle, self._place.work, before.id if before else None, found.id, index, seconds, canaries
        )  # fmt: skip

    def _judged(
        self, found: Snapshot, before: Receipt | None, arrived: Arrived, changed: Comparison
    ) -> list[str]:
        name, now = self._place.source, self._clock.now()
        files = (before.files or 0) if before is not None else 0
        measured = Measured(
            files,
            changed.changed,
            changed.vanished,
            found.bytes or 0,
            arrived.plain,
            arrived.packed,
            arrived.dense,
        )
        usual = [
            remembered(note.detail)
            for note in self._ledger.custody.notes(MEASURED, about=name, limit=REMEMBERED_RUNS)
        ]
        why = tripped(self._source.tripwires, measured, usual)
        odd = [f"the canary {path} {what}" for path, what in sorted(changed.canaries.items())]
        if before is not None:
            why += odd
        self._note(MEASURED, to_remember(measured), now)
        return self._trip(found, why) if why else odd

    def _trip(self, found: Snapshot, why: list[str]) -> list[str]:
        """Hold the source for these reasons; what a person should read of it."""
        name, self.tripped = self._place.source, True
        self._journal.write("tripped", reasons=why)
        self._ledger.custody.hold(
            name, "; ".join(why), self._clock.now(), run=self._run.id, snapshot=found.id
        )
        return [
            f"TRIPWIRE: {'; '.join(why)}; nothing is removed until a person has looked (`pbs source resume {name}`)"
        ]

    def _claims(self, found: Snapshot, before: Receipt | None) -> list[str]:
        """What is odd about what a snapshot says of itself."""
        said, now = [], self._clock.now()
        wrong = clock_fault(found.claimed, self._run.started or self._run.queued, now)
        if wrong is not None:
            said.append(f"{wrong}; the time that counts is when it was received here")
            self._note("clock-wrong", {"claimed": str(found.claimed), "fault": wrong}, now)
        if before is not None and found.paths != before.paths:
            said.append("other paths are backed up than before")
            self._note("paths-changed", {"before": before.paths[:10], "now": found.paths[:10]}, now)
        return said

    def _note(self, name: str, detail: dict[str, object], now: datetime) -> None:
        self._ledger.note(now, name, detail, about=self._place.source, by=self._run.id)

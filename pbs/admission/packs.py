"""Packs from their arrival to the manifest, in batches: gently while the transfer goes on, at full speed after it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping

from pbs.admission.judgement import Place
from pbs.clock import Clock
from pbs.errors import PbsError
from pbs.journal import FileJournal
from pbs.ledger import Ledger
from pbs.model import Verified
from pbs.repository import Arrived, Inspector, new_packs
from pbs.threads import in_thread

BATCH_BYTES, BATCH_PACKS = 4 << 30, 4000
ROUND_BYTES = 512 << 20
# During a transfer: look so often, and do not wait longer for a round to be worth while.
LOOK_SECONDS, ROUND_SECONDS = 3.0, 30.0
LEAST_ROUND_BYTES = 128 << 20


class Packs:
    """The packs of one run."""

    def __init__(
        self, place: Place, ledger: Ledger, run: str, clock: Clock, journal: FileJournal, *, full: bool
    ) -> None:
        self._place = place
        self._ledger = ledger
        self._run = run
        self._clock = clock
        self._journal = journal
        self._full = full
        self._bad: dict[str, str] = {}
        self.arrived = Arrived()

    async def admit(self, packs: Mapping[str, int], journal: FileJournal) -> dict[str, str]:
        """Inspect these, make the good ones part of the manifest, and say why the others are none."""
        waiting = {name: size for name, size in packs.items() if name not in self._bad}
        if waiting:
            journal.write("stage", stage="packs", packs=len(waiting), bytes=sum(waiting.values()))
        for batch in batches(waiting, BATCH_BYTES):
            await self._batch(batch, gentle=False)
        return {name: reason for name, reason in self._bad.items() if name in packs}

    async def rounds(self, stop: asyncio.Event) -> None:
        """Do the same with what has arrived so far, again and again; nothing that goes wrong here ends the run."""
        known = self._ledger.manifests.of(self._place.id)
        # What was looked through before the door opened is not looked through again.
        folders = dict(known.folders) if known is not None else {}
        since = self._clock.monotonic()
        while not stop.is_set():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                pass
            else:
                return
            try:
                found = await in_thread(new_packs, self._place.handle.path, self._known, folders)
                waiting = {name: size for name, size in found.items() if name not in self._bad}
                late = self._clock.monotonic() - since > ROUND_SECONDS
                if sum(waiting.values()) >= LEAST_ROUND_BYTES or (waiting and late):
                    await self._batch(next(batches(waiting, ROUND_BYTES)), gentle=True)
                    since = self._clock.monotonic()
            except PbsError as error:
                self._journal.write("log", text=f"packs are inspected at the end: {error.message}")
                return

    async def _batch(self, batch: Mapping[str, int], *, gentle: bool) -> None:
        began = self._clock.monotonic()
        inspector = Inspector(self._place.handle, self._place.work, full=self._full, gentle=gentle)
        found = await inspector.inspect(batch)
        level = Verified.FULL if self._full else Verified.STRUCTURE
        if found.good:
            self._ledger.manifests.add(self._place.id, self._run, found.good, found.index, level)
        self._bad |= found.bad
        self.arrived.add(found.arrived)
        self._journal.write(
            "inspected", packs=len(found.good), bytes=sum(found.good.values()), bad=len(found.bad),
            seconds=round(self._clock.monotonic() - began, 2), during_transfer=gentle,
        )  # fmt: skip

    def _known(self, kind: str, folder: str) -> dict[str, int]:
        return self._ledger.manifests.names(self._place.id, kind, folder)


async def prove(
    place: Place, ledger: Ledger, folder: str, unreadable: Collection[str] = ()
) -> dict[str, str]:
    """Read the content of the packs of a folder that were admitted by their headers alone; why some are none.

    What holds what it says counts as read from now on. Those that are known to be unreadable are passed over.

    Raises:
        PbsError: it could not be found out.
    """
    waiting = {
        name: size
        for name, size in ledger.manifests.unproven(place.id, folder).items()
        if name not in unreadable
    }
    bad: dict[str, str] = {}
    for batch in batches(waiting, BATCH_BYTES):
        good, lying = await Inspector(place.handle, place.work, gentle=True).prove(batch)
        ledger.manifests.proven(place.id, good)
        bad |= lying
    return bad


def batches(packs: Mapping[str, int], most: int) -> Iterator[dict[str, int]]:
    """Parts of these of at most so many bytes, and of a bounded number; each holds one pack at least."""
    part: dict[str, int] = {}
    total = 0
    for name in sorted(packs):
        if part and (total + packs[name] > most or len(part) >= BATCH_PACKS):
            yield part
            part, total = {}, 0
        part[name] = packs[name]
        total += packs[name]
    if part:
        yield part

"""Room on the disk: whether a run may begin, how much it may add, and what happens to one that had to be stopped.

One source must never take the room of the others. What is kept free is for them, for our own work, and for whatever
small run comes to its end meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from pbs.errors import CutOff, NoRoom, PbsError
from pbs.model import Ending, Kind, Outcome
from pbs.runs.ports import Event
from pbs.runs.pruning import prune
from pbs.runs.work import Work
from pbs.space import kept_free, shortage
from pbs.text import size

# By the kind of run: an import that is too large says nothing of the pulls.
STOPPED = {Kind.PULL: "no-room", Kind.MIGRATE: "no-room-import"}
# What an honest transfer sends beside its packs: heads of requests, indexes, locks, packs that are sent twice.
SLACK_BYTES, SLACK_PERCENT = 64 << 20, 10
# A run that has sent less than this share of the reserve may go on until half of it is gone.
SMALL, HALF = 0.25, 0.5
# Below so many times the reserve, what a run had sent that had to be stopped is removed: else it stands in everybody's way.
NEAR = 2.0
# It begins again once there is room for so many per cent of what it had sent: it was not all that it has.
MORE_PERCENT = 105
ADVICE = "free some space, then pull again; every snapshot that was admitted can still be restored"


class Room:
    """What one run may add to its repository. `error` says why it had to be stopped; None as long as it may go on."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.error: PbsError | None = None
        quota = work.source.quota
        left = max(0, quota - work.repository.packed_bytes()) if quota is not None else 0
        self._most = left + left * SLACK_PERCENT // 100 + SLACK_BYTES if quota is not None else None

    def enter(self) -> None:
        """Raise where nothing may be added now.

        Raises:
            NoRoom: the disk is too full, or was for the last try.
        """
        reserve, space = self._work.source.reserve, self._work.repository.space()
        short = shortage(reserve, space)
        if short is not None:
            raise NoRoom(short, ADVICE)
        wanted, left = self._wanted(), space.free - kept_free(reserve, space)
        if wanted * MORE_PERCENT // 100 > left:
            raise NoRoom(
                f"the last run was stopped because the disk of this server was full: it needs more than {size(wanted)}, "
                f"and there is room for {size(max(0, left))}",
                ADVICE,
            )

    def _wanted(self) -> int:
        """What has to be sent once more and was not enough, because it was removed when the disk was full."""
        name, records, kind = self._work.source.name, self._work.records, self._work.run.kind
        stopped = records.custody.last(STOPPED[kind], about=name)
        good = records.newest_run(name, Outcome.OK, Outcome.PARTIAL, kind=kind)
        if stopped is None or (good is not None and good.ended is not None and good.ended > stopped.time):
            return 0
        return int(stopped.detail["sent"]) if stopped.detail.get("freed") else 0

    def writable(self, received: int) -> str | None:
        """Why nothing more may be added after so many bytes; None where it may."""
        self.error = self.error or self._over(received)
        return self.error.message if self.error is not None else None

    def watched(self, report: Callable[[Event], None]) -> Callable[[Event], None]:
        """The same report, which ends what is reported once the disk is too full."""

        def take(event: Event) -> None:
            report(event)
            read = event.get("bytes")
            # What was read of the tree is the most that can have been written of it.
            self.error = self.error or self._full(read if isinstance(read, int) else 0)
            if self.error is not None:
                raise self.error

        return take

    def look(self) -> None:
        """Raise where the reserve begins, for what grows without a word of how much.

        Raises:
            NoRoom: it does.
        """
        self.error = self.error or self._full(sys.maxsize)
        if self.error is not None:
            raise self.error

    def _over(self, received: int) -> PbsError | None:
        source = self._work.source
        if source.write_budget is not None and received > source.write_budget:
            return CutOff(
                f"{source.name} was cut off from its endpoint: it sent more than `write_budget` allows "
                f"({size(source.write_budget)})",
                "look at that machine; raise `write_budget` of the source if it is an honest one",
            )
        if self._most is not None and received > self._most:
            return CutOff(
                f"{source.name} was cut off from its endpoint: it sent more than its quota leaves room for",
                "look at that machine; raise `quota` of the source if it is an honest one",
            )
        return self._full(received)

    def _full(self, added: int) -> PbsError | None:
        reserve, space = self._work.source.reserve, self._work.repository.space()
        small = added < kept_free(reserve, space) * SMALL
        short = shortage(reserve, space, HALF if small else 1.0)
        return NoRoom(short, ADVICE) if short is not None else None


async def tidy(work: Work, error: PbsError) -> Ending:
    """Deal at once with what a run left that had to be stopped, since others need the room; how it ends.

    Only while nobody else can reach the repository.
    """
    said, outcome, hint, freed = [error.message], error.outcome, error.hint, 0
    try:
        work.stages.enter("admission")
        verdict = await work.desk.close(None, Outcome.REFUSED, None)
        said += verdict.remarks
        if verdict.incidents:
            said.append(f"{', '.join(verdict.incidents)} arrived and were set aside")
            outcome, hint = Outcome.REFUSED, "look at that machine: somebody else may hold it"
        freed = await _give_back(work)
    except PbsError as problem:
        said.append(problem.message)
    if freed:
        said.append(f"what it had sent was removed, {size(freed)}")
    # An import sends nothing through a tunnel.
    detail: dict[str, object] = {"sent": max(work.report.tunnel_bytes, freed), "freed": freed}
    work.records.note(
        work.clock.now(), STOPPED[work.run.kind], detail, about=work.source.name, by=work.run.id
    )
    return Ending(outcome, "; ".join(said), hint, retry=error.retryable and outcome is error.outcome)


async def _give_back(work: Work) -> int:
    """Remove what no snapshot needs where the disk is still nearly full; how much that was."""
    if shortage(work.source.reserve, work.repository.space(), NEAR) is None:
        return 0
    before = work.repository.packed_bytes()
    await prune(work)
    return max(0, before - work.repository.packed_bytes())

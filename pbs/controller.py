"""The controller: serves the API and the feeds, keeps endpoints and workers as wanted, ends what a death left open.

Everything that it shows is made from the ledger; killing it loses nothing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

from pbs.assemble import Tools
from pbs.bounds import die_with_parent
from pbs.care import Care
from pbs.chores import chores
from pbs.clock import Clock, SystemClock
from pbs.config import Channel, Config, adopt, in_force, wait_for_start
from pbs.endpoint import Supervisor
from pbs.errors import ConfigError, PbsError
from pbs.files import tree_bytes, write
from pbs.home import SUPERVISOR_PID, Home
from pbs.ledger import Deal, missed_run, open_ledger
from pbs.logs import log_to
from pbs.model import Cause, Kind, Mark, Run, Source
from pbs.oversight import Oversight
from pbs.promises import Health
from pbs.promises.watch import Known
from pbs.publish import ALL, feed_of
from pbs.schedule import HINT_MISSED, Decision, Planner, Timetable, retry_of_dead
from pbs.settling import Settling
from pbs.textlog import record
from pbs.tunnel import key_line
from pbs.wake import Bell, ring
from pbs.web.app import serve

TICK_SECONDS = 2.0
UPKEEP_SECONDS = 600.0
LATE_SECONDS = 60.0
# How long one round writes feeds.
PUBLISH_SECONDS = 0.5
# From the begin of a run that a source gave notice of to the next such run, at least.
NOTICE_SECONDS = 20.0
# How many sources are dealt with in one transaction: nobody else is served meanwhile, and each takes milliseconds.
BATCH = 20
MOST_FAULTS = 20
log = logging.getLogger("pbs.controller")


class Controller:
    """One controller process; also the face that the API talks to."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.config: Config = in_force(home)
        self.clock = SystemClock()
        self.ledger = open_ledger(home.ledger, lasting=True)
        self.supervisor = Supervisor(home.supervisor_socket, home.etc / "supervisord.d")
        self._tools = Tools(home, self.ledger, self.supervisor, self.clock)
        self._stale: set[str] = set()
        self._unkept: set[str] = set()
        self._upkeep_at = 0.0
        self._restless: set[str] = set()
        self._published: dict[str, str] = {}
        self._sizes = self.ledger.vitals.sizes()
        self._oversight = Oversight(home, self.ledger, self.clock, self._known)
        self._planned: datetime | None = None
        self._seen = self.clock.now()
        self._complaints: dict[str, str] = {}
        self._settling = Settling(self._tools, lambda: self.config.sources)
        self._wakes = home.sockets / "wake"
        self._planner = Planner(self.ledger.slots.marks())
        self._plan()

    # what the API asks

    def request(self, source: str, kind: Kind, cause: Cause, options: str | None = None) -> Run:
        """Queue a run, or join the one of its kind that waits."""
        now, rest = self.clock.now(), None
        if cause is Cause.NOTICE:
            waiting = self.ledger.queue.queued(source, kind)
            if waiting is not None and waiting.cause in (Cause.NOTICE, Cause.ASKED):
                return waiting
            rest = self._rest_until(source, now)
        run = self.ledger.queue.request(source, kind, cause, now, rest, options)
        ring(self._wakes)
        return run

    def run_log(self, run: Run) -> Path:
        """Where the log of a run lies, once it has begun."""
        return self.home.run_log(run.source, run.id)

    def cancel(self, run: str, by: str) -> Run:
        """Ask for the end of a run: a queued one ends at once, a running one within seconds."""
        asked = self.ledger.cancelling.ask(run, by, self.clock.now())
        ring(self._wakes)
        return asked

    @property
    def time(self) -> Clock:
        """The time."""
        return self.clock

    def _rest_until(self, name: str, now: datetime) -> datetime | None:
        """Until when a source that gave notice just before has to wait; None where it need not."""
        newest = self.ledger.runs(name, limit=5)
        begun = [each.started for each in newest if each.cause is Cause.NOTICE and each.started is not None]
        rest = min(max(begun), now) + timedelta(seconds=NOTICE_SECONDS) if begun else now
        return rest if rest > now else None

    def next(self, name: str) -> datetime | None:
        """When a source is pulled next by its schedule."""
        return self._planner.next(name)

    @property
    def sources(self) -> Mapping[str, Source]:
        """The configured sources."""
        return self.config.sources

    def repository_bytes(self, name: str) -> int | None:
        """The size of a source's repository on disk, looked up when a run of it ended; None before that."""
        return self._sizes.get(name)

    async def health(self, *, fresh: bool = True, anew: bool = False) -> Health:
        """How all promises stand; not `fresh` = as the last look found them, at once; `anew` = looked at now, whatever was seen before."""
        return await self._oversight.health(fresh=fresh, anew=anew)

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Where messages go."""
        return self.config.channels

    @property
    def base_url(self) -> str:
        """What addresses of this server begin with."""
        return self.config.server.base_url

    async def metrics(self) -> bytes:
        """Figures for Prometheus."""
        return await self._oversight.metrics(self.next)

    def _known(self) -> Known:
        return Known(self.config, self._planned, tuple(sorted(set(self._complaints.values()))))

    @property
    def rates(self) -> Mapping[str, int | None]:
        """By how many bytes each repository grows in a day, as the last look at promises saw it."""
        return self._oversight.rates

    def resolved(self, name: str) -> list[tuple[str, object, str]]:
        """The fields of a source, and where each came from."""
        return self.config.resolved(name)

    def key_line(self, name: str) -> str:
        """The line that belongs into the authorized_keys of a source."""
        return key_line(self.config.sources[name])

    async def reload(self) -> tuple[list[str], list[str]]:
        """Take up a changed configuration; running runs and unchanged endpoints are not touched.

        Returns what could not be settled, and which changed fields of [server] wait for the next start.

        Raises:
            ConfigError: it is wrong; the old one stays in force.
        """
        before = self.config.server
        try:
            self.config = adopt(self.home)
        except ConfigError as error:
            said = f"{error.message}; the one in force stays: {'; '.join(error.faults[:MOST_FAULTS])}"
            raise ConfigError(said, error.hint, error.faults) from error
        self._plan()
        self._oversight.changed()
        remarks = await self._settle()
        # The workers read it when they are rung; so the last good one is the same for all of us.
        ring(self._wakes)
        return remarks, wait_for_start(before, self.config.server)

    # what it does by itself

    async def serve(self) -> None:
        """Serve until told to stop."""
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        bell = Bell(self._wakes, "controller")
        stop = asyncio.create_task(stopping.wait(), name="stop")
        care = Care(self.home, self.ledger, self.clock)
        async with serve(self, self.home, self.config.server):
            await self._tick()
            # Beside all else: a thousand repositories that are still to be made take minutes.
            settling = asyncio.create_task(self._settle_first(), name="settle")
            while not stop.done():
                await self._tick()
                await care.turn(self.config.server)
                waiting = asyncio.create_task(bell.wait(TICK_SECONDS), name="bell")
                await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
            await care.end()
            await self._oversight.end()
        bell.close()
        self.ledger.close()

    async def _tick(self) -> None:
        """One round. What fails in it stops nothing else, is said once, and is tried again in the next."""
        for part in (
            self._look,
            self._reap,
            self._settling.forget,
            self._settling.end_rotations,
            self._schedule,
            self._upkeep,
            self._call_workers,
            self._publish,
        ):
            try:
                await part()
            except PbsError as error:
                self._complain(part.__name__, f"{error.message} ({error.hint})")
            else:
                self._complaints.pop(part.__name__, None)

    def _complain(self, about: str, text: str) -> None:
        """Say what is wrong when it begins, not every two seconds on a disk that may be full."""
        if self._complaints.get(about) != text:
            log.warning("%s", text)
        self._complaints[about] = text

    def _plan(self) -> None:
        """Take up the schedules of the configuration; a source that left it is dealt with anew when it comes back."""
        self._planner.configure({name: Timetable.of(each) for name, each in self.config.sources.items()})
        self.ledger.slots.keep(self.config.sources)

    async def _schedule(self) -> None:
        """Queue what is due, and record what should have happened and did not."""
        now = self.clock.now()
        decisions = self._planner.look(now, self.ledger.slots.waiting())
        while batch := list(islice(decisions, BATCH)):
            self.ledger.slots.deal([_deal(each, now) for each in batch], now)
            for each in batch:
                self._planner.done(each)
            if any(each.slot is not None for each in batch):
                ring(self._wakes)
            await self.clock.sleep(0)
        self._planned = now

    async def _look(self) -> None:
        """Look at the promises, once everything was settled for the first time."""
        if self._planned is not None:
            await self._oversight.turn()

    async def _upkeep(self) -> None:
        """Ask for the upkeep of repositories that is due: now and then, and of those whose runs ended at once."""
        now = self.clock.monotonic()
        if now >= self._upkeep_at:
            self._upkeep_at = now + UPKEEP_SECONDS
            self._unkept |= set(self.config.sources)
        for name in sorted(self._unkept & self.config.sources.keys()):
            for kind in chores(self.home, self.ledger, self.config.sources[name], self.clock.now()):
                self.request(name, kind, Cause.DUE)
            await self.clock.sleep(0)
        self._unkept.clear()

    async def _settle_first(self) -> None:
        """What a start has to bring in order, and to count once; its own task, so it is the border for whatever goes wrong there."""
        try:
            for remark in await self._settle():
                log.warning("%s", remark)
            await self.metrics()
        except PbsError as error:
            log.warning("%s (%s)", error.message, error.hint)
        except Exception:
            log.exception("a fault of pbs itself, while sources were settled")
        self._all_stale()

    async def _settle(self) -> list[str]:
        """Bring all sources in order; returns what could not be."""
        remarks = await self._settling.all()
        # Whoever found a run lock taken meanwhile looks again.
        ring(self._wakes)
        return remarks

    async def _reap(self) -> None:
        """End as interrupted the runs whose worker died (their run lock can be had), and let their endpoints rest."""
        for name in sorted({run.source for run in self.ledger.queue.running()}):
            now = self.clock.now()
            retry = partial(retry_of_dead, retries=self.config.retries(name), now=now)
            with self._settling.unless_running(name) as free:
                if free and self.ledger.queue.interrupt(name, now, retry):
                    self._restless.add(name)
        for name in sorted(self._restless):
            try:
                await self._settling.rest(name)
            except PbsError as error:
                self._complain(f"endpoint {name}", f"the endpoint of {name}: {error.message} ({error.hint})")
            else:
                self._restless.discard(name)
                self._complaints.pop(f"endpoint {name}", None)
                ring(self._wakes)

    async def _call_workers(self) -> None:
        """No worker while nothing waits, one for the first run; more are started while runs go on and others wait."""
        if not self.ledger.queue.waiting(self.clock.now()):
            return
        # The first one as well: it left for want of work, or supervisord gave up on it.
        wanted = self.config.server.workers if self.ledger.queue.running() else 1
        for number in range(wanted):
            # More than there were at the start come with the next one.
            if number == 0 or await self.supervisor.state(f"worker-{number}") is not None:
                await self.supervisor.start(f"worker-{number}")

    async def _publish(self) -> None:
        """Write the feeds of the sources whose runs ended since the last time; what fails is tried again."""
        now = self.clock.now()
        if now < self._seen:
            self._all_stale()  # the clock was set back: the times of ends say nothing now
        # The end of a run may have waited for the ledger after it was dated.
        ended = self.ledger.ended_since(min(now, self._seen) - timedelta(seconds=LATE_SECONDS))
        new = ended.keys() - self._published.keys()
        self._record(sorted(new))
        self._stale |= {ended[run] for run in new}
        self._unkept |= {ended[run] for run in new}
        if self._stale:
            self._stale.add(ALL)
        self._published, self._seen = ended, now
        begun, first = self.clock.monotonic(), {ALL, *(ended[run] for run in new)}
        # A start has all of them to write: what just ended comes before, and the next slot waits for none of it.
        for name in sorted(self._stale, key=lambda name: (name not in first, name)):
            if self.clock.monotonic() - begun > PUBLISH_SECONDS:
                break
            try:
                write(self.home.feeds / f"{name}.xml", self.feed(name), mode=0o644)
            except PbsError as error:
                self._complain(f"feed {name}", f"{error.message} ({error.hint})")
                continue
            self._complaints.pop(f"feed {name}", None)
            self._stale.discard(name)
            if name != ALL:
                await self._weigh(name)
            self._oversight.changed()

    async def _weigh(self, name: str) -> None:
        """Look how large the repository of a source is."""
        size = await asyncio.to_thread(tree_bytes, self.home.repository(name))
        if self._sizes.get(name) != size:
            self.ledger.vitals.weigh(name, size)
        self._sizes[name] = size

    def _record(self, runs: list[str]) -> None:
        """Add runs that ended to the text log; it is a view, so a full disk costs lines of it and nothing else."""
        for run in runs:
            try:
                record(self.home.log / "runs.log", self.ledger.run(run))
            except OSError as error:
                self._complain("runs.log", f"{error.filename or 'runs.log'}: {error.strerror}")

    def _all_stale(self) -> None:
        """Have every feed written anew."""
        self._stale |= {ALL, *self.ledger.sources()}

    def feed(self, name: str, kind: str = "xml") -> bytes:
        """The feed of one source, or of all: RSS, or JSON Feed."""
        most = self.config.server.feed_items
        runs = self.ledger.runs(None if name == ALL else name, limit=most, ended=True)
        return feed_of(name, self.config.server.base_url, runs, most, kind)


def _deal(decision: Decision, now: datetime) -> Deal:
    mark, missed = Mark(decision.signature, decision.seen), decision.missed
    if missed is None:
        return Deal(decision.source, mark, decision.slot)
    told = missed_run(decision.source, missed.first, missed.message, HINT_MISSED, now)
    return Deal(decision.source, mark, decision.slot, told)


def main(home: Home) -> None:
    """The controller process."""
    die_with_parent(signal.SIGKILL, home.sockets / SUPERVISOR_PID)
    log_to()
    try:
        controller = Controller(home)
        log_to(as_json=controller.config.server.log_format == "json")
        # What is loaded stays, and a look at a thousand sources makes tens of thousands of objects: searching them for
        # garbage, of which there is next to none, would hold up every answer for a tenth of a second.
        gc.freeze()
        gc.set_threshold(20_000)
        asyncio.run(controller.serve())
    except ConfigError as error:
        sys.exit(f"controller: {error.message}: {'; '.join(error.faults)}")
    except PbsError as error:
        sys.exit(f"controller: {error.message} ({error.hint})")

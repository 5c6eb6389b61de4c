"""The controller: serves the API and the feeds, keeps endpoints and workers as wanted, ends what a death left open.

Everything that it shows is made from the ledger; killing it loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta

from pbs.assemble import Tools, endpoint_of
from pbs.clock import SystemClock
from pbs.config import Config, load
from pbs.endpoint import Supervisor
from pbs.errors import ConfigError, PbsError
from pbs.files import FileLock, tree_bytes, write
from pbs.home import Home
from pbs.ledger import open_ledger
from pbs.model import Cause, Kind, Run, Source
from pbs.process import die_with_parent
from pbs.provision import provision
from pbs.publish import ALL, FEED_ITEMS, feed_of
from pbs.wake import Bell, ring
from pbs.web.app import serve

TICK_SECONDS = 2.0
log = logging.getLogger("pbs.controller")


class Controller:
    """One controller process; also the face that the API talks to."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.config: Config = load(home)
        self.clock = SystemClock()
        self.ledger = open_ledger(home.ledger)
        self.supervisor = Supervisor(home.supervisor_socket, home.etc / "supervisord.d")
        self._tools = Tools(home, self.ledger, self.supervisor, self.clock)
        self._stale: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._seen = self.clock.now() - timedelta(days=1)
        self._wakes = home.sockets / "wake"

    # what the API asks

    def request(self, source: str, kind: Kind, cause: Cause) -> Run:
        """Queue a run, or join the one of its kind that waits."""
        run = self.ledger.queue.request(source, kind, cause, self.clock.now())
        ring(self._wakes)
        return run

    @property
    def sources(self) -> Mapping[str, Source]:
        """The configured sources."""
        return self.config.sources

    def repository_bytes(self, name: str) -> int | None:
        """The size of a source's repository on disk, looked up when a run of it ended; None before that."""
        return self._sizes.get(name)

    async def reload(self) -> list[str]:
        """Take up a changed configuration; running runs and unchanged endpoints are not touched. Returns remarks.

        Raises:
            ConfigError: it is wrong; the old one stays in force.
        """
        self.config = load(self.home)
        return await self._settle()

    # what it does by itself

    async def serve(self) -> None:
        """Serve until told to stop."""
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        bell = Bell(self._wakes, "controller")
        stop = asyncio.create_task(stopping.wait(), name="stop")
        self._reap()
        self._stale = {ALL, *self.ledger.sources()}
        async with serve(self, self.home, self.config.server):
            for remark in await self._settle():
                log.warning("%s", remark)
            while not stop.done():
                await self._tick()
                waiting = asyncio.create_task(bell.wait(TICK_SECONDS), name="bell")
                await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        bell.close()
        self.ledger.close()

    async def _tick(self) -> None:
        try:
            for name in self._reap():
                source = self.config.sources.get(name)
                if source is not None:
                    await endpoint_of(self._tools, source).rest()
            await self._call_workers()
            self._publish()
        except PbsError as error:
            log.warning("%s (%s)", error.message, error.hint)

    async def _settle(self) -> list[str]:
        """Make what configured sources lack, and have exactly their endpoints run. One bad source stops no other."""
        remarks = []
        for source in self.config.sources.values():
            try:
                await provision(self.home, self.ledger, source, self.clock)
                if source.endpoint == "always":
                    await endpoint_of(self._tools, source).register()
            except PbsError as error:
                remarks.append(f"{source.name}: {error.message}")
        wanted = {f"endpoint-{name}" for name in self.config.sources}
        for path in sorted((self.home.etc / "supervisord.d").glob("endpoint-*.conf")):
            if path.stem not in wanted:
                await self.supervisor.forget(path.stem)
        return remarks

    def _reap(self) -> set[str]:
        """End as interrupted the runs whose worker died: their run lock can be had. Returns their sources."""
        dead = set()
        for name in {run.source for run in self.ledger.queue.running()}:
            lock = FileLock(self.home.locks / f"{name}.run.lock")
            if lock.acquire():
                try:
                    if self.ledger.queue.interrupt(name, self.clock.now()):
                        dead.add(name)
                finally:
                    lock.release()
        return dead

    async def _call_workers(self) -> None:
        """One idle worker is enough; more are started while runs wait."""
        waiting = len(self.ledger.queue.waiting())
        if not waiting:
            return
        busy = {run.source for run in self.ledger.queue.running()}
        if busy and waiting:
            for number in range(1, self.config.server.workers):
                await self.supervisor.start(f"worker-{number}")

    def _publish(self) -> None:
        """Write the feeds of the sources whose runs ended since the last time; what fails is tried again."""
        now = self.clock.now()
        self._stale |= self.ledger.ended_since(self._seen - timedelta(seconds=TICK_SECONDS))
        if self._stale:
            self._stale.add(ALL)
        self._seen = now
        for name in sorted(self._stale):
            write(self.home.feeds / f"{name}.xml", self.feed(name), mode=0o644)
            if name != ALL:
                self._sizes[name] = tree_bytes(self.home.repository(name))
            self._stale.discard(name)

    def feed(self, name: str) -> bytes:
        """The feed of one source, or of all."""
        runs = self.ledger.runs(None if name == ALL else name, limit=FEED_ITEMS, ended=True)
        return feed_of(name, self.config.server.base_url, runs)


def main(home: Home) -> None:
    """The controller process."""
    die_with_parent(signal.SIGKILL)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        asyncio.run(Controller(home).serve())
    except ConfigError as error:
        sys.exit(f"controller: {error.message}: {'; '.join(error.faults)}")
    except PbsError as error:
        sys.exit(f"controller: {error.message} ({error.hint})")

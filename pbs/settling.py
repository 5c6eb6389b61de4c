"""Brings sources in order between their runs: what they lack is made, exactly their endpoints are up, those of others gone.

It never touches a source that somebody works on: whoever does sees to it at the end of his run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pbs import rotation
from pbs.assemble import Tools, endpoint_of
from pbs.endpoint import remove_socket
from pbs.errors import PbsError
from pbs.files import FileLock
from pbs.model import Source
from pbs.provision import provision


class Settling:
    """The order of one home's sources. Held by the controller."""

    def __init__(self, tools: Tools, configured: Callable[[], Mapping[str, Source]]) -> None:
        self._tools = tools
        self._configured = configured
        self._one_at_a_time = asyncio.Lock()

    async def all(self) -> list[str]:
        """Bring every source in order; returns what could not be. One bad source stops no other."""
        # A reload while the start still settles waits for its turn: the newer configuration has the last word.
        async with self._one_at_a_time:
            remarks = []
            for source in list(self._configured().values()):
                try:
                    await self._one(source)
                except PbsError as error:
                    remarks.append(f"{source.name}: {error.message}")
                await self._tools.clock.sleep(0)
            await self.forget()
            return remarks

    async def _one(self, source: Source) -> None:
        with self.unless_running(source.name) as free:
            if free:
                await provision(self._tools.home, self._tools.ledger, source, self._tools.clock)
                await endpoint_of(self._tools, source).rest()

    async def rest(self, name: str) -> None:
        """Have a source's endpoint as it is between runs.

        Raises:
            PbsError: supervisord cannot be told.
        """
        with self.unless_running(name) as free:
            source = self._configured().get(name)
            if free and source is not None:
                await endpoint_of(self._tools, source).rest()

    async def end_rotations(self) -> None:
        """End changes of a password that were killed, and have the endpoint back that was shut for one.

        Raises:
            PbsError: it cannot be ended now, or supervisord cannot be told.
        """
        for path in sorted(self._tools.home.keys.glob("*.rotation")):
            with self.unless_running(path.stem) as free:
                if free:
                    rotation.recover(self._tools.home, self._tools.ledger, path.stem)
            await self.rest(path.stem)

    async def forget(self) -> None:
        """Have no endpoint known of a source that is not configured.

        Raises:
            PbsError: supervisord cannot be told.
        """
        home = self._tools.home
        for path in sorted((home.etc / "supervisord.d").glob("endpoint-*.conf")):
            name = path.stem.removeprefix("endpoint-")
            if name not in self._configured():
                with self.unless_running(name) as free:
                    if free:
                        await self._tools.supervisor.forget(path.stem)
                        remove_socket(home.endpoint_socket(name))

    @contextmanager
    def unless_running(self, name: str) -> Iterator[bool]:
        """Whether nobody works on this source; if so, nobody begins to for the length of the block."""
        lock = FileLock(self._tools.home.locks / f"{name}.run.lock")
        free = lock.acquire()
        try:
            yield free
        finally:
            lock.release()

"""The append-only door of one source: opened for a transfer, shut while we look at what came through."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from pbs.clock import Clock
from pbs.endpoint.program import endpoint_command, endpoint_program
from pbs.endpoint.supervisor import Supervisor
from pbs.errors import EndpointError, ToolMissing
from pbs.home import Home
from pbs.model import Source
from pbs.process import find_tool
from pbs.text import clean_line

READY_SECONDS = 20.0
LOG_TAIL = 4096


def rest_server() -> Path:
    """The rest-server of this machine, under either of its names.

    Raises:
        ToolMissing: there is none.
    """
    found = find_tool("rest-server", "restic-rest-server")
    if found is None:
        raise ToolMissing("rest-server is missing", "install it (Debian: restic-rest-server), 0.13 or newer")
    return found


class Endpoint:
    """One source's endpoint. A source reaches it only while `open`, and only through the tunnel of its own run."""

    def __init__(self, home: Home, source: Source, supervisor: Supervisor, clock: Clock) -> None:
        self.socket = home.endpoint_socket(source.name)
        self._program = f"endpoint-{source.name}"
        self._always = source.endpoint == "always"
        self._supervisor = supervisor
        self._clock = clock
        self._log = home.log / f"endpoint-{source.name}.log"
        self.text = endpoint_program(
            source.name,
            endpoint_command(
                self.socket,
                home.locks / f"{source.name}.endpoint.lock",
                home.repository(source.name),
                rest_server(),
                source.quota,
                sandbox=source.sandbox,
            ),
            home.log,
            always=self._always,
        )

    async def open(self) -> None:
        """Have it answer on its socket.

        Raises:
            EndpointError: it does not come up within 20 s.
        """
        await self._supervisor.register(self._program, self.text)
        await self._supervisor.start(self._program, at_once=True)
        deadline = self._clock.monotonic() + READY_SECONDS
        while not await answers(self.socket):
            if self._clock.monotonic() > deadline:
                raise EndpointError(
                    f"the endpoint does not answer on {self.socket} within {READY_SECONDS:g} s{self._last_words()}",
                    f"look at {self._log}",
                )
            await self._clock.sleep(0.01)

    def _last_words(self) -> str:
        """The last line of its log, which tells why it does not come up."""
        try:
            with self._log.open("rb") as file:
                file.seek(-min(LOG_TAIL, self._log.stat().st_size), os.SEEK_END)
                lines = file.read(LOG_TAIL).decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return f": {clean_line(said[-1], 300)}" if said else ""

    async def shut(self) -> None:
        """Have nobody answer: afterwards nobody but us can touch the repository."""
        await self._supervisor.stop(self._program)
        # It listened on a socket that was handed to it, which it leaves behind.
        remove_socket(self.socket)

    async def rest(self) -> None:
        """What it does between runs: an `always` endpoint is up, any other is not even known."""
        if self._always:
            await self._supervisor.register(self._program, self.text)
            await self._supervisor.start(self._program)
        elif self._supervisor.registered(self._program):
            await self._supervisor.forget(self._program)
            remove_socket(self.socket)


def remove_socket(path: Path) -> None:
    """Take a socket away; what is none belongs to somebody else and stays."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink(missing_ok=True)


def listening(path: Path) -> bool:
    """Whether somebody listens on this socket; at once, and without waking more than whoever listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # so many wait to be let in that there is no room for one more
            return True
        except OSError:
            return False
    return True


async def answers(path: Path) -> bool:
    """Whether somebody accepts connections on this socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    return True

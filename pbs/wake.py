"""Bells: how one process of the service tells the others to look at the ledger now. A lost ring costs seconds, nothing more.

It carries no data: the ledger is the only truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path


class Bell:
    """This process' own bell, on a datagram socket in the wake folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        self._rung = asyncio.Event()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(16):
                pass
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Until somebody rings, or the time is over. True where somebody rang."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def ring_myself(self) -> None:
        """Have the next wait return at once."""
        self._rung.set()

    def close(self) -> None:
        """Take it down."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def ring(folder: Path) -> None:
    """Ring every bell of this home; a bell whose process died is taken down."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for name in names:
            path = folder / name
            try:
                sender.sendto(b"!", str(path))
            except ConnectionRefusedError:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            except OSError:
                continue  # a full queue means that it was rung already

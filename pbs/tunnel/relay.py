"""Relays the source's connections to its endpoint: counts the bytes, bounds the connections, holds back the faster side.

The gate judges what the source asks for; nothing else here looks into what is relayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from pbs.tunnel.gate import REFUSAL, Denial, Denied, Gate, Stream

# restic opens five connections by default and some more for a moment.
MOST_CONNECTIONS = 32
# After so many bytes it is asked again whether more may come.
LOOK_BYTES = 1 << 20
# From the bytes that came so far to why no more may; None = they may.
Writable = Callable[[int], str | None]


def unbounded(_: int) -> None:
    """Any number of bytes may come."""


@dataclass(slots=True)
class Relay:
    """One forwarded socket. `received` and `sent` count bytes from and to the source."""

    target: Path
    gate: Gate = field(default_factory=Gate)
    hang_up: Callable[[], None] = field(default=lambda: None)
    writable: Writable = unbounded
    received: int = 0
    sent: int = 0
    refused: int = 0
    _open: set[FarSide] = field(default_factory=set)
    _unanswered_since: float | None = None
    _look_at: int = LOOK_BYTES

    @property
    def unanswered_seconds(self) -> float:
        """For how long the endpoint has answered none of the connections that the source tried; 0 where it does."""
        now = asyncio.get_running_loop().time()
        return now - self._unanswered_since if self._unanswered_since is not None else 0.0

    @property
    def denials(self) -> Sequence[Denial]:
        """The first requests that were not let through."""
        return self.gate.denials

    @property
    def denied(self) -> int:
        """How many requests were not let through."""
        return self.gate.denied

    @property
    def cut(self) -> str | None:
        """Why the source cannot reach its endpoint any more in this run; None while it can."""
        return self.gate.cut

    async def accept(self) -> FarSide:
        """Called for each connection that the source opens.

        Raises:
            asyncssh.ChannelOpenError: too many are open, the source was cut off, or the endpoint does not answer.
        """
        if self.gate.cut is not None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, self.gate.cut)
        if len(self._open) >= MOST_CONNECTIONS:
            self.refused += 1
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many connections")
        far = FarSide(self)
        self._open.add(far)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: far.near, str(self.target))
        except OSError as error:
            self._open.discard(far)
            if self._unanswered_since is None:
                self._unanswered_since = loop.time()
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_CONNECT_FAILED, "the endpoint does not answer"
            ) from error
        self._unanswered_since = None
        return far

    def arrived(self, count: int) -> bool:
        """Bytes came from the source; whether they may go on. Where not, every connection ends."""
        self.received += count
        if self.received < self._look_at:
            return True
        self._look_at = self.received + LOOK_BYTES
        self.gate.cut = self.gate.cut or self.writable(self.received)
        if self.gate.cut is None:
            return True
        self.end()
        return False

    def returned(self, count: int) -> bool:
        """Bytes are on their way to the source; whether they may go. Where not, every connection ends."""
        self.sent += count
        if self.gate.returned(count):
            return True
        self.end()
        return False

    def end(self) -> None:
        """End every connection, and the one that they came through: the source was cut off."""
        for far in tuple(self._open):
            far.near.close()
        self.hang_up()

    def gone(self, far: FarSide) -> None:
        """A connection ended."""
        self._open.discard(far)


class FarSide(asyncssh.SSHUNIXSession[bytes]):
    """The source's end of one connection."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._stream: Stream | None = Stream(relay.gate)
        self.near = NearSide(self)
        self.channel: asyncssh.SSHUNIXChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        """The channel is open."""
        self.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - the base class decides
        """Bytes from the source, on to the endpoint once the gate lets them through."""
        if not self._relay.arrived(len(data)) or self._stream is None:
            return
        try:
            passed = self._stream.feed(data)
        except Denied:
            self._deny()
            return
        if passed:
            self.near.write(passed)

    def _deny(self) -> None:
        """Say no, and end it: what comes behind such a request cannot be told apart from it."""
        self._stream = None
        if self.channel is not None:
            self.channel.write(REFUSAL)
        self.near.close()
        if self._relay.cut is not None:
            self._relay.end()

    def eof_received(self) -> bool:
        """The source has said all; the answer may still be on its way."""
        self.near.write_eof()
        return True

    def pause_writing(self) -> None:
        """The source takes no more for now."""
        self.near.pause_reading()

    def resume_writing(self) -> None:
        """The source takes more again."""
        self.near.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The channel is gone."""
        self.channel = None
        self.near.close()
        self._relay.gone(self)

    def deliver(self, data: bytes) -> None:
        """Bytes of the endpoint, on to the source."""
        if self.channel is not None and self._stream is not None and self._relay.returned(len(data)):
            self.channel.write(data)

    def finish(self) -> None:
        """The endpoint has said all."""
        if self.channel is not None and not self.channel.is_closing():
            self.channel.write_eof()

    def drop(self) -> None:
        """The endpoint's connection is gone."""
        if self.channel is not None:
            self.channel.close()


class NearSide(asyncio.Protocol):
    """The endpoint's end of one connection."""

    def __init__(self, far: FarSide) -> None:
        self._far = far
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The endpoint answered."""
        self._transport = transport  # type: ignore[assignment]  # a stream transport, since this is a Protocol

    def data_received(self, data: bytes) -> None:
        """Bytes of the endpoint."""
        self._far.deliver(data)

    def eof_received(self) -> bool:
        """The endpoint has said all; keep the other direction."""
        self._far.finish()
        return True

    def pause_writing(self) -> None:
        """The endpoint takes no more for now."""
        if self._far.channel is not None:
            self._far.channel.pause_reading()

    def resume_writing(self) -> None:
        """The endpoint takes more again."""
        if self._far.channel is not None:
            self._far.channel.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The endpoint's connection is gone."""
        self._transport = None
        self._far.drop()

    def write(self, data: bytes) -> None:
        """Bytes for the endpoint."""
        if self._transport is not None:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Nothing more for the endpoint."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def pause_reading(self) -> None:
        """Hold the endpoint back."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the endpoint go on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

"""Tries what a source must refuse, for real: a lock is believed in when a forbidden thing has failed.

It uses harmless words, leaves nothing behind, and never tries a source twice in a way that could lock the account.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from pbs.model import Address
from pbs.text import clean_line
from pbs.tunnel.connection import Connection

# The shell would print the sum, an agent that repeats our words would not.
PROOF_COMMAND = "echo pbs-$((40+2))"
PROOF = b"pbs-42"
WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. `state` is ok, warning or broken; `advice` says what to change."""

    name: str
    state: str
    detail: str
    advice: str | None = None


async def forbidden(connection: Connection, address: Address, lent: str | None, root: bool) -> list[Finding]:
    """Try everything that must be refused.

    Args:
        connection: A connection over which `lent` is being forwarded.
        address: Where the source answers; its own SSH port is what a TCP forward is tried with.
        lent: The path on the source of a socket that certainly answers; None where nothing could be lent.
        root: Whether the account is root, which may bind port 1.
    """
    raw = connection.raw
    attempts: list[tuple[str, str, Callable[[], Awaitable[None]]]] = [
        ("shell", "an interactive shell", lambda: _shell(raw)),
        ("command", "another command", lambda: _command(raw)),
        ("tcp-forward-to-source", "a TCP forward into the source", lambda: _tcp_out(raw, address)),
        ("tcp-forward-from-source", "a TCP port opened on the source", lambda: _tcp_in(raw, 0)),
        ("agent-forward", "agent forwarding", lambda: _agent(raw)),
        ("sftp", "sftp", lambda: _sftp(raw)),
    ]
    if lent is not None:
        what = "a forward to a unix socket of the source"
        attempts.append(("unix-forward-to-source", what, lambda: _unix_out(raw, lent)))
    # Last: an sshd that does not run as root ends the whole connection over a terminal.
    attempts.append(("pty", "a terminal", lambda: _pty(raw)))
    port_one = [await _port_one(raw)] if root else []
    return [*[await _attempt(raw, name, what, act) for name, what, act in attempts], *port_one]


class _WorkedError(Exception):
    """What must be refused was possible."""


async def _attempt(
    raw: asyncssh.SSHClientConnection, name: str, what: str, act: Callable[[], Awaitable[None]]
) -> Finding:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await act()
    except _WorkedError as error:
        return Finding(
            name,
            "broken",
            f"{what} is possible: {error}",
            "use the authorized_keys line that `pbs source show` prints",
        )
    except (asyncssh.Error, asyncssh.ChannelListenError, OSError, TimeoutError) as error:
        # No answer is no refusal: nothing was learnt.
        if isinstance(error, TimeoutError) or raw.is_closed():
            return Finding(
                name, "warning", f"{what} could not be tried: the source gave no answer", "try again"
            )
        return Finding(
            name, "ok", f"{what} is refused ({clean_line(str(error) or type(error).__name__, 100)})"
        )
    return Finding(name, "ok", f"{what} is refused")


async def _output(
    raw: asyncssh.SSHClientConnection, command: str | None, typed: bytes
) -> tuple[bytes, int | None]:
    process = await raw.create_process(command, encoding=None, request_pty=False)
    try:
        # What was carried out may have ended already, and takes no words: what it said counts.
        with contextlib.suppress(OSError):
            process.stdin.write(typed)
            process.stdin.write_eof()
        said = await process.stdout.read(1 << 16)
        await process.wait_closed()
        return said, process.exit_status
    finally:
        process.close()


async def _shell(raw: asyncssh.SSHClientConnection) -> None:
    said, status = await _output(raw, None, PROOF_COMMAND.encode() + b"\n")
    if PROOF in said or status == 0:
        raise _WorkedError("it answered")


async def _command(raw: asyncssh.SSHClientConnection) -> None:
    said, status = await _output(raw, PROOF_COMMAND, b"")
    if PROOF in said or status == 0:
        raise _WorkedError("it was carried out")


async def _tcp_out(raw: asyncssh.SSHClientConnection, address: Address) -> None:
    try:
        _, writer = await raw.open_connection("127.0.0.1", address.port)
    except asyncssh.ChannelOpenError as error:
        if error.code == asyncssh.OPEN_CONNECT_FAILED:
            raise _WorkedError("sshd tried to connect") from error
        raise
    writer.close()
    raise _WorkedError(f"its port {address.port} was reached")


async def _tcp_in(raw: asyncssh.SSHClientConnection, port: int) -> None:
    listener = await raw.create_server(lambda *_: asyncssh.SSHTCPSession(), "localhost", port)
    number = listener.get_port()
    listener.close()
    raise _WorkedError(f"port {number} was opened")


async def _unix_out(raw: asyncssh.SSHClientConnection, path: str) -> None:
    _, writer = await raw.open_unix_connection(path)
    writer.close()
    raise _WorkedError("it was reached")


async def _pty(raw: asyncssh.SSHClientConnection) -> None:
    process = await raw.create_process("ping", encoding=None, request_pty="force", term_type="dumb")
    process.close()
    raise _WorkedError("it was given")


async def _agent(raw: asyncssh.SSHClientConnection) -> None:
    process = await raw.create_process("ping", encoding=None, request_pty=False)
    channel: Any = process.channel
    try:
        # The library offers no way to ask for this alone and to see the answer.
        granted = await channel._make_request(b"auth-agent-req@openssh.com")  # noqa: SLF001
    finally:
        process.close()
    if granted:
        raise _WorkedError("it was granted")


async def _sftp(raw: asyncssh.SSHClientConnection) -> None:
    client = await raw.start_sftp_client()
    client.exit()
    raise _WorkedError("it answered")


async def _port_one(raw: asyncssh.SSHClientConnection) -> Finding:
    """`permitlisten="localhost:1"` closes every port but that one, which only root can bind."""
    with contextlib.suppress(asyncssh.Error, asyncssh.ChannelListenError, OSError, TimeoutError):
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                await _tcp_in(raw, 1)
            except _WorkedError:
                return Finding(
                    "port-1", "warning", "as root, port 1 of the source's loopback can be opened",
                    "use an account that is not root, or PermitListen none in its sshd_config",
                )  # fmt: skip
    return Finding("port-1", "ok", "port 1 of the source's loopback is refused")

"""One SSH connection to a source: pinned host key, our key alone, nothing taken from this machine's ssh settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from pbs import keyring
from pbs.clock import Clock
from pbs.errors import (
    ConfigError,
    HomeError,
    HostKeyMismatch,
    LoginRefused,
    TunnelBroken,
    TunnelError,
    Unreachable,
)
from pbs.files import write
from pbs.model import AGENT_PATH, Address, Source
from pbs.text import clean_line
from pbs.tunnel.gate import Gate
from pbs.tunnel.relay import Relay, Writable, unbounded
from pbs.tunnel.talk import Talk

CONNECT_SECONDS = 15
LOGIN_SECONDS = 30
KEEPALIVE_SECONDS = 15
KEEPALIVE_COUNT = 4
# Together with what a talk waits for its agent less than a worker gets to end.
CLOSE_SECONDS = 1.5
# aes128-gcm costs the least CPU for each byte; the rest are for a source that lacks it.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")
HOST_KEY_TYPES = (
    b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521",
    b"rsa-sha2-512", b"rsa-sha2-256",
)  # fmt: skip
WINDOW_BYTES = 8 << 20
PACKET_BYTES = 1 << 15


class Connection:
    """A connection to one source. Only the socket lent by `lend` can be reached through it, only while lent."""

    def __init__(self, raw: asyncssh.SSHClientConnection, clock: Clock) -> None:
        self.raw = raw
        self._clock = clock

    async def say(self, word: str) -> Talk:
        """Have sshd start the agent with one word; use the answer as a context manager.

        Raises:
            TunnelBroken: sshd does not open a session.
        """
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                process = await self.raw.create_process(word, encoding=None, request_pty=False)
        except (asyncssh.Error, OSError) as error:
            raise TunnelBroken(
                f"the source's sshd opens no session: {_reason(error)}",
                "look at the log of sshd on the source",
            ) from error
        return Talk(process, self._clock)

    @asynccontextmanager
    async def lend(
        self, listen: str, target: Path, read_budget: int | None = None, writable: Writable = unbounded
    ) -> AsyncIterator[Relay]:
        """Let the source reach our socket `target` at its path `listen` for the length of the block, with the requests
        of a backup alone; `read_budget` is how many bytes it may read, `writable` says whether it may go on sending.

        Raises:
            TunnelBroken: sshd refuses to forward.
        """
        relay = Relay(target, Gate(read_budget), self.raw.close, writable)
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                listener = await self.raw.create_unix_server(
                    relay.accept, listen, window=WINDOW_BYTES, max_pktsize=PACKET_BYTES
                )
        except (asyncssh.Error, asyncssh.ChannelListenError, OSError) as error:
            raise TunnelBroken(
                f"the source's sshd does not forward the socket {listen}: {_reason(error)}",
                "AllowTcpForwarding must be `yes` or `remote` there (`no` refuses reverse sockets too), "
                "and the key needs `port-forwarding`",
            ) from error
        try:
            yield relay
        finally:
            listener.close()
            with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await listener.wait_closed()


@asynccontextmanager
async def connect(address: Address, clock: Clock) -> AsyncIterator[Connection]:
    """Connect and log in.

    Raises:
        Unreachable, HostKeyMismatch, LoginRefused, TunnelError: each with what to do.
    """
    target = f"{address.user}@{address.host}:{address.port}"
    pinned, key = _pinned(address), _private_key(Path(address.ssh_key))
    try:
        raw = await asyncssh.connect(
            address.host,
            address.port,
            username=address.user,
            config=[],
            known_hosts=([pinned], [], []),
            server_host_key_algs=_algorithms(pinned),
            client_keys=[key],
            agent_path=None,
            preferred_auth="publickey",
            compression_algs=["none"],
            encryption_algs=list(CIPHERS),
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOGIN_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_COUNT,
        )
    except Exception as error:
        raise _explain(error, target, address) from error
    try:
        yield Connection(raw, clock)
    finally:
        raw.close()
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await raw.wait_closed()
        raw.abort()


def _explain(error: Exception, target: str, address: Address) -> TunnelError:
    """The one place where the library's errors get our names. Unknown ones stay general, never silent."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return _other_key(target)
        case asyncssh.KeyExchangeFailed() if "host key" in str(error).lower():
            return _other_key(target)
        case asyncssh.PermissionDenied():
            return LoginRefused(
                f"{target} does not accept our key",
                f"add the line that `pbs source show` prints to authorized_keys of {address.user}; "
                "look at the permissions of that file and of its folders",
            )
        case TimeoutError() | OSError():
            return Unreachable(
                f"nobody answers at {target}: {_reason(error)}",
                "is the machine up, the name and the port right?",
            )
        case asyncssh.ConnectionLost():
            return Unreachable(
                f"{target} closed the connection: {_reason(error)}", "look at the log of sshd there"
            )
        case _:
            return TunnelError(
                f"cannot talk SSH with {target}: {_reason(error)}", "look at the log of sshd there"
            )


def _other_key(target: str) -> HostKeyMismatch:
    return HostKeyMismatch(
        f"{target} shows another host key than the pinned one; nothing was sent",
        "if the machine was set up anew, compare its key with `ssh-keygen -lf` there, then pin it as host_key",
    )


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TimeoutError) and not text:
        text = "no answer in time"
    return clean_line(text or type(error).__name__, 300)


def _pinned(address: Address) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(address.host_key)
    except asyncssh.KeyImportError as error:
        raise ConfigError(
            f"the host key of {address.host} is none: {_reason(error)}", "see `pbs config check`"
        ) from error


def _algorithms(pinned: asyncssh.SSHKey) -> list[str]:
    """The pinned key's own first, so that a server that has it shows it; then all others, so that any other key is seen
    to be another key, where a server without a common type would just hang up.
    """
    own = [name.decode() for name in pinned.sig_algorithms if name in HOST_KEY_TYPES]
    return [*own, *(name.decode() for name in HOST_KEY_TYPES if name.decode() not in own)]


def _private_key(path: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(keyring.read(path))
    except (OSError, ValueError) as error:  # the library's own errors about keys are ValueErrors
        raise HomeError(
            f"the SSH key {path} cannot be read: {_reason(error)}",
            "`pbs init` makes one; a key with a passphrase cannot be used by a service",
        ) from error


async def host_key_of(host: str, port: int) -> tuple[str, str]:
    """The host key that answers there now, and its SHA-256 fingerprint: for a person to compare, not to trust.

    Raises:
        Unreachable: nobody answers.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            key = await asyncssh.get_server_host_key(host, port, config=[])
    except (TimeoutError, OSError, asyncssh.Error) as error:
        raise Unreachable(
            f"nobody answers at {host}:{port}: {_reason(error)}", "is the address right?"
        ) from error
    if key is None:
        raise Unreachable(f"{host}:{port} shows no host key", "is that an SSH server?")
    return " ".join(key.export_public_key().decode().split()[:2]), key.get_fingerprint()


def make_key(path: Path, comment: str) -> None:
    """Make an Ed25519 key pair, private from the moment it exists. An existing one is never replaced."""
    if path.exists():
        return
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    write(path.with_name(f"{path.name}.pub"), key.export_public_key(), mode=0o644)
    keyring.write(path, key.export_private_key())


def public_key(path: Path) -> str:
    """The public half of a private key file, as one line.

    Raises:
        HomeError: it is missing, damaged, or needs a passphrase.
    """
    return clean_line(_private_key(path).export_public_key().decode("utf-8", "replace"), 20_000)


def key_line(source: Source, agent_path: str = AGENT_PATH) -> str:
    """The line of authorized_keys that lets us start the agent's words there, and nothing else.

    Raises:
        HomeError: our key is missing or damaged.
    """
    restrict = 'restrict,port-forwarding,permitopen="localhost:1",permitlisten="localhost:1"'
    return f'{restrict},command="{agent_path} --profile {source.name}" {public_key(Path(source.address.ssh_key))}'

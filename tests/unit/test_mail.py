"""Mail by way of a server that demands TLS and a login: taken where all is right, and told with advice where something is not."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller as MailServer
from test_messages import SECRET, Letters

from pbs import keyring
from pbs.config import Channel
from pbs.errors import MessageLost
from pbs.home import Home
from pbs.messages.senders import send
from pbs.messages.wording import trial

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
LETTER = trial("vault", "https://b")
Pair = tuple[Path, Path]


@contextmanager
def serving(shown: Pair | None, *, at_once: bool = False, **more: Any) -> Iterator[tuple[Letters, int]]:
    """A mail server that shows this certificate, after STARTTLS or from the first byte on; its letters and its port."""
    letters, context = Letters(), None
    if shown is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*shown)
    how: dict[str, Any] = {"ssl_context": context} if at_once else {"tls_context": context}
    server = MailServer(
        letters, hostname="127.0.0.1", port=free_port(), authenticator=letters.authenticate, auth_required=True,
        require_starttls=context is not None and not at_once, auth_require_tls=not at_once, **how, **more,
    )  # fmt: skip
    server.start()
    try:
        yield letters, server.port
    finally:
        server.stop()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that knows the password of the account."""
    made = Home.at(tmp_path / "home")
    made.make()
    keyring.write(made.channel_secret("ops"), SECRET.encode() + b"\n")
    return made


@pytest.fixture
def right(certificate: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A certificate of this machine that this machine trusts."""
    made = certificate("localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(made[0]))
    return made


def ops(port: int, security: str = "starttls", host: str = "localhost") -> Channel:
    """The channel of a letter with login."""
    return Channel(
        "ops",
        "mail",
        to=("a@example.org",),
        server=(host, port),
        account="pbs@example.org",
        security=security,
    )


async def lost(home: Home, channel: Channel) -> str:
    """What is said of a letter that was not taken; never the password."""
    with pytest.raises(MessageLost) as error:
        await send(home, channel, LETTER)
    said = f"{error.value.message} / {error.value.hint}"
    assert SECRET not in said
    return said


@pytest.mark.parametrize(("security", "at_once"), [("starttls", False), ("tls", True)])
async def test_a_letter_goes_out_over_tls_with_a_login(
    home: Home, right: Pair, security: str, at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Both ways of TLS: the server saw the password once, took the letter, and neither letter nor log holds it."""
    caplog.set_level(logging.DEBUG)
    with serving(right, at_once=at_once) as (letters, port):
        await send(home, ops(port, security), LETTER)
        ((receivers, content),) = letters.got
        assert (receivers, letters.passwords) == (["a@example.org"], [SECRET.encode()])
        assert message_from_bytes(content)["Subject"] == "vault: a test message"
    assert SECRET.encode() not in content
    assert SECRET not in caplog.text


async def test_a_wrong_password_is_told(home: Home, right: Pair) -> None:
    """The account is named, the password is not, and it is said which verb takes another one."""
    keyring.write(home.channel_secret("ops"), f"{SECRET}-of-before".encode())
    with serving(right) as (letters, port):
        said = await lost(home, ops(port))
        assert letters.got == []
    assert "refused the account pbs@example.org or its password" in said
    assert "pbs notify set ops" in said


async def test_a_wrong_certificate_gets_neither_password_nor_letter(
    home: Home, right: Pair, certificate: Callable[..., Pair]
) -> None:
    """One that nobody trusts, one of another machine, one that is over: each is named, and nothing secret is sent."""
    for shown, host, words in (
        (certificate("localhost"), "localhost", "self-signed certificate"),
        (right, "127.0.0.1", "not valid for '127.0.0.1'"),
        (certificate("localhost", days=-1), "localhost", "certificate"),
    ):
        with serving(shown) as (letters, port):
            said = await lost(home, ops(port, host=host))
            assert (letters.got, letters.passwords) == ([], [])
        assert "certificate is not right" in said
        assert words in said
        assert "the name in that certificate" in said


async def test_a_server_without_tls_gets_no_password(home: Home) -> None:
    """Where the server offers no STARTTLS the letter stays here, and it is said what could be set."""
    with serving(None) as (letters, port):
        said = await lost(home, ops(port))
        assert (letters.got, letters.passwords) == ([], [])
    assert "offers no STARTTLS" in said


async def test_the_wrong_kind_of_tls_is_told(home: Home, right: Pair) -> None:
    """TLS at once where the server speaks in clear first: the two kinds are explained."""
    with serving(right) as (_, port):
        assert '"starttls"' in await lost(home, ops(port, "tls"))


async def test_a_silent_server_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that takes the connection and says nothing is told within the time that a letter has."""
    monkeypatch.setattr("pbs.messages.senders.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = await lost(home, replace(ops(silent.getsockname()[1], "none", "127.0.0.1"), account=""))
    assert "did not answer within" in said

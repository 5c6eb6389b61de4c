"""How a message goes out: mail, an address on the web, a program, apprise. Each is bounded in time; no error tells a secret.

The only door to smtplib, urllib's requests and apprise.
"""

from __future__ import annotations

import asyncio
import json
import logging
import smtplib
import socket
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pbs import keyring, process
from pbs.config import Channel
from pbs.errors import MessageLost, PbsError
from pbs.home import Home
from pbs.messages.wording import Message
from pbs.promises import State
from pbs.text import clean_line

SECONDS = 30.0
COMMAND_SECONDS = 60.0
# Which channels cannot do without something secret.
ADDRESSED = ("webhook", "ping", "apprise")


def secret_of(home: Home, channel: Channel) -> str:
    """The address or password of a channel; empty where it needs none.

    Raises:
        MessageLost: it needs one, and there is none.
    """
    if channel.kind not in ADDRESSED and not channel.account:
        return ""
    path = home.channel_secret(channel.name)
    try:
        return keyring.read(path).decode().strip()
    except FileNotFoundError:
        raise MessageLost(
            f"the channel {channel.name} has no {'password' if channel.kind == 'mail' else 'address'} yet",
            f"`pbs notify set {channel.name}` takes it",
        ) from None


async def send(home: Home, channel: Channel, message: Message) -> None:
    """Send it, or raise.

    Raises:
        MessageLost: it was not taken; the sentence holds nothing secret.
    """
    try:
        secret = await asyncio.to_thread(secret_of, home, channel)
        if channel.kind == "command":
            await _by_command(channel, message)
        else:
            await asyncio.to_thread(BY_KIND[channel.kind], channel, message, secret)
    except PbsError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises, its words may hold a secret
        # Not the error's own words: libraries repeat addresses in them.
        raise MessageLost(
            f"the channel {channel.name} took no message: {type(error).__name__}", _advice(channel)
        ) from None


def _by_mail(channel: Channel, message: Message, password: str) -> None:
    mail = EmailMessage()
    mail["Subject"] = message.title
    mail["From"] = channel.sender or f"pbs@{socket.getfqdn()}"
    mail["To"] = ", ".join(channel.to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain="pbs.invalid")
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    host, port = channel.server
    try:
        context = ssl.create_default_context()
        if channel.security == "tls":
            line: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
        else:
            line = smtplib.SMTP(host, port, timeout=SECONDS)
        with line:
            if channel.security == "starttls":
                line.starttls(context=context)
            if channel.account:
                line.login(channel.account, password)
            refused = line.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:
        said, advice = _trouble(channel, error)
        raise MessageLost(
            f"the mail server {host}:{port} took no message of the channel {channel.name}: {said}",
            advice or _advice(channel),
        ) from None
    if refused:
        raise MessageLost(
            f"the mail server {host}:{port} refused {', '.join(sorted(refused))}", _advice(channel)
        )


def _trouble(channel: Channel, error: OSError | smtplib.SMTPException) -> tuple[str, str]:
    """What a mail server has against a letter, and what to do where that is known. Of a login only that it failed."""
    where = f"[notify.{channel.name}]"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return (
            f"it refused the account {channel.account} or its password",
            f"`pbs notify set {channel.name}` takes another password; `account` of {where} is who logs in",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = (
            f"`server` of {where} must be the name in that certificate, and this machine must trust who issued it "
            "(an authority of your own: `update-ca-certificates`)"
        )
        return clean_line(f"its certificate is not right: {error.verify_message}", 200), advice
    if isinstance(error, smtplib.SMTPNotSupportedError):
        what = "STARTTLS" if channel.security == "starttls" and "STARTTLS" in str(error) else "login"
        return f"it offers no {what}", f"ask who runs it for the port with TLS, and see `security` of {where}"
    if isinstance(error, ssl.SSLError):
        return (
            clean_line(f"no TLS came about ({error.reason or 'the line was cut'})", 200),
            f'`security` of {where} is "tls" where TLS begins at once, often on port 465, and "starttls" on 587 and 25',
        )
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return f"it did not answer within {SECONDS:g} seconds", ""
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "it cut the line", ""
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        return clean_line(f"{error.smtp_code} {text}", 200), ""
    return clean_line(getattr(error, "strerror", None) or type(error).__name__, 200), ""


def _by_webhook(channel: Channel, message: Message, address: str) -> None:
    _post(channel, address, json.dumps(message.data).encode(), "application/json")


def _by_ping(channel: Channel, message: Message, address: str) -> None:
    where = urlsplit(address)
    path = where.path.rstrip("/") + ("/fail" if message.state is State.BROKEN else "")
    _post(channel, where._replace(path=path).geturl(), message.text.encode(), "text/plain; charset=utf-8")


class _Straight(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Nowhere: an address with a token is sent to whom it was written for, and to nobody else."""
        return


def _post(channel: Channel, address: str, body: bytes, kind: str) -> None:
    if urlsplit(address).scheme not in ("http", "https"):
        raise MessageLost(
            f"the address of the channel {channel.name} begins with neither http:// nor https://",
            _advice(channel),
        )
    request = Request(address, data=body, headers={"Content-Type": kind, "User-Agent": "pbs"})  # noqa: S310 - looked at above
    try:
        with build_opener(_Straight).open(request, timeout=SECONDS) as answer:
            answer.read(65536)
    except HTTPError as error:
        raise MessageLost(f"the channel {channel.name} answered {error.code}", _advice(channel)) from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        said = getattr(reason, "strerror", None) or type(reason).__name__
        raise MessageLost(
            f"the channel {channel.name} does not answer: {clean_line(str(said), 200)}", _advice(channel)
        ) from None


def _by_apprise(channel: Channel, message: Message, address: str) -> None:
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise MessageLost(
            f"the channel {channel.name} needs apprise, which is not installed", "install pbs[notify]"
        ) from None
    # What it logs holds addresses.
    logging.getLogger("apprise").disabled = True
    kinds = {State.KEPT: "success", State.WARNING: "warning", State.BROKEN: "failure"}
    sender = apprise.Apprise()
    if not sender.add(address):
        raise MessageLost(
            f"apprise does not know the kind of address of the channel {channel.name}", _advice(channel)
        )
    if not sender.notify(title=message.title, body=message.text, notify_type=kinds[message.state]):
        raise MessageLost(f"the channel {channel.name} took no message", _advice(channel))


async def _by_command(channel: Channel, message: Message) -> None:
    body = json.dumps(message.data).encode()
    done = await process.run(channel.command, stdin=body, timeout=COMMAND_SECONDS, most=1 << 20)
    if done.code:
        raise MessageLost(
            f"the program of the channel {channel.name} ended with {done.code}: {clean_line(done.stderr, 200)}",
            _advice(channel),
        )


def _advice(channel: Channel) -> str:
    return f"correct [notify.{channel.name}] or what `pbs notify set {channel.name}` took, then `pbs notify test {channel.name}`"


BY_KIND: dict[str, Callable[[Channel, Message, str], None]] = {
    "mail": _by_mail,
    "webhook": _by_webhook,
    "ping": _by_ping,
    "apprise": _by_apprise,
}

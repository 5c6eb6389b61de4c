"""Messages about promises: each is told once, at the right time, to a real mail server, a real address and a program; a dead channel is told elsewhere."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiosmtpd.controller import Controller as MailServer
from aiosmtpd.smtp import AuthResult
from hypothesis import given
from hypothesis import strategies as st
from set_clock import SetClock

from pbs import keyring
from pbs.config import Channel, Config, load
from pbs.config.fields import EXAMPLE_HOST_KEY
from pbs.errors import MessageLost, ToolMissing
from pbs.home import Home
from pbs.ledger import Ledger, Told, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.messages.messenger import Messenger
from pbs.messages.plan import DIGEST, Plan, Which, digest_due, ping_due, plan
from pbs.messages.senders import send
from pbs.messages.wording import digest_of, message_of, trial
from pbs.promises import Health, Promise, State

NOW = datetime(2026, 5, 8, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECRET = "T0ken-that-nobody-may-read"
OPS = Channel("ops", "webhook")


def promise(
    name: str = "fresh", state: State = State.BROKEN, ago: timedelta = HOUR, source: str | None = "web"
) -> Promise:
    """A promise that has stood so for some time."""
    return Promise(name, source, state, NOW - ago, "it is late", "see what it says")


def health(*promises: Promise) -> Health:
    """How all stands."""
    return Health(NOW, promises)


def said(found: Plan) -> tuple[int, int, int]:
    """How many are new, still so, and mended."""
    return len(found.new), len(found.still), len(found.mended)


# what there is to say


def test_each_promise_is_told_once() -> None:
    """After its delay, then again only by its repetition, worse at once, and once more when it is kept again."""
    told: dict[Which, Told] = {}
    assert plan(OPS, health(promise(ago=timedelta(minutes=9))), told, NOW).silent
    first = plan(OPS, health(promise()), told, NOW)
    assert said(first) == (1, 0, 0)
    told |= first.now
    assert plan(OPS, health(promise()), told, NOW + HOUR).silent
    assert said(plan(OPS, health(promise()), told, NOW + DAY)) == (0, 1, 0)
    assert plan(replace(OPS, repeat=None), health(promise()), told, NOW + 9 * DAY).silent
    kept = health(promise(state=State.KEPT))
    assert said(plan(OPS, kept, told, NOW)) == (0, 0, 1)
    assert plan(OPS, kept, told, NOW).over == {("web", "fresh")}
    quiet = plan(replace(OPS, mended=False), kept, told, NOW)
    assert (said(quiet), quiet.over) == ((0, 0, 0), {("web", "fresh")})
    assert plan(OPS, kept, {}, NOW).silent


def test_a_channel_hears_what_it_asked_for() -> None:
    """Its level, its sources, the server only where it is for all; a source that is gone is forgotten without a word."""
    all_of = health(promise(), promise(state=State.WARNING, source="db"), promise("disk", source=None))
    assert said(plan(OPS, all_of, {}, NOW)) == (2, 0, 0)
    assert said(plan(replace(OPS, level="warning"), all_of, {}, NOW)) == (3, 0, 0)
    assert said(plan(replace(OPS, sources=("db",), level="warning"), all_of, {}, NOW)) == (1, 0, 0)
    gone = plan(OPS, health(), {("web", "fresh"): Told("broken", NOW)}, NOW)
    assert (said(gone), gone.over) == ((0, 0, 0), {("web", "fresh")})
    worse = {("web", "fresh"): Told("warning", NOW)}
    assert said(plan(replace(OPS, level="warning"), health(promise()), worse, NOW)) == (1, 0, 0)


def test_quiet_hours_are_quiet_and_lose_nothing() -> None:
    """What comes up at night is told in the morning, in the time zone of the channel, over midnight too."""
    bad = health(promise(ago=DAY))
    night = replace(OPS, quiet=(22 * 60, 6 * 60), timezone="Europe/Paris")
    assert plan(night, bad, {}, NOW.replace(hour=21)).silent
    assert plan(night, bad, {}, NOW.replace(hour=3, minute=59)).silent
    assert said(plan(night, bad, {}, NOW.replace(hour=4))) == (1, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(list(State)), st.integers(0, 600)), max_size=40))
def test_nothing_is_told_twice_and_nothing_is_left_untold(steps: list[tuple[State, int]]) -> None:
    """However a promise goes up and down: broken and kept again are told in turn, and at rest the last word is the right one."""
    told: dict[Which, Told] = {}
    words: list[str] = []
    state, since, now = State.KEPT, NOW, NOW
    channel = replace(OPS, repeat=None)
    for following, minutes in [*steps, (steps[-1][0] if steps else State.KEPT, 60)]:
        now += timedelta(minutes=minutes)
        if following is not state:
            state, since = following, now
        for moment in (now, now + timedelta(minutes=11)):
            found = plan(channel, Health(moment, (Promise("fresh", "web", state, since, "?"),)), told, moment)
            words += ["broken"] * len(found.new) + ["mended"] * len(found.mended)
            told = {which: each for which, each in {**told, **found.now}.items() if which not in found.over}
        now += timedelta(minutes=11)
    assert all(here != following for here, following in pairwise(words))
    assert (words[-1:] == ["broken"]) == (state is State.BROKEN)


def test_the_summary_comes_once_a_day() -> None:
    """At its time of day, once, also where the service was down then; the first one with the first such time."""
    channel = replace(OPS, digest=8 * 60)
    yesterday = {DIGEST: Told("", NOW - DAY)}
    assert not digest_due(channel, {}, NOW)
    assert digest_due(channel, yesterday, NOW)
    assert not digest_due(channel, {DIGEST: Told("", NOW - HOUR)}, NOW)
    assert not digest_due(channel, {DIGEST: Told("", NOW.replace(hour=8))}, NOW + timedelta(hours=19))
    assert not digest_due(replace(OPS, digest=None), yesterday, NOW)
    ended = Counter({("web", "ok"): 23, ("web", "failed"): 1})
    summary = digest_of(
        health(promise(), promise(source="db", state=State.KEPT)), ended, "vault", "https://b"
    )
    assert "2 sources. In the last day: 23 ok, 1 failed." in summary.text
    assert "No run of these ended in the last day: db." in summary.text
    assert summary.title == "vault: 1 promises are not kept; 23 ok, 1 failed"


def test_a_ping_comes_in_time_and_at_once_when_things_change() -> None:
    """A service that notices silence hears now and then that all is well, and at once when it is not."""
    ping = replace(OPS, kind="ping")
    told = {("", "(ping)"): Told("kept", NOW)}
    assert ping_due(ping, State.KEPT, {}, NOW)
    assert not ping_due(ping, State.WARNING, told, NOW + timedelta(minutes=4))
    assert ping_due(ping, State.KEPT, told, NOW + timedelta(minutes=5))
    assert ping_due(ping, State.BROKEN, told, NOW + timedelta(seconds=1))


@given(st.text(max_size=300), st.text(max_size=60))
def test_words_of_others_are_bounded_and_of_one_line(reason: str, name: str) -> None:
    """Whatever a promise repeats, the title is a short line, and each promise one line of the text."""
    odd = replace(promise(), reason=reason, name=name)
    made = message_of(plan(replace(OPS, delay=0.0), health(odd), {}, NOW), "vault", "https://b")
    assert len(made.title) <= 200
    assert not set(made.title) & {"\n", "\r", "\x1b", "\x00"}
    assert len([line for line in made.text.splitlines() if line.startswith("- ")]) == 1
    many = message_of(
        plan(OPS, health(*(promise(f"p{each}") for each in range(500))), {}, NOW), "vault", "https://b"
    )
    assert len(many.text) < 40_001
    assert "and 440 more" in many.text


# real servers


class Inbox(BaseHTTPRequestHandler):
    """Keeps what it is sent; answers as it is told to."""

    got: ClassVar[list[tuple[str, bytes]]]
    answer = 200

    def do_POST(self) -> None:
        """Take it."""
        type(self).got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(type(self).answer)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def inbox() -> Iterator[tuple[type[Inbox], str]]:
    """A web server on this machine, and its address."""

    class Own(Inbox):
        got: ClassVar[list[tuple[str, bytes]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Own, f"http://127.0.0.1:{server.server_port}/hook/{SECRET}"
    server.shutdown()
    thread.join()
    server.server_close()


class Letters:
    """A mail server's mailbox."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], bytes]] = []
        self.passwords: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a letter."""
        self.got.append((envelope.rcpt_tos, envelope.content))
        return "250 taken"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        """Let in whoever knows the password."""
        self.passwords.append(data.password)
        return AuthResult(success=data.password == SECRET.encode(), handled=False)


@pytest.fixture
def post() -> Iterator[tuple[Letters, int]]:
    """A mail server on this machine, and its port."""
    letters = Letters()
    server = MailServer(
        letters, hostname="127.0.0.1", port=0, auth_require_tls=False, authenticator=letters.authenticate
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server.port = probe.getsockname()[1]
    server.start()
    yield letters, server.port
    server.stop()


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with a source and two channels."""
    made = Home.at(Path(tempfile.mkdtemp(prefix="pbs-", dir="/tmp")))
    made.make()
    made.config.write_text(
        f'[server]\nlisten = "off"\n[source.web]\nhost = "h"\nuser = "u"\nhost_key = "{EXAMPLE_HOST_KEY}"\n'
        '[notify.hook]\nkind = "webhook"\ndelay = "0s"\n[notify.dead]\nkind = "command"\ncommand = ["/bin/false"]\ndelay = "0s"\n'
    )
    upgrade(made.ledger, made.locks / "lock")
    yield made
    shutil.rmtree(made.root)


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    """Its ledger."""
    opened = open_ledger(home.ledger)
    yield opened
    opened.close()


async def test_mail_reaches_a_mail_server(home: Home, post: tuple[Letters, int]) -> None:
    """A real mail server gets a letter with subject, text and receivers; a hostile title is one header."""
    letters, port = post
    channel = Channel("ops", "mail", to=("a@example.org", "b@example.org"), server=("127.0.0.1", port))
    message = message_of(
        plan(OPS, health(replace(promise(), source="web\nBcc: x@example.org")), {}, NOW), "vault", "https://b"
    )
    await send(home, channel, message)
    ((receivers, content),) = letters.got
    letter = message_from_bytes(content, policy=default)
    assert receivers == ["a@example.org", "b@example.org"]
    assert letter["Bcc"] is None
    assert "fresh is broken" in letter["Subject"]
    assert "What to do: see what it says." in letter.get_content()
    with pytest.raises(MessageLost, match="took no message"):
        await send(home, replace(channel, server=("127.0.0.1", 1)), message)


async def test_a_webhook_gets_json_and_no_error_tells_its_address(
    home: Home, inbox: tuple[type[Inbox], str]
) -> None:
    """A real receiver gets what happened; refusals, redirections and silence are errors that hold no part of the address."""
    server, address = inbox
    with pytest.raises(MessageLost, match="has no address yet"):
        await send(home, OPS, trial("vault", "https://b"))
    keyring.write(home.channel_secret("ops"), address.encode() + b"\n")
    assert home.channel_secret("ops").stat().st_mode & 0o777 == 0o600
    await send(home, OPS, trial("vault", "https://b"))
    ((path, body),) = server.got
    assert (path, json.loads(body)["title"]) == (f"/hook/{SECRET}", "vault: a test message")
    for answer in (500, 302):
        server.answer = answer
        with pytest.raises(MessageLost, match=str(answer)) as lost:
            await send(home, OPS, trial("vault", "https://b"))
        assert SECRET not in f"{lost.value.message} {lost.value.hint}"
    for odd in (
        f"http://127.0.0.1:1/{SECRET}",
        f"file:///{SECRET}",
        f"ht tp://{SECRET}",
        f"http://[{SECRET}",
    ):
        keyring.write(home.channel_secret("ops"), odd.encode())
        with pytest.raises(MessageLost) as lost:
            await send(home, OPS, trial("vault", "https://b"))
        assert SECRET not in f"{lost.value.message} {lost.value.hint}"


async def test_a_ping_says_by_its_address_how_things_are(home: Home, inbox: tuple[type[Inbox], str]) -> None:
    """As healthchecks.io wants it: the address itself where all is well, /fail below it where something is broken."""
    server, address = inbox
    keyring.write(home.channel_secret("ops"), address.encode())
    ping = replace(OPS, kind="ping")
    good = trial("vault", "https://b")
    await send(home, ping, good)
    await send(home, ping, replace(good, state=State.BROKEN))
    assert [path for path, _ in server.got] == [f"/hook/{SECRET}", f"/hook/{SECRET}/fail"]


async def test_a_program_gets_the_message_and_is_bounded(home: Home, tmp_path: Path) -> None:
    """It gets JSON on its standard input and nothing as an argument; one that fails is an error with its words."""
    out = tmp_path / "out"
    channel = Channel(
        "ops",
        "command",
        command=(sys.executable, "-c", f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"),
    )
    await send(home, channel, trial("vault", "https://b"))
    assert json.loads(out.read_text())["state"] == "kept"
    failing = replace(channel, command=("/bin/sh", "-c", "echo no room >&2; exit 3"))
    with pytest.raises(MessageLost, match="ended with 3: no room"):
        await send(home, failing, trial("vault", "https://b"))
    with pytest.raises(ToolMissing):
        await send(home, replace(channel, command=("/nowhere/at-all",)), trial("vault", "https://b"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_apprise_reaches_what_it_knows(home: Home, inbox: tuple[type[Inbox], str], capfd: Any) -> None:
    """A chat is reached through apprise; an address that it does not know is an error without the address."""
    server, address = inbox
    channel = replace(OPS, kind="apprise")
    keyring.write(home.channel_secret("ops"), address.replace("http://", "json://").encode())
    await send(home, channel, trial("vault", "https://b"))
    assert json.loads(server.got[0][1])["title"] == "vault: a test message"
    for odd in (f"nothing://{SECRET}", "json://127.0.0.1:1/x"):
        keyring.write(home.channel_secret("ops"), odd.encode())
        with pytest.raises(MessageLost) as lost:
            await send(home, channel, trial("vault", "https://b"))
        assert SECRET not in lost.value.message
    assert SECRET not in "".join(capfd.readouterr())


# the messenger


async def turned(messenger: Messenger, config: Config, now: Health) -> None:
    """One turn, and the end of what it began."""
    messenger.turn(config, now)
    works = [line.work for line in messenger._lines.values() if line.work is not None]
    await asyncio.gather(*works)


async def test_a_dead_channel_is_told_and_holds_up_no_other(
    home: Home, ledger: Ledger, inbox: tuple[type[Inbox], str]
) -> None:
    """One channel gets its message though another is dead; the dead one is tried again later and is told; a restart repeats nothing."""
    server, address = inbox
    keyring.write(home.channel_secret("hook"), address.encode())
    config, clock = load(home), SetClock(NOW)
    any_clock: Any = clock
    messenger = Messenger(home, ledger, any_clock)
    bad = health(promise())
    await turned(messenger, config, bad)
    assert len(server.got) == 1
    assert messenger.faults["hook"] is None
    assert "the program of the channel dead ended with 1" in str(messenger.faults["dead"])
    await turned(messenger, config, health(promise()))
    assert ledger.telling.all() == {"hook": {("web", "fresh"): Told("broken", NOW)}}

    again = Messenger(home, ledger, any_clock)
    clock.moment = NOW + HOUR
    await turned(again, config, health(promise()))
    assert len(server.got) == 1
    server.answer = 500
    mended = health(promise(state=State.KEPT))
    await turned(again, config, mended)
    assert (len(server.got), again.faults["hook"]) == (2, "the channel hook answered 500")
    server.answer = 200
    clock.moment += timedelta(seconds=30)
    await turned(again, config, health(promise(state=State.KEPT)))
    assert len(server.got) == 2, "it rests after a failure"
    clock.moment += timedelta(minutes=1)
    await turned(again, config, health(promise(state=State.KEPT)))
    assert (len(server.got), again.faults["hook"]) == (3, None)
    assert json.loads(server.got[2][1])["mended"][0]["name"] == "fresh"
    assert ledger.telling.all() == {}
    assert SECRET not in "".join(str(each) for each in again.faults.values())
    await again.end()


async def test_a_fault_of_our_own_is_a_fault_of_the_channel(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was said, so the channel says so, rests, and is tried again; it is not taken for one that works."""

    async def broken(*_: object) -> None:
        raise RuntimeError("nobody thought of it")

    clock = SetClock(NOW)
    any_clock: Any = clock
    config, messenger = load(home), Messenger(home, ledger, any_clock)
    with monkeypatch.context() as patched:
        patched.setattr("pbs.messages.messenger.send", broken)
        await turned(messenger, config, health(promise()))
    assert "a fault of pbs itself" in str(messenger.faults["dead"])
    clock.moment += timedelta(minutes=2)
    await turned(messenger, config, health(promise()))
    assert "ended with 1" in str(messenger.faults["dead"])
    await messenger.end()


async def test_a_sealed_folder_is_told_and_what_waited_is_sent_once_it_is_open(
    home: Home, ledger: Ledger, inbox: tuple[type[Inbox], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has opened the keys folder the channel says just that; opened, it sends what it had to say."""
    monkeypatch.setattr(keyring, "N", 1 << 10)
    monkeypatch.delenv("PBS_KEYS_FILE", raising=False)
    server, address = inbox
    keyring.write(home.channel_secret("hook"), address.encode())
    keyring.lock(home.keys, "five words of a passphrase", "ABCD-EFGH")
    assert SECRET.encode() not in home.channel_secret("hook").read_bytes()
    keyring._open.pop(home.keys)
    config, clock = load(home), SetClock(NOW)
    any_clock: Any = clock
    messenger = Messenger(home, ledger, any_clock)
    await turned(messenger, config, health(promise()))
    assert server.got == []
    fault = str(messenger.faults["hook"])
    assert fault.endswith("is sealed, and nobody has opened it")
    keyring.unlock(home.keys, "five words of a passphrase")
    clock.moment += HOUR
    await turned(messenger, config, health(promise()))
    assert (len(server.got), messenger.faults["hook"]) == (1, None)
    keyring._open.pop(home.keys)


async def test_a_secret_that_cannot_be_read_is_a_fault(
    home: Home, ledger: Ledger, inbox: tuple[type[Inbox], str]
) -> None:
    """Whatever lies where the address should be, the channel says that it cannot speak, and is tried again later."""
    home.channel_secret("hook").mkdir()
    any_clock: Any = SetClock(NOW)
    messenger = Messenger(home, ledger, any_clock)
    await turned(messenger, load(home), health(promise()))
    assert "took no message: IsADirectoryError" in str(messenger.faults["hook"])

"""`pbs notify`: where messages about promises go, what is secret of a channel, and a test message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from pbs.cli.keys import KeyFile, secret_given
from pbs.cli.show import Json, document, note, table
from pbs.errors import NotFound
from pbs.home import Home

if TYPE_CHECKING:
    from pbs.config import Channel as ChannelValue

group = typer.Typer(help="Messages about promises that are broken, and kept again.", no_args_is_help=True)
Channel = typer.Argument(metavar="NAME", help="A channel: NAME of [notify.NAME].", show_default=False)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(group, name="notify")


@group.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the channels: what they are for, and whether what is secret of them is there."""
    from pbs.config import load
    from pbs.views import channel_view

    home: Home = context.obj
    found = list(load(home).channels.values())
    there = {each.name: home.channel_secret(each.name).exists() for each in found}
    if as_json:
        document({"channels": [channel_view(each, there[each.name]) for each in found]})
    elif found:
        lines = [
            (
                each.name,
                each.kind,
                each.level,
                ", ".join(each.sources) or "all",
                "there" if there[each.name] else "–",
            )
            for each in found
        ]
        table(("CHANNEL", "KIND", "FROM", "SOURCES", "SECRET"), lines)
    else:
        note("no channel yet: add [notify.NAME] to pbs.toml")


@group.command("set")
def set_(context: typer.Context, name: str = Channel, key_file: KeyFile = None) -> None:
    """Take what is secret of a channel: the address of a webhook, ping or chat, or the password of a mail account."""
    from pbs import keyring

    home: Home = context.obj
    channel = _channel(home, name)
    what = "Password of the account" if channel.kind == "mail" else "Address"
    secret = secret_given(f"{what} of the channel {name}", key_file)
    keyring.write(home.channel_secret(name), secret.encode() + b"\n")
    note(f"kept in {home.channel_secret(name)}; `pbs notify test {name}` sends a test message")


@group.command("test")
def try_(context: typer.Context, name: str = Channel) -> None:
    """Send a test message now, from here: the service need not run."""
    import socket

    from pbs.config import load
    from pbs.messages import send, trial

    home: Home = context.obj
    channel = _channel(home, name)
    asyncio.run(send(home, channel, trial(socket.gethostname(), load(home).server.base_url)))
    note(f"the channel {name} took a test message")


def _channel(home: Home, name: str) -> ChannelValue:
    """A configured channel.

    Raises:
        NotFound: there is none of this name.
    """
    from pbs.config import load

    known = load(home).channels
    if name not in known:
        raise NotFound(
            f"there is no channel {name[:80]!r}", "`pbs notify list` names them; they stand in pbs.toml"
        )
    return known[name]

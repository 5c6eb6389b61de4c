"""Channels of messages over HTTP: which there are, and a test message. What is secret of them is never told."""

from __future__ import annotations

import socket
from typing import Annotated

from aiohttp import web
from pydantic import Field

from pbs.errors import NotFound
from pbs.messages import send, trial
from pbs.views import channel_view
from pbs.web import shapes
from pbs.web.declare import Asked, Nothing, operation
from pbs.web.face import FACE, Face


class OneChannel(Asked):
    """A channel."""

    name: Annotated[str, Field(description="NAME of [notify.NAME] in pbs.toml.")]


@operation("GET", "/api/v1/channels", shapes.Channels)
async def channels(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """Where messages about promises go."""
    face = request.app[FACE]
    views = [
        channel_view(each, face.home.channel_secret(each.name).exists()) for each in face.channels.values()
    ]
    return web.json_response({"channels": views})


@operation("POST", "/api/v1/channels/{name}/test", None, status=204)
async def try_channel(request: web.Request, asked: OneChannel) -> web.StreamResponse:
    """Send a test message, and wait until it was taken."""
    await tried(request.app[FACE], asked.name)
    return web.Response(status=204)


async def tried(face: Face, name: str) -> None:
    """Send a test message through this channel.

    Raises:
        NotFound: there is no such channel.
        MessageLost: it was not taken.
    """
    if name not in face.channels:
        raise NotFound(
            f"there is no channel {name[:80]!r}", "`pbs notify list` names them; they stand in pbs.toml"
        )
    await send(face.home, face.channels[name], trial(socket.gethostname(), face.base_url))


OPERATIONS = (channels, try_channel)

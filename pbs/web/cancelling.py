"""Asking a run to stop, and who asked. It waits for nothing: the worker that holds the run ends it."""

from __future__ import annotations

import pwd
import socket
import struct
from typing import Annotated

from aiohttp import web
from pydantic import Field

from pbs.text import clean_line
from pbs.views import run_view
from pbs.web import shapes
from pbs.web.declare import Asked, operation
from pbs.web.face import FACE
from pbs.web.guard import SOCKET, who_asks

CREDENTIALS = struct.Struct("3i")


class OneRun(Asked):
    """A run."""

    run: Annotated[str, Field(description="The id of a run.")]


@operation("POST", "/api/v1/runs/{run}/cancel", shapes.Run, status=202)
async def cancel(request: web.Request, asked: OneRun) -> web.StreamResponse:
    """Ask a run to stop. Answers with the run as it is now: one that waited has ended, one that runs ends within seconds."""
    found = request.app[FACE].cancel(asked.run, who(request))
    return web.json_response(run_view(found), status=202)


def who(request: web.Request) -> str:
    """Who asks: the login or token, where one was needed; on the unix socket, the account that the kernel names."""
    asks = who_asks(request)
    peer: socket.socket | None = (
        request.transport.get_extra_info("socket") if request.transport is not None else None
    )
    if asks.via != SOCKET.via or peer is None or peer.family != socket.AF_UNIX:
        return clean_line(asks.name, 100)
    _, uid, _ = CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    try:
        return clean_line(pwd.getpwuid(uid).pw_name, 100)
    except KeyError:
        return f"the user {uid}"


OPERATIONS = (cancel,)

"""A source says that it has something new: with its own token it may ask for its own pull, and for nothing else.

What it sends besides is not read. However often it asks, one run waits.
"""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from pbs.errors import ConfigError
from pbs.model import Cause, Kind
from pbs.web.declare import Asked, Operation, Role, operation
from pbs.web.face import FACE, Face
from pbs.web.feeds import holds
from pbs.web.guard import WHO, Who


class ByHeader(Asked):
    """A source, whose token is sent as `Authorization: Bearer TOKEN`."""

    name: Annotated[str, Field(description="The name of the source.")]


class ByPath(Asked):
    """A source, and its token for whoever can send no header."""

    name: Annotated[str, Field(description="The name of the source.")]
    token: Annotated[str, Field(description="The token of the source.")]


class Noticed(BaseModel):
    """The run that was queued, or waited already."""

    run: str


@operation("POST", "/notify/{name}", Noticed, status=202, role=Role.NOBODY, written=False, form=True)
async def notify(request: web.Request, asked: ByHeader) -> web.StreamResponse:
    """Ask for a pull of a source, with the token of that source. A body is not read."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return _take(request, asked.name, token.strip() if scheme.lower() == "bearer" else "")


@operation("POST", "/notify/{name}/{token}", Noticed, status=202, role=Role.NOBODY, written=False, form=True)
async def notify_by_path(request: web.Request, asked: ByPath) -> web.StreamResponse:
    """Ask for a pull of a source whose token stands in the path. A body is not read."""
    return _take(request, asked.name, asked.token)


def _take(request: web.Request, name: str, token: str) -> web.StreamResponse:
    face = request.app[FACE]
    if not _right(face, name, token):
        # The same for a source that is not there: nobody learns names here.
        raise web.HTTPUnauthorized(reason="this needs the name of a source and its token")
    request[WHO] = Who(name, Role.NOBODY, "notice")
    if face.sources[name].schedule == "manual":
        raise ConfigError(
            f"{name} is pulled only by hand: notices do not count",
            'give it another schedule, such as schedule = "on-notification", then `pbs reload`',
        )
    return web.json_response({"run": face.request(name, Kind.PULL, Cause.NOTICE).id}, status=202)


def _right(face: Face, name: str, token: str) -> bool:
    return holds(face.home.notify_token(name) if name in face.sources else None, token)


OPERATIONS: tuple[Operation, ...] = (notify, notify_by_path)

"""Holding a source, and lifting what a tripwire or a person stopped, over HTTP. It removes nothing."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from pbs.ledger.custody import Note
from pbs.text import clean_line
from pbs.views import hold_view
from pbs.web import shapes
from pbs.web.cancelling import who
from pbs.web.declare import Asked, Role, operation
from pbs.web.face import FACE, known


class OneSource(Asked):
    """A source."""

    name: Annotated[str, Field(description="The name of a source.")]


class WhyHold(OneSource):
    """Why a source is held."""

    why: Annotated[str, Field(description="Why, for whoever comes later.", min_length=1, max_length=500)]


@operation("POST", "/api/v1/sources/{name}/hold", shapes.Hold, role=Role.OPERATOR)
async def hold(request: web.Request, asked: WhyHold) -> web.StreamResponse:
    """Let no snapshot of it be removed until somebody resumes it. It is backed up as before."""
    return web.json_response(hold_view(asked.name, await held(request, asked.name, asked.why)))


@operation("POST", "/api/v1/sources/{name}/resume", shapes.Hold, role=Role.OPERATOR)
async def resume(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """Lift what a tripwire or a person stopped: somebody has looked, and what is there now is right."""
    return web.json_response(hold_view(asked.name, await resumed(request, asked.name)))


async def held(request: web.Request, name: str, why: str) -> Note | None:
    """Hold a source, for whoever asks this; how it stands then."""
    face = request.app[FACE]
    said = clean_line(why, 500) or "no reason was given"
    face.ledger.custody.hold(known(face, name), said, face.time.now(), by=who(request))
    await face.health(anew=True)
    return face.ledger.custody.held(name)


async def resumed(request: web.Request, name: str) -> Note | None:
    """Lift what stopped a source, for whoever asks this; how it stands then."""
    face = request.app[FACE]
    face.ledger.custody.resume(known(face, name), face.time.now(), who(request))
    await face.health(anew=True)
    return face.ledger.custody.held(name)


OPERATIONS = (hold, resume)

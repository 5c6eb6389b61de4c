"""The JSON answers about what admission set aside. It moves nothing back, and removes only what it is told to."""

from __future__ import annotations

import asyncio
from typing import Annotated

from aiohttp import web
from pydantic import Field

from pbs.admission import discard as remove
from pbs.model import Quarantined
from pbs.views import quarantined_view
from pbs.web import shapes
from pbs.web.declare import DIGITS, Asked, Role, operation
from pbs.web.face import FACE, Face


class SetAside(Asked):
    """Which of what was set aside."""

    source: Annotated[str | None, Field(description="Only of this source.")] = None


class OneThing(Asked):
    """One thing that was set aside."""

    number: Annotated[int, Field(description="The number of the record.", ge=1, lt=2**63), DIGITS]


@operation("GET", "/api/v1/quarantine", shapes.Quarantine)
async def quarantine(request: web.Request, asked: SetAside) -> web.StreamResponse:
    """What arrived, was not admitted, and still lies aside; oldest first."""
    ledger = request.app[FACE].ledger
    if asked.source is not None:
        ledger.require_source(asked.source)
    found = ledger.quarantine.list(asked.source)
    return web.json_response({"quarantine": [quarantined_view(each) for each in found]})


@operation("GET", "/api/v1/quarantine/{number}", shapes.Quarantined)
async def quarantined(request: web.Request, asked: OneThing) -> web.StreamResponse:
    """One thing that was set aside."""
    return web.json_response(quarantined_view(request.app[FACE].ledger.quarantine.one(asked.number)))


@operation("POST", "/api/v1/quarantine/{number}/discard", shapes.Quarantined, role=Role.OPERATOR)
async def discard(request: web.Request, asked: OneThing) -> web.StreamResponse:
    """Remove it, for good; the record stays."""
    return web.json_response(quarantined_view(await removed(request.app[FACE], asked.number)))


async def removed(face: Face, number: int) -> Quarantined:
    """Remove what this record is about; the record as it is then.

    Raises:
        NotFound: there is no such record.
    """
    found = face.ledger.quarantine.one(number)
    await asyncio.to_thread(remove, face.ledger, face.home.quarantine(found.source), [found])
    await face.health(anew=True)
    return face.ledger.quarantine.one(number)


OPERATIONS = (quarantine, quarantined, discard)

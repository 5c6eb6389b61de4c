"""Who did what, and what was refused: written into the ledger, told to operators. It holds no secret and no content."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import BaseModel, Field

from pbs.clock import Clock, stamp
from pbs.errors import PbsError
from pbs.ledger.access import Access
from pbs.text import clean_line
from pbs.web.declare import ASKED, DIGITS, Asked, Handler, Role, operation
from pbs.web.face import FACE
from pbs.web.guard import HARMLESS, operation_of, who_asks

MOST_ENTRIES = 1000
REFUSALS_A_MINUTE = 30
WINDOW_SECONDS = 60.0
# What stands for a status where whoever asked did not wait for it.
LEFT = 499
SECRETS = frozenset({"token", "csrf", "password", "secret"})
log = logging.getLogger("pbs.web")


class Refusals:
    """How many refusals are written down: whoever tries ten thousand times must not fill the ledger."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._count = 0

    def one_more(self) -> bool:
        """Whether this one is still written down."""
        now = self._clock.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= REFUSALS_A_MINUTE


def written(access: Access, clock: Clock) -> Middleware:
    """The middleware that writes down what changes something or gives data away, and what was refused of it."""
    refusals = Refusals(clock)

    def note(request: web.Request, status: int) -> None:
        answers = operation_of(request)
        wrong = status in (401, 403, 429)
        tried = request.method not in HARMLESS or "Authorization" in request.headers
        done = answers is not None and answers.written and not wrong
        if done or (wrong and tried and refusals.one_more()):
            try:
                access.write_down(clock.now(), entry_of(request, status))
            except PbsError as error:
                log.warning("the audit: %s", error.message)

    @web.middleware
    async def write(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except PbsError as error:
            note(request, error.http_status)
            raise
        except web.HTTPException as error:
            note(request, error.status)
            raise
        except asyncio.CancelledError:
            # Whoever went away in the middle may have got what was asked for all the same.
            note(request, LEFT)
            raise
        note(request, response.status)
        return response

    return write


def entry_of(request: web.Request, status: int) -> dict[str, Any]:
    """One entry. The path is that of the operation: what was sent instead of one may hold anything."""
    who, answers = who_asks(request), operation_of(request)
    asked = request.get(ASKED)
    told = {
        key: _short(value)
        for key, value in (asked.model_dump() if asked else {}).items()
        if key not in SECRETS
    }
    return {
        "who": who.name,
        "role": who.role.name.lower(),
        "via": who.via,
        "address": request.remote or None,
        "did": f"{request.method} {answers.path}" if answers is not None else request.method[:20],
        "asked": told,
        "status": status,
    }


def _short(value: object) -> object:
    return (
        clean_line(value, 200) if isinstance(value, str) else value if isinstance(value, int | None) else ""
    )


class Deed(BaseModel):
    """Something that was done, or tried: who did it, what was asked, and the status that answered."""

    number: int
    time: str
    who: str
    role: str
    via: str
    address: str | None
    did: str
    asked: dict[str, str | int | bool | None]
    status: int


class Deeds(BaseModel):
    """What was done and tried, newest first."""

    entries: list[Deed]


class Which(Asked):
    """Which entries."""

    limit: Annotated[int, Field(description="How many at most.", ge=1, le=MOST_ENTRIES), DIGITS] = 100
    before: Annotated[
        int | None, Field(description="Only entries with a smaller number.", ge=1, lt=2**63), DIGITS
    ] = None


@operation("GET", "/api/v1/audit", Deeds, role=Role.OPERATOR)
async def audit(request: web.Request, asked: Which) -> web.StreamResponse:
    """Who did what, and what was refused."""
    found = request.app[FACE].ledger.access.written(asked.limit, asked.before)
    entries = [{"number": number, "time": stamp(time), **detail} for number, time, detail in found]
    return web.json_response({"entries": entries})


OPERATIONS = (audit,)

"""The plan of retention over HTTP: as it is now, and as it would be on another day or under another rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from aiohttp import web
from pydantic import BeforeValidator, Field

from pbs.config.keep import parse_keep
from pbs.errors import UsageError
from pbs.retention import Plan, plan_now, simulate
from pbs.text import parse_duration
from pbs.views import plan_view
from pbs.web import shapes
from pbs.web.declare import Asked, operation
from pbs.web.face import FACE, Face, known

AMOUNT = "[1-9][0-9]{0,3}"
# What the words of `keep` and `every` look like: a client learns from the document what is refused.
RULE = f"^({AMOUNT}B|({AMOUNT}y)?({AMOUNT}m)?({AMOUNT}[Ww])?({AMOUNT}d)?({AMOUNT}h)?)$"
PACE = f"^({AMOUNT}w)?({AMOUNT}d)?({AMOUNT}h)?({AMOUNT}m)?({AMOUNT}s)?$"


def _day(value: object) -> object:
    """A day as RFC 3339 writes it; pydantic would take a number of seconds as well."""
    if isinstance(value, str):
        if len(value) != len("2027-01-31"):
            raise ValueError("write the day such as 2027-01-31")
        return date.fromisoformat(value)
    return value


class SomePlan(Asked):
    """Which plan."""

    name: Annotated[str, Field(description="The name of a source.")]
    at: Annotated[
        date | None,
        BeforeValidator(_day),
        Field(description="The plan of the start of this day, such as 2027-01-31, as a game."),
    ] = None
    keep: Annotated[
        str | None,
        Field(description="Under this rule, such as 2W or 3B.", min_length=2, max_length=40, pattern=RULE),
    ] = None
    every: Annotated[
        str | None,
        Field(
            description="How often a snapshot comes until then, such as 6h.",
            min_length=2,
            max_length=40,
            pattern=PACE,
        ),
    ] = None


@operation("GET", "/api/v1/sources/{name}/retention", shapes.Plan)
async def plan(request: web.Request, asked: SomePlan) -> web.StreamResponse:
    """What retention would do now; with `at`, `keep` or `every`, what it would do then."""
    face = request.app[FACE]
    known(face, asked.name)
    played = asked.at or asked.keep or asked.every
    return web.json_response(plan_view(simulated(face, asked) if played else current(face, asked.name)))


def current(face: Face, name: str) -> Plan:
    """The plan of now."""
    return plan_now(face.ledger, face.sources[name], face.time.now())


def simulated(face: Face, asked: SomePlan) -> Plan:
    """The plan of another day, rule or pace.

    Raises:
        UsageError: there is no such day, rule or pace.
    """
    now = face.time.now()
    try:
        at = datetime.combine(asked.at, time(), UTC) if asked.at else now
        rules = parse_keep(asked.keep) if asked.keep else None
        pace = timedelta(seconds=parse_duration(asked.every)) if asked.every else None
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"this cannot be played: {error}", "for example ?at=2027-01-31&keep=2W&every=1h"
        ) from error
    keeping = face.sources[asked.name].keeping
    keeping = keeping if rules is None else replace(keeping, keep=rules)
    return simulate(asked.name, face.ledger.receipts(asked.name), keeping, now, at, pace)

"""Pages for whoever runs the server: what is promised and not kept, what was set aside, who did what, whose tokens count.

They show what the API tells, and change nothing but the reader's time zone and, for operators, what lies in quarantine.
"""

from __future__ import annotations

import zoneinfo
from functools import cache
from typing import Annotated
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from pbs.clock import stamp
from pbs.errors import UsageError
from pbs.promises import State, worst_first
from pbs.views import promise_view, quarantined_view
from pbs.web import quarantine as set_aside
from pbs.web.channels import tried
from pbs.web.declare import DIGITS, OfAPage, Role, operation
from pbs.web.face import FACE
from pbs.web.frame import PAGE, ZONE_COOKIE, OfAForm, go_to, may_act, page, zone_named
from pbs.web.login import DESK

A_PAGE = 100
# More of what is in order nobody reads.
MOST_KEPT = 200
A_YEAR = 365 * 86400


class OneSource(OfAPage):
    """Of one source, or of all."""

    source: str = ""


class OneThing(OfAForm):
    """One thing that was set aside."""

    number: Annotated[int, Field(ge=1, lt=2**63), DIGITS]


class Before(OfAPage):
    """Entries that are older than the one of this number."""

    before: str = ""


class OneChannel(OfAForm):
    """A channel for messages."""

    name: str


class Told(OfAPage):
    """Which channel took a test message just now."""

    tested: str = ""


class Zone(OfAForm):
    """Whose clocks to tell time by."""

    timezone: Annotated[str, Field(max_length=64)]


@operation("GET", "/promises", PAGE)
async def promises(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """What is promised: the worst first, what is kept only as a number."""
    health = await request.app[FACE].health(fresh=False)
    found = health.of(asked.source) if asked.source else health.promises
    wrong = [promise_view(each) for each in worst_first(found) if each.state is not State.KEPT]
    good = [promise_view(each) for each in found if each.state is State.KEPT]
    return page(
        request,
        "promises.html.j2",
        asked=asked,
        looked=health.looked,
        promises=wrong[:A_PAGE],
        more=len(wrong[A_PAGE:]),
        kept=len(good),
        good=good if len(good) <= MOST_KEPT else (),
    )


@operation("GET", "/quarantine", PAGE)
async def quarantine(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """What arrived, was not admitted, and still lies aside; newest first."""
    ledger = request.app[FACE].ledger
    if asked.source:
        ledger.require_source(asked.source)
    found = ledger.quarantine.list(asked.source or None)
    return page(
        request,
        "quarantine.html.j2",
        asked=asked,
        found=[quarantined_view(each) for each in reversed(found[-A_PAGE:])],
        count=len(found),
        bytes=sum(each.bytes for each in found),
    )


@operation("POST", "/quarantine/{number}/discard", PAGE, status=303, form=True)
async def discard(request: web.Request, asked: OneThing) -> web.StreamResponse:
    """Remove one thing that was set aside, for good."""
    await set_aside.removed(request.app[FACE], asked.number)
    return go_to("/quarantine")


@operation("GET", "/audit", PAGE, role=Role.OPERATOR)
async def audit(request: web.Request, asked: Before) -> web.StreamResponse:
    """Who did what, and what was refused."""
    before = int(asked.before) if asked.before.isascii() and asked.before.isdigit() else None
    found = request.app[FACE].ledger.access.written(A_PAGE + 1, before)
    entries = [{"number": number, "time": stamp(time), **detail} for number, time, detail in found[:A_PAGE]]
    older = f"/audit?before={entries[-1]['number']}" if len(found) > A_PAGE else None
    return page(request, "audit.html.j2", entries=entries, older=older)


@operation("GET", "/settings", PAGE)
async def settings(request: web.Request, asked: Told) -> web.StreamResponse:
    """The reader's time zone, the feeds; for operators also channels and tokens."""
    face = request.app[FACE]
    return page(
        request,
        "settings.html.j2",
        zones=zones(),
        channels=list(face.channels.values()) if may_act(request) else None,
        tested=asked.tested if asked.tested in face.channels else None,
        tokens=face.ledger.access.tokens() if may_act(request) else None,
        sources=sorted(face.sources),
    )


@operation("POST", "/settings/channels/{name}/test", PAGE, status=303, form=True)
async def test_channel(request: web.Request, asked: OneChannel) -> web.StreamResponse:
    """Send a test message to a channel."""
    await tried(request.app[FACE], asked.name)
    return go_to(f"/settings?tested={quote(asked.name)}")


@cache
def zones() -> list[str]:
    """Every time zone by name."""
    return sorted(zoneinfo.available_timezones() - {"UTC", "localtime", "posixrules"})


@operation("POST", "/settings/timezone", PAGE, status=303, role=Role.VIEWER, written=False, form=True)
async def timezone(request: web.Request, asked: Zone) -> web.StreamResponse:
    """Tell time by these clocks in this browser from now on."""
    if zone_named(asked.timezone) is None:
        raise UsageError("there is no such time zone", "choose one of the list, such as Europe/Paris")
    desk, response = request.app[DESK], go_to("/settings")
    response.set_cookie(
        ZONE_COOKIE, asked.timezone, max_age=A_YEAR, path="/", httponly=True, samesite="Lax",
        secure=desk is not None and desk.secure,
    )  # fmt: skip
    return response


OPERATIONS = (promises, quarantine, discard, audit, settings, test_channel, timezone)

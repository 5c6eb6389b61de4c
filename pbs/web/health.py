"""How promises stand, over HTTP: for people and programs, and for whoever only wants to know whether all is well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from pbs.errors import NotFound
from pbs.metrics import CONTENT_TYPE
from pbs.promises import Health, Promise, State
from pbs.views import promises_view
from pbs.web import shapes
from pbs.web.declare import Asked, Media, OfAPage, operation
from pbs.web.face import FACE


class SomePromises(Asked):
    """Whose promises."""

    source: Annotated[str | None, Field(description="Only those of this source.")] = None


class AllOrNot(SomePromises):
    """Whose promises, and whether those that are kept are named too."""

    kept: Annotated[Literal["yes", "no"], Field(description="Whether those that are kept are listed.")] = (
        "yes"
    )


@operation("GET", "/api/v1/promises", shapes.Promises)
async def promises(request: web.Request, asked: AllOrNot) -> web.StreamResponse:
    """Every promise, kept or not, the worst first."""
    health = await request.app[FACE].health()
    return web.json_response(
        promises_view(health, _asked(health, asked.source), everything=asked.kept == "yes")
    )


@operation("GET", "/health", shapes.Promises, empty={503: "The same, where a promise is broken."})
async def health(request: web.Request, asked: SomePromises) -> web.StreamResponse:
    """What is not kept; the status tells whether anything is broken: 200, a warning counts as well; 503."""
    found = await request.app[FACE].health()
    view = promises_view(found, _asked(found, asked.source), everything=False)
    return web.json_response(view, status=503 if view["state"] == State.BROKEN else 200)


@operation(
    "GET", "/metrics", Media("application/openmetrics-text", "Figures for Prometheus, as OpenMetrics.")
)
async def metrics(request: web.Request, asked: OfAPage) -> web.StreamResponse:  # noqa: ARG001
    """Figures for Prometheus."""
    return web.Response(body=await request.app[FACE].metrics(), headers={"Content-Type": CONTENT_TYPE})


def _asked(health: Health, source: str | None) -> Sequence[Promise]:
    """The promises that somebody asks for.

    Raises:
        NotFound: there is no such source.
    """
    if source is None:
        return health.promises
    found = health.of(source)
    if not found:
        raise NotFound(f"there is no source {source[:80]!r}", "`pbs source list` names them")
    return found


OPERATIONS = (promises, health, metrics)

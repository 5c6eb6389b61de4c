"""The JSON answers. Each reads the ledger, or asks the controller for one thing; none holds state."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from pbs import __version__
from pbs.errors import NotFound
from pbs.model import Cause, Kind, Outcome
from pbs.views import receipt_view, run_view, source_view
from pbs.web import audit, cancelling, events, shapes
from pbs.web.declare import Asked, Count, Media, Nothing, document, operation
from pbs.web.face import FACE, Face
from pbs.web.guard import who_asks

MOST_RUNS = 1000


class OneSource(Asked):
    """A source."""

    name: Annotated[str, Field(description="The name of a source.")]


class OneRun(Asked):
    """A run."""

    run: Annotated[str, Field(description="The id of a run.")]


class SomeRuns(Asked):
    """Which runs."""

    source: Annotated[str | None, Field(description="Only runs of this source.")] = None
    limit: Annotated[Count, Field(description="How many at most.", ge=1, le=MOST_RUNS)] = 100


class Wish(Asked):
    """A run that is wanted."""

    source: Annotated[str, Field(description="The name of a source.")]
    kind: Annotated[Literal["pull", "migrate"], Field(description="What to do.")] = "pull"


class OneFeed(Asked):
    """A feed."""

    file: Annotated[str, Field(description="NAME.xml for a source, or all.xml.")]


@operation("GET", "/api/v1/openapi.json", shapes.Document)
async def openapi(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """This document."""
    return web.json_response(document(OPERATIONS, __version__, shapes.Error))


@operation("GET", "/api/v1/version", shapes.Version)
async def version(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """Which program answers, and whom it takes you for."""
    who = who_asks(request)
    return web.json_response({"version": __version__, "name": who.name, "role": who.role.name.lower()})


@operation("GET", "/api/v1/sources", shapes.Sources)
async def sources(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """Every configured source and where it stands."""
    face = request.app[FACE]
    return web.json_response({"sources": [_source(face, name) for name in sorted(face.sources)]})


@operation("GET", "/api/v1/sources/{name}", shapes.Source)
async def source(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """One source and where it stands."""
    face = request.app[FACE]
    return web.json_response(_source(face, known(face, asked.name)))


def _source(face: Face, name: str) -> dict[str, Any]:
    return source_view(
        face.sources[name],
        last=face.ledger.newest_run(name),
        last_ok=face.ledger.newest_run(name, Outcome.OK),
        snapshots=len(face.ledger.usable(name)),
        repository_bytes=face.repository_bytes(name),
        coming=face.next(name),
    )


@operation("GET", "/api/v1/sources/{name}/snapshots", shapes.Snapshots)
async def snapshots(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """The receipts of a source."""
    face = request.app[FACE]
    found = face.ledger.receipts(known(face, asked.name))
    return web.json_response({"snapshots": [receipt_view(each) for each in found]})


@operation("GET", "/api/v1/runs", shapes.Runs)
async def runs(request: web.Request, asked: SomeRuns) -> web.StreamResponse:
    """The newest runs, newest first."""
    face = request.app[FACE]
    name = known(face, asked.source) if asked.source is not None else None
    found = face.ledger.runs(name, limit=asked.limit)
    return web.json_response({"runs": [run_view(each) for each in found]})


@operation("GET", "/api/v1/runs/{run}", shapes.Run)
async def run(request: web.Request, asked: OneRun) -> web.StreamResponse:
    """One run."""
    return web.json_response(run_view(request.app[FACE].ledger.run(asked.run)))


@operation("POST", "/api/v1/runs", shapes.Run, status=202)
async def ask(request: web.Request, asked: Wish) -> web.StreamResponse:
    """Ask for a run. Answers with the run that it became or joined."""
    face = request.app[FACE]
    made = face.request(known(face, asked.source), Kind(asked.kind), Cause.ASKED)
    return web.json_response(run_view(made), status=202)


@operation("POST", "/api/v1/reload", shapes.Remarks)
async def reload(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """Take up a changed configuration."""
    return web.json_response({"remarks": await request.app[FACE].reload()})


@operation("GET", "/feeds/{file}", Media("application/rss+xml", "An RSS document."))
async def feed(request: web.Request, asked: OneFeed) -> web.StreamResponse:
    """The feed of one source, or of all."""
    face = request.app[FACE]
    name, dot, kind = asked.file.rpartition(".")
    if not dot or kind != "xml":
        raise NotFound("there is no such feed", "/feeds/NAME.xml and /feeds/all.xml are there")
    if name != "all":
        known(face, name)
    return web.Response(body=face.feed(name), content_type="application/rss+xml", charset="utf-8")


def known(face: Face, name: str) -> str:
    """The name of a configured source.

    Raises:
        NotFound: there is none of this name.
    """
    if name not in face.sources:
        raise NotFound(f"there is no source {name[:80]!r}", "`pbs source list` names them")
    return name


# Every operation that is no page for people: add a new one here, and it is routed, checked and documented.
OPERATIONS = (
    openapi, version, sources, source, snapshots, runs, run, ask, *cancelling.OPERATIONS, *events.OPERATIONS, reload,
    feed, *audit.OPERATIONS,
)  # fmt: skip

"""The JSON answers. Each reads the ledger, or asks the controller for one thing; none holds state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from pbs import __version__, standing
from pbs.journal import part_of_log
from pbs.model import Cause, Kind, Outcome, RunState
from pbs.views import receipt_view, run_view
from pbs.web import (
    audit,
    cancelling,
    channels,
    content,
    events,
    feeds,
    health,
    holding,
    keeping,
    mounts,
    notify,
    quarantine,
    restoring,
    search,
    shapes,
)
from pbs.web.declare import DIGITS, Asked, Nothing, document, operation
from pbs.web.face import FACE, Face, known
from pbs.web.guard import who_asks

MOST_RUNS = 1000
MOST_EVENTS = 10_000


class OneSource(Asked):
    """A source."""

    name: Annotated[str, Field(description="The name of a source.")]


class OneRun(Asked):
    """A run."""

    run: Annotated[str, Field(description="The id of a run.")]


class SomeRuns(Asked):
    """Which runs."""

    source: Annotated[str | None, Field(description="Only runs of this source.")] = None
    kind: Annotated[Kind | None, Field(description="Only runs of this kind.")] = None
    state: Annotated[RunState | None, Field(description="Only runs that stand there.")] = None
    outcome: Annotated[Outcome | None, Field(description="Only runs that ended so.")] = None
    limit: Annotated[int, Field(description="How many at most.", ge=1, le=MOST_RUNS), DIGITS] = 100
    before: Annotated[str | None, Field(description="Only runs older than the one of this id.")] = None


class Part(OneRun):
    """A part of a run's log."""

    limit: Annotated[int, Field(description="How many events at most.", ge=1, le=MOST_EVENTS), DIGITS] = 1000
    after: Annotated[
        int, Field(description="What `next` of the part before said.", ge=0, lt=2**63), DIGITS
    ] = 0


class Options(BaseModel):
    """What else is wanted of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confirm: Annotated[
        str | None,
        Field(max_length=40, description="retain: the plan to carry out although it was held back."),
    ] = None
    prune: Annotated[bool | None, Field(description="retain: remove the data that nothing needs, now.")] = (
        None
    )
    read: Annotated[
        str | None,
        Field(pattern="^[1-9][0-9]?%$|^100%$", description="check: how much of the data to read again."),
    ] = None


class Wish(Asked):
    """A run that is wanted."""

    source: Annotated[str, Field(description="The name of a source.")]
    kind: Annotated[Literal["pull", "migrate", "retain", "check"], Field(description="What to do.")] = "pull"
    options: Annotated[Options | None, Field(description="What else is wanted of it.")] = None


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
    """Every configured source and where it stands; how many of its promises are broken, as the last look found them."""
    face = request.app[FACE]
    broken = (await face.health(fresh=False)).broken()
    return web.json_response({"sources": source_views(face, broken, *sorted(face.sources))})


@operation("GET", "/api/v1/sources/{name}", shapes.Source)
async def source(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """One source and where it stands."""
    face = request.app[FACE]
    name = known(face, asked.name)
    return web.json_response(source_views(face, (await face.health(fresh=False)).broken(), name)[0])


def source_views(face: Face, broken: Mapping[str, int], *names: str) -> list[dict[str, Any]]:
    """These configured sources and where they stand, in a handful of queries however many they are."""
    return standing.source_views(
        face.ledger, face.sources, names, face.repository_bytes, face.next, broken.get, face.rates.get
    )


@operation("GET", "/api/v1/disk", shapes.Disk)
async def disk(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """The disk that the repositories lie on, and when it will be full."""
    face = request.app[FACE]
    return web.json_response(standing.disk_view(face.sources, face.home.backups, face.rates))


@operation("GET", "/api/v1/sources/{name}/snapshots", shapes.Snapshots)
async def snapshots(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """The receipts of a source, and the rules that hold each of them now."""
    face = request.app[FACE]
    found = face.ledger.receipts(known(face, asked.name))
    held = keeping.current(face, asked.name).kept_by
    touched = face.ledger.custody.damaged(asked.name)[1]
    views = [receipt_view(each, held.get(each.id, ()), damaged=each.id in touched) for each in found]
    return web.json_response({"snapshots": views})


@operation("GET", "/api/v1/runs", shapes.Runs)
async def runs(request: web.Request, asked: SomeRuns) -> web.StreamResponse:
    """The newest runs, newest first."""
    face = request.app[FACE]
    name = known(face, asked.source) if asked.source is not None else None
    found = face.ledger.runs(
        name,
        limit=asked.limit,
        before=asked.before,
        kind=asked.kind,
        state=asked.state,
        outcome=asked.outcome,
    )
    return web.json_response({"runs": [run_view(each) for each in found]})


@operation("GET", "/api/v1/runs/{run}", shapes.Run)
async def run(request: web.Request, asked: OneRun) -> web.StreamResponse:
    """One run."""
    return web.json_response(run_view(request.app[FACE].ledger.run(asked.run)))


@operation("GET", "/api/v1/runs/{run}/log", shapes.Log)
async def log(request: web.Request, asked: Part) -> web.StreamResponse:
    """What a run said while it went on, event by event."""
    face = request.app[FACE]
    found = face.ledger.run(asked.run)
    path = face.home.run_log(found.source, found.id)
    events, end = await asyncio.to_thread(part_of_log, path, asked.after, asked.limit)
    return web.json_response({"events": events, "next": end})


@operation("POST", "/api/v1/runs", shapes.Run, status=202)
async def ask(request: web.Request, asked: Wish) -> web.StreamResponse:
    """Ask for a run. Answers with the run that it became or joined."""
    face = request.app[FACE]
    options = asked.options.model_dump_json(exclude_none=True) if asked.options else None
    made = face.request(known(face, asked.source), Kind(asked.kind), Cause.ASKED, options)
    return web.json_response(run_view(made), status=202)


@operation("POST", "/api/v1/reload", shapes.Remarks)
async def reload(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """Take up a changed configuration."""
    remarks, restart = await request.app[FACE].reload()
    return web.json_response({"remarks": remarks, "restart": restart})


# Every operation that is no page for people: add a new one here, and it is routed, checked and documented.
OPERATIONS = (
    openapi, version, disk, sources, source, snapshots, keeping.plan, *holding.OPERATIONS, runs, run, log, ask, *cancelling.OPERATIONS, *events.OPERATIONS,
    reload, *feeds.OPERATIONS, *content.OPERATIONS, *mounts.OPERATIONS, *notify.OPERATIONS, *audit.OPERATIONS, *quarantine.OPERATIONS,
    *health.OPERATIONS, *channels.OPERATIONS, *search.OPERATIONS, *restoring.OPERATIONS,
)  # fmt: skip

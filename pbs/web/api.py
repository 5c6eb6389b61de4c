"""The JSON answers. Each reads the ledger, or asks the controller for one thing; none holds state."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from pbs.errors import NotFound, UsageError
from pbs.model import Cause, Kind, Outcome
from pbs.views import receipt_view, run_view, source_view
from pbs.web.face import FACE, Face

MOST_RUNS = 1000
ASKABLE = (Kind.PULL, Kind.MIGRATE)


def routes() -> list[web.RouteDef]:
    """The paths below /api/v1, the feeds and the health answer."""
    return [
        web.get("/api/v1/sources", sources),
        web.get("/api/v1/sources/{name}/snapshots", snapshots),
        web.get("/api/v1/runs", runs),
        web.post("/api/v1/runs", ask),
        web.get("/api/v1/runs/{run}", run),
        web.post("/api/v1/reload", reload),
        web.get("/feeds/{file}", feed),
    ]


async def sources(request: web.Request) -> web.Response:
    """Every configured source and where it stands."""
    face = request.app[FACE]
    return web.json_response({"sources": [_source(face, name) for name in sorted(face.sources)]})


def _source(face: Face, name: str) -> dict[str, Any]:
    return source_view(
        face.sources[name],
        last=face.ledger.newest_run(name),
        last_ok=face.ledger.newest_run(name, Outcome.OK),
        snapshots=len(face.ledger.usable(name)),
        repository_bytes=face.repository_bytes(name),
    )


async def snapshots(request: web.Request) -> web.Response:
    """The receipts of a source."""
    face = request.app[FACE]
    name = _known(face, request.match_info["name"])
    return web.json_response({"snapshots": [receipt_view(each) for each in face.ledger.receipts(name)]})


async def runs(request: web.Request) -> web.Response:
    """The newest runs, newest first; `source` and `limit` narrow them."""
    face = request.app[FACE]
    wanted = request.query.get("source")
    limit = request.query.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 6 and 1 <= int(limit) <= MOST_RUNS):
        raise UsageError("`limit` is no number from 1 to 1000", f"leave it out, or give at most {MOST_RUNS}")
    found = face.ledger.runs(_known(face, wanted) if wanted else None, limit=int(limit))
    return web.json_response({"runs": [run_view(each) for each in found]})


async def run(request: web.Request) -> web.Response:
    """One run."""
    return web.json_response(run_view(request.app[FACE].ledger.run(request.match_info["run"])))


async def ask(request: web.Request) -> web.Response:
    """Ask for a run: `{"source": NAME, "kind": "pull"}`. Answers with the run that it became or joined."""
    face = request.app[FACE]
    try:
        wish = await request.json()
    except (ValueError, LookupError, RecursionError) as error:  # no JSON, an unknown charset, too deep
        raise UsageError("the request is no JSON", 'send {"source": NAME, "kind": "pull"}') from error
    if not isinstance(wish, dict) or not isinstance(wish.get("source"), str):
        raise UsageError("the request names no source", 'send {"source": NAME, "kind": "pull"}')
    kind = wish.get("kind", "pull")
    if not isinstance(kind, str) or kind not in ASKABLE:
        shown = repr(kind[:40]) if isinstance(kind, str) else "that is no text"
        raise UsageError(f"no run of the kind {shown} can be asked for", f"one of: {', '.join(ASKABLE)}")
    name = _known(face, wish["source"])
    return web.json_response(run_view(face.request(name, Kind(kind), Cause.ASKED)), status=202)


async def reload(request: web.Request) -> web.Response:
    """Take up a changed configuration."""
    return web.json_response({"remarks": await request.app[FACE].reload()})


async def feed(request: web.Request) -> web.Response:
    """The RSS document of one source, or of all."""
    face = request.app[FACE]
    name, dot, kind = request.match_info["file"].rpartition(".")
    if not dot or kind != "xml":
        raise NotFound("there is no such feed", "/feeds/NAME.xml and /feeds/all.xml are there")
    if name != "all":
        _known(face, name)
    return web.Response(body=face.feed(name), content_type="application/rss+xml", charset="utf-8")


def _known(face: Face, name: str) -> str:
    if name not in face.sources:
        raise NotFound(f"there is no source {name[:80]!r}", "`pbs source list` names them")
    return name

"""The pages for people: today the page of one run, which the feed links to. Text from a source is escaped by the template."""

from __future__ import annotations

from aiohttp import web

from pbs.render import render
from pbs.text import duration, size
from pbs.views import run_view
from pbs.web.face import FACE


def routes() -> list[web.RouteDef]:
    """The paths of pages."""
    return [web.get("/", index), web.get("/runs/{run}", run)]


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8")


async def index(request: web.Request) -> web.Response:
    """The newest runs."""
    runs = [run_view(each) for each in request.app[FACE].ledger.runs(limit=50)]
    return _html(render("index.html.j2", runs=runs, size=size, duration=duration))


async def run(request: web.Request) -> web.Response:
    """What one run did."""
    found = request.app[FACE].ledger.run(request.match_info["run"])
    page = render("run.html.j2", run=run_view(found), output=found.output or "", size=size, duration=duration)
    return _html(page)

"""The pages for people: the newest runs, and one run, which the feed links to. Text from a source is escaped by the template."""

from __future__ import annotations

from aiohttp import web

from pbs.render import render
from pbs.text import duration, size
from pbs.views import run_view
from pbs.web import login
from pbs.web.declare import OfAPage, operation
from pbs.web.face import FACE
from pbs.web.guard import who_asks


class PageOfRun(OfAPage):
    """The page of a run."""

    run: str


def page(request: web.Request, template: str, status: int = 200, **values: object) -> web.Response:
    """A page; its foot tells who looks at it."""
    text = render(template, who=who_asks(request), status=status, size=size, duration=duration, **values)
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


@operation("GET", "/", login.PAGE)
async def index(request: web.Request, asked: OfAPage) -> web.StreamResponse:  # noqa: ARG001
    """The newest runs."""
    runs = [run_view(each) for each in request.app[FACE].ledger.runs(limit=50)]
    return page(request, "index.html.j2", runs=runs)


@operation("GET", "/runs/{run}", login.PAGE)
async def run(request: web.Request, asked: PageOfRun) -> web.StreamResponse:
    """What one run did."""
    found = request.app[FACE].ledger.run(asked.run)
    return page(request, "run.html.j2", run=run_view(found), output=found.output or "")


# Pages are for people: they are routed and guarded like every operation, but stand in no document for programs.
OPERATIONS = (index, run, *login.OPERATIONS)

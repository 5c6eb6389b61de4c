"""The pages for people. Text from a source is escaped by the template."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from aiohttp import web
from pydantic import BeforeValidator

from pbs.model import Kind, Outcome
from pbs.views import run_view
from pbs.web import assets, fleet, login, source
from pbs.web.declare import OfAPage, operation
from pbs.web.face import FACE
from pbs.web.frame import PAGE, page

A_PAGE = 50


class PageOfRun(OfAPage):
    """The page of a run."""

    run: str


def _or_any(value: object) -> object:
    """What a form sends for a field that was left empty."""
    return value or None


class SomeRuns(OfAPage):
    """Which runs."""

    source: str = ""
    kind: Annotated[Kind | None, BeforeValidator(_or_any)] = None
    outcome: Annotated[Outcome | None, BeforeValidator(_or_any)] = None
    before: str = ""


@operation("GET", "/runs", PAGE)
async def runs(request: web.Request, asked: SomeRuns) -> web.StreamResponse:
    """Runs, newest first."""
    ledger = request.app[FACE].ledger
    found = ledger.runs(
        asked.source or None,
        kind=asked.kind,
        outcome=asked.outcome,
        before=asked.before or None,
        limit=A_PAGE + 1,
    )
    shown = [run_view(each) for each in found[:A_PAGE]]
    more = {key: value for key, value in asked.model_dump(mode="json").items() if value}
    older = f"/runs?{urlencode({**more, 'before': shown[-1]['id']})}" if len(found) > A_PAGE else None
    return page(
        request, "runs.html.j2", asked=asked, runs=shown, older=older, of_source=False, kinds=list(Kind), outcomes=list(Outcome)
    )  # fmt: skip


@operation("GET", "/runs/{run}", PAGE)
async def run(request: web.Request, asked: PageOfRun) -> web.StreamResponse:
    """What one run did."""
    found = request.app[FACE].ledger.run(asked.run)
    return page(request, "run.html.j2", run=run_view(found), output=found.output or "")


# Pages are for people: they are routed and guarded like every operation, but stand in no document for programs.
OPERATIONS = (*fleet.OPERATIONS, *source.OPERATIONS, runs, run, *assets.OPERATIONS, *login.OPERATIONS)

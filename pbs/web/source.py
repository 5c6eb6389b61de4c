"""The page of one source: how it stands, its runs, its snapshots and the rules that hold them."""

from __future__ import annotations

from aiohttp import web

from pbs.ledger import Standing
from pbs.views import receipt_view, run_view
from pbs.web import keeping
from pbs.web.declare import OfAPage, operation
from pbs.web.face import FACE, known
from pbs.web.fleet import STRIP, Line, strip_of
from pbs.web.frame import PAGE, page

NEWEST_RUNS = 10
NEWEST_SNAPSHOTS = 30


class OneSource(OfAPage):
    """A source."""

    name: str


@operation("GET", "/sources/{name}", PAGE)
async def source(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """One source."""
    face = request.app[FACE]
    name = known(face, asked.name)
    overview = face.ledger.overview
    standing = overview.standings([name]).get(name, Standing())
    held = keeping.current(face, name)
    touched = face.ledger.custody.damaged(name)[1]
    usable = face.ledger.usable(name)
    snapshots = [
        receipt_view(each, held.kept_by.get(each.id, ()), damaged=each.id in touched)
        for each in reversed(usable[-NEWEST_SNAPSHOTS:])
    ]
    return page(
        request,
        "source.html.j2",
        line=Line(face.sources[name], standing, face.repository_bytes(name)),
        coming=face.next(name),
        strip=strip_of(overview.strips([name], STRIP).get(name, [])),
        runs=[run_view(each) for each in face.ledger.runs(name, limit=NEWEST_RUNS)],
        plan=held,
        count=len(usable),
        snapshots=snapshots,
    )


OPERATIONS = (source,)

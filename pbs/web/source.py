"""The pages of one source: how it stands, what it is made of, and what retention does with its snapshots, now or as a game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from pbs.errors import UsageError
from pbs.model import Receipt
from pbs.promises import State, worst_first
from pbs.retention import Plan
from pbs.views import promise_view, receipt_view, run_view
from pbs.web import keeping
from pbs.web.declare import OfAPage, Role, operation, taken
from pbs.web.face import FACE, Face, known
from pbs.web.fleet import STRIP, lines_of, strip_of
from pbs.web.frame import PAGE, page
from pbs.web.plot import MOST_POINTS, Plot, plot_of

NEWEST_RUNS = 10
NEWEST_SNAPSHOTS = 30
MOST_KEPT = 500


class OneSource(OfAPage):
    """A source."""

    name: str


class Game(OneSource):
    """A day, a rule and a pace to play retention with; empty = as it is."""

    at: str = ""
    keep: str = ""
    every: str = ""

    @property
    def given(self) -> dict[str, str]:
        """What was filled in."""
        return {
            key: value.strip() for key in ("at", "keep", "every") if (value := getattr(self, key)).strip()
        }


@operation("GET", "/sources/{name}", PAGE)
async def source(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """One source."""
    face = request.app[FACE]
    name = known(face, asked.name)
    health, overview, plan = await face.health(fresh=False), face.ledger.overview, keeping.current(face, name)
    usable = face.ledger.usable(name, MOST_POINTS)
    return page(
        request,
        "source.html.j2",
        line=lines_of(face, health, name)[0],
        promises=[
            promise_view(each) for each in worst_first(health.of(name)) if each.state is not State.KEPT
        ],
        kept=sum(each.state is State.KEPT for each in health.of(name)),
        held=face.ledger.custody.held(name),
        coming=face.next(name),
        strip=strip_of(overview.strips([name], STRIP).get(name, [])),
        runs=[run_view(each) for each in face.ledger.runs(name, limit=NEWEST_RUNS)],
        plan=plan,
        count=overview.counts([name]).get(name, 0),
        snapshots=_snapshots(face, name, usable[: -NEWEST_SNAPSHOTS - 1 : -1], plan),
        plots=plots_of(usable),
    )


def _snapshots(face: Face, name: str, receipts: Sequence[Receipt], plan: Plan) -> list[dict[str, Any]]:
    touched, held = face.ledger.custody.damaged(name)[1], plan.kept_by
    return [receipt_view(each, held.get(each.id, ()), damaged=each.id in touched) for each in receipts]


def plots_of(receipts: Sequence[Receipt]) -> dict[str, Plot | None]:
    """How much was backed up each time, and how much of it was new."""
    sizes = [(each.time, each.bytes) for each in receipts if each.bytes is not None]
    added = [(each.time, each.added_bytes) for each in receipts if each.added_bytes is not None]
    return {
        "growth": plot_of(sizes, "Size of the source"),
        "change": plot_of(added, "New data of each snapshot", bars=True),
    }


@operation("GET", "/sources/{name}/retention", PAGE)
async def retention(request: web.Request, asked: Game) -> web.StreamResponse:
    """What retention does with the snapshots of a source now, or would do on another day, under another rule."""
    face = request.app[FACE]
    name = known(face, asked.name)
    plan, said = keeping.current(face, name), None
    try:
        if asked.given:
            plan = keeping.simulated(face, taken(keeping.SomePlan, {"name": name, **asked.given}))
    except UsageError as error:
        said = error
    kept = [each for each in reversed(plan.verdicts) if each.kept_by]
    return page(
        request,
        "retention.html.j2",
        status=200 if said is None else 400,
        name=name,
        asked=asked,
        played=bool(asked.given) and said is None,
        said=said,
        plan=plan,
        kept=kept[:MOST_KEPT],
        kept_count=len(kept),
        going=[each for each in plan.verdicts if not each.kept_by][:MOST_KEPT],
        rules=dict(face.sources[name].keeping.keep),
    )


@operation("GET", "/sources/{name}/configuration", PAGE, role=Role.OPERATOR)
async def configuration(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """What a source is configured with, where each value comes from, and the line of its authorized_keys."""
    face = request.app[FACE]
    name = known(face, asked.name)
    return page(
        request, "configuration.html.j2", name=name, values=face.resolved(name), key_line=face.key_line(name)
    )


OPERATIONS = (source, retention, configuration)

"""The pages of runs: many of them, and one as it goes on. What it did is read from its log; text from a source is escaped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from aiohttp import web
from pydantic import BeforeValidator

from pbs.clock import parse_stamp
from pbs.journal import Story, story_of
from pbs.model import Kind, Outcome
from pbs.telling import event_text, progress_text, stage_text
from pbs.views import quarantined_view, receipt_view, run_view
from pbs.web.actions import AGAIN
from pbs.web.declare import OfAPage, operation
from pbs.web.face import FACE
from pbs.web.frame import PAGE, page

A_PAGE = 50
MOST_EVENTS = 300
# What matters of a long log even where there is no room for the rest.
LOUD = frozenset({"warning", "denied", "unexpected-key", "quarantined"})


class OneRun(OfAPage):
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
    found = request.app[FACE].ledger.runs(
        asked.source or None,
        kind=asked.kind,
        outcome=asked.outcome,
        before=asked.before or None,
        limit=A_PAGE + 1,
    )
    shown = [run_view(each) for each in found[:A_PAGE]]
    more = {key: value for key, value in asked.model_dump(mode="json").items() if value}
    return page(
        request,
        "runs.html.j2",
        asked=asked,
        runs=shown,
        older=f"/runs?{urlencode({**more, 'before': shown[-1]['id']})}" if len(found) > A_PAGE else None,
        of_source=False,
        kinds=list(Kind),
        outcomes=list(Outcome),
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run: what it was, and for how many seconds; None while it goes on."""

    text: str
    seconds: float | None


def stages_of(story: Story, ended: datetime | None) -> list[Stage]:
    """The stages of a run, each up to the next one or the run's end."""
    found = [(each, moment) for each in story.stages if (moment := moment_of(each)) is not None]
    ends = [*(moment for _, moment in found[1:]), ended]
    return [
        Stage(stage_text(each.get("stage")), (end - begin).total_seconds() if end is not None else None)
        for (each, begin), end in zip(found, ends, strict=False)
    ]


def moment_of(event: dict[str, Any]) -> datetime | None:
    """When an event was written."""
    try:
        return parse_stamp(str(event.get("time")))
    except ValueError:
        return None


def lines_of(story: Story) -> list[dict[str, Any]]:
    """The other events as sentences."""
    return [
        {"time": moment_of(each), "text": text, "loud": each["event"] in LOUD}
        for each in story.events
        if (text := event_text(each))
    ]


@operation("GET", "/runs/{run}", PAGE)
async def run(request: web.Request, asked: OneRun) -> web.StreamResponse:
    """What one run did, or does."""
    face = request.app[FACE]
    found = face.ledger.run(asked.run)
    story = await asyncio.to_thread(story_of, face.run_log(found), MOST_EVENTS)
    progress = story.progress if found.ended is None else None
    received = [each for each in face.ledger.usable(found.source) if each.run == found.id]
    aside = [
        each for each in face.ledger.quarantine.list(found.source, all_states=True) if each.run == found.id
    ]
    return page(
        request,
        "run.html.j2",
        run=run_view(found),
        output=found.output or "",
        stages=stages_of(story, found.ended),
        progress=progress,
        percent=progress.get("percent") if progress else None,
        said=progress_text(progress) if progress else None,
        lines=lines_of(story),
        passed_over=story.passed_over,
        received=[receipt_view(each) for each in received],
        aside=[quarantined_view(each) for each in aside],
        here=found.source in face.sources,
        again=found.kind in AGAIN,
    )


OPERATIONS = (runs, run)

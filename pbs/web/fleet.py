"""The page of all sources: where each stands, what is worst first. Made for a thousand of them: few queries, a part at a time.

Judging and ordering are pure; only the last function asks the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from aiohttp import web
from pydantic import BeforeValidator

from pbs.ledger import Standing, Step
from pbs.model import Outcome, Source
from pbs.promises import Health, State, in_words, worst_first
from pbs.views import promise_view
from pbs.web.declare import OfAPage, operation
from pbs.web.face import FACE, Face
from pbs.web.frame import PAGE, page

A_PAGE = 50
STRIP = 30
# Seconds between two looks of an open page.
EVERY = 30
# A look takes place every minute.
SILENT = timedelta(minutes=5)
TROUBLE = ("failed", "refused", "interrupted", "missed")
# The worst first; whatever is not named here is in order.
ORDER = {word: place for place, word in enumerate((*TROUBLE, "partial", "cancelled", "never"))}
GLANCES = ("trouble", "running", "ok", "never")
Sort = Literal["worst", "name", "ok", "next", "size"]


def _one_of(*words: str) -> BeforeValidator:
    """One of these words; anything else, which only somebody's own fingers can have put there, is the first."""
    return BeforeValidator(lambda value: value if value in words else words[0])


def _number(value: object) -> int:
    """Which part of the list; the first where that is no number."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1


class Wanted(OfAPage):
    """Which sources, in which order, from which on."""

    q: str = ""
    show: Annotated[str, _one_of("all", *GLANCES)] = "all"
    sort: Annotated[Sort, _one_of("worst", "name", "ok", "next", "size")] = "worst"
    order: Annotated[str, _one_of("up", "down")] = "up"
    page: Annotated[int, BeforeValidator(_number)] = 1

    def link(self, **changes: object) -> str:
        """The address of the page with these changes."""
        values = {**self.model_dump(), "page": 1, **changes}
        kept = {key: value for key, value in values.items() if value != type(self).model_fields[key].default}
        return f"/?{urlencode(kept)}" if kept else "/"


@dataclass(frozen=True, slots=True)
class Line:
    """One source, as the list shows it: how its newest pull ended, which promises are broken, and how many need a look."""

    source: Source
    standing: Standing
    size: int | None = None
    broken: tuple[str, ...] = ()
    warned: int = 0
    held: bool = False

    @property
    def word(self) -> str:
        """How the newest pull that is over ended; `never` where there is none."""
        pull = self.standing.pull
        return pull.outcome.value if pull is not None and pull.outcome is not None else "never"

    @property
    def glance(self) -> str:
        """In order, in trouble, or not begun."""
        return (
            "trouble"
            if self.broken or self.held or self.word in (*TROUBLE, "partial", "cancelled")
            else self.word
        )

    @property
    def ok(self) -> datetime | None:
        """When the newest good pull ended."""
        return self.standing.last_ok.ended if self.standing.last_ok is not None else None


def lines_of(face: Face, health: Health, *names: str) -> list[Line]:
    """These sources."""
    standings = face.ledger.overview.standings(names)
    warned = Counter(each.source for each in health.promises if each.state is State.WARNING)
    broken: dict[str, list[str]] = {}
    for each in health.promises:
        if each.state is State.BROKEN and each.source is not None:
            broken.setdefault(each.source, []).append(each.name)
    holds = face.ledger.custody.holds(names)
    return [
        Line(
            face.sources[name],
            standings.get(name, Standing()),
            face.repository_bytes(name),
            tuple(broken.get(name, ())),
            warned[name],
            name in holds,
        )
        for name in names
    ]


def chosen(lines: Iterable[Line], wanted: Wanted, coming: Callable[[str], datetime | None]) -> list[Line]:
    """The lines that were asked for, in the order that was asked for."""
    words = wanted.q.lower().split()
    found = [
        line for line in lines
        if all(word in f"{line.source.name} {line.source.address.host}".lower() for word in words)
        and (wanted.show in ("all", line.glance) or (wanted.show == "running" and line.standing.live))
    ]  # fmt: skip
    found.sort(key=lambda line: line.source.name.lower())
    keys: dict[str, Callable[[Line], Any]] = {
        "worst": lambda line: (
            -len(line.broken),
            not line.held,
            ORDER.get(line.word, len(ORDER)),
            -line.warned,
            _time(line.ok),
        ),
        "ok": lambda line: _time(line.ok),
        "next": lambda line: _time(coming(line.source.name), far=True),
        "size": lambda line: -(line.size or 0),
        "name": lambda line: line.source.name.lower(),
    }
    found.sort(key=keys[wanted.sort], reverse=wanted.order == "down")
    return found


def _time(value: datetime | None, *, far: bool = False) -> float:
    """A moment to sort by; none is before all others, or behind them."""
    return value.timestamp() if value is not None else float("inf") if far else 0.0


@dataclass(frozen=True, slots=True)
class Strip:
    """The newest runs as one small picture: for each outcome the path of its bars, and in words."""

    paths: Mapping[str, str]
    text: str


def strip_of(steps: Sequence[Step]) -> Strip:
    """Draw the newest runs, the newest to the right. What did not go well stands taller, so colour is not all that tells."""
    paths: dict[str, str] = {}
    words = [step.outcome.value if step.outcome else step.state.value for step in steps]
    for place, word in enumerate(words, STRIP - len(steps)):
        height = (
            8 if word == Outcome.OK else 12 if word in ("partial", "cancelled", "queued", "running") else 16
        )
        paths[word] = f"{paths.get(word, '')}M{place * 5 + 2} 16v-{height}"
    told = ", ".join(f"{number} {word}" for word, number in Counter(words).most_common())
    return Strip(paths, f"{len(words)} newest runs: {told}" if words else "no run yet")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all is well, in a line: how bad it is, and what of it."""

    state: State
    text: str
    detail: str = ""


def verdict_of(health: Health, now: datetime) -> Verdict:
    """Is all well? Silence is no good news: where nobody has looked for some minutes, it is not."""
    count = Counter(each.state for each in health.promises)
    if now - health.looked > SILENT:
        return Verdict(State.BROKEN, "Nobody has looked whether all is well", "see var/log/controller.log")
    return Verdict(health.state, *in_words(count))


@operation("GET", "/", PAGE)
async def fleet(request: web.Request, asked: Wanted) -> web.StreamResponse:
    """Every source and where it stands."""
    face = request.app[FACE]
    health = await face.health(fresh=False)
    everything = lines_of(face, health, *face.sources)
    found = chosen(everything, asked, face.next)
    pages = max(1, -(-len(found) // A_PAGE))
    at = min(max(asked.page, 1), pages)
    shown = found[(at - 1) * A_PAGE : at * A_PAGE]
    names = [line.source.name for line in shown]
    steps = face.ledger.overview.strips(names, STRIP)
    return page(
        request,
        "fleet.html.j2",
        asked=asked,
        every=EVERY,
        verdict=verdict_of(health, face.time.now()),
        looked=health.looked,
        server=[promise_view(each) for each in worst_first(health.of(None)) if each.state is not State.KEPT],
        lines=shown,
        found=len(found),
        all=len(everything),
        counts=Counter(line.glance for line in everything),
        running=sum(line.standing.live is not None for line in everything),
        pages=pages,
        at=at,
        strips={name: strip_of(steps.get(name, ())) for name in names},
        snapshots=face.ledger.overview.counts(names),
        coming={name: face.next(name) for name in names},
    )


OPERATIONS = (fleet,)

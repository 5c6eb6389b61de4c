"""Sizes over time as the geometry of a small picture: a curve, or bars. Pure; a template draws it, without a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pbs.text import size

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 24
LINES = 4
DAYS = 4
MOST_POINTS = 400
Point = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture. `path` is the curve or the bars; `lines` and `days` are places with what stands there."""

    path: str
    area: str
    lines: tuple[tuple[float, str], ...]
    days: tuple[tuple[float, str], ...]
    thick: float
    text: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def plot_of(points: Sequence[Point], what: str, *, bars: bool = False) -> Plot | None:
    """Draw these, oldest first; None where there is nothing to compare."""
    points = points[-MOST_POINTS:]
    if len(points) < 2:
        return None
    first, last = points[0][0], points[-1][0]
    span = (last - first).total_seconds() or 1.0
    top = max(value for _, value in points) or 1
    step = round_step(top / LINES)
    most = step * -(-top // step)
    low = HEIGHT - BOTTOM

    def across(moment: datetime) -> float:
        return round(LEFT + (moment - first).total_seconds() / span * (WIDTH - LEFT - RIGHT), 1)

    def up(value: int) -> float:
        return round(low - value / most * (low - TOP), 1)

    places = [(across(moment), up(value)) for moment, value in points]
    curve = "M" + "L".join(f"{x} {y}" for x, y in places)
    path = "".join(f"M{x} {low}V{y}" for x, y in places) if bars else curve
    area = "" if bars else f"{curve}L{places[-1][0]} {low}L{places[0][0]} {low}Z"
    form = "%d %b %Y" if span > 86400 * DAYS else "%d %b %H:%M"
    days = [first + (last - first) * part / (DAYS - 1) for part in range(DAYS)]
    return Plot(
        path=path,
        area=area,
        lines=tuple(
            (up(value), size(value).replace(".0 ", " ")) for value in range(0, int(most) + 1, int(step))
        ),
        days=tuple((across(day), f"{day:{form}}") for day in days),
        thick=round(min(6.0, max(1.0, (WIDTH - LEFT - RIGHT) / len(points) * 0.7)), 1),
        text=f"{what} from {first:%Y-%m-%d} to {last:%Y-%m-%d}: between {size(min(v for _, v in points))} "
        f"and {size(top)}, {size(points[-1][1])} at the end",
    )


def round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, … that is no less."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if step * factor >= least:
                return step * factor
        step *= 10

"""Tables as a terminal shows them: ruled, in colours, folded to its width. Nothing here runs where output goes elsewhere.

What is shown was written by strangers: it is cleaned, and none of it is ever read as markup. Words of ours alone have a
colour, and only in columns that hold nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pbs.text import clean_line

GOOD, CARE, BAD, QUIET = "green", "yellow", "bold red", "dim"
COLOURS = {
    "ok": GOOD, "kept": GOOD, "running": GOOD, "admitted": GOOD, "legacy": GOOD, "keep": GOOD,
    "partial": CARE, "warning": CARE, "queued": CARE, "go": CARE, "missed": CARE,
    "failed": BAD, "refused": BAD, "broken": BAD, "interrupted": BAD, "quarantined": BAD,
    "cancelled": QUIET, "idle": QUIET, "forgotten": QUIET, "–": QUIET,
}  # fmt: skip
# These hold words of ours, and the worse of two may follow the first: `admitted, damaged`.
WORDED = frozenset({"STATE", "OUTCOME", "LAST", "PLAN"})
WORSE = {"damaged": BAD, "incomplete": CARE}
LEAST_LAST = 24
GAP = 2


def console(least: int = 0) -> Console:
    """The terminal, in colours unless somebody asked for none; taken to be `least` wide, so that it wraps what is wider."""
    plain = bool(os.environ.get("NO_COLOR"))
    made = Console(highlight=False, markup=False, emoji=False, color_system=None if plain else "auto")
    made.width = max(made.width, least)
    return made


def show(head: Sequence[str], lines: Sequence[Sequence[object]], *, right: frozenset[int]) -> None:
    """Print a table. One that cannot be folded to the terminal is printed whole, as to a file."""
    console(least(head, lines)).print(drawn(head, lines, right=right))


def drawn(head: Sequence[str], lines: Sequence[Sequence[object]], *, right: frozenset[int]) -> Table:
    """A table whose last column folds; the others stay whole, so that ids can be copied."""
    # Its rule stands one wide between two columns.
    made = Table(
        box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, GAP - 1, 0, 0)
    )
    for index, (name, width) in enumerate(zip(head, _widths(head, lines), strict=True)):
        last = index == len(head) - 1
        made.add_column(
            Text(name), justify="right" if index in right else "left", no_wrap=not last, overflow="fold",
            min_width=min(width, LEAST_LAST) if last else width,
        )  # fmt: skip
    for line in lines:
        made.add_row(*(_cell(name, cell) for name, cell in zip(head, line, strict=True)))
    return made


def screen(before: Sequence[str], table: Table | None, after: Sequence[str]) -> Group:
    """Lines, a table, and lines, each line cut to the terminal's width."""
    parts: list[RenderableType] = [_line(each) for each in before]
    parts += [table] if table is not None else []
    return Group(*parts, *(_line(each) for each in after))


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _plain(cell: object) -> str:
    return clean_line(str("" if cell is None else cell), 300)


def _cell(column: str, cell: object) -> Text:
    text = _plain(cell)
    return Text(text, style=_colour(text) if column in WORDED else "")


def _colour(text: str) -> str:
    first, *more = text.split(", ")
    return next((WORSE[word] for word in more if word in WORSE), COLOURS.get(first, ""))


def least(head: Sequence[str], lines: Sequence[Sequence[object]]) -> int:
    """The width below which not even folding the last column helps."""
    widths = _widths(head, lines)
    return sum(widths[:-1]) + GAP * (len(widths) - 1) + min(widths[-1], LEAST_LAST)


def _widths(head: Sequence[str], lines: Sequence[Sequence[object]]) -> list[int]:
    return [
        max([cell_len(name), *(cell_len(_plain(line[index])) for line in lines)])
        for index, name in enumerate(head)
    ]

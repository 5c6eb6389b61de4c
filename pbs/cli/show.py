"""How verbs print: JSON documents, tables, sizes. Text that came from elsewhere is cleaned before a terminal sees it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pbs.text import clean_line, duration, size

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document with stable fields.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A source.", show_default=False)]


def document(value: Any) -> None:
    """One JSON document: for a person as lines, for a program on one, which is made ten times as fast."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def note(text: str) -> None:
    """A line for people that is not the answer."""
    print(text, file=sys.stderr)


def table(
    head: Sequence[str], lines: Sequence[Sequence[object]], *, right: frozenset[int] = frozenset()
) -> None:
    """Columns that fit their widest cell; the last one is never padded. On a terminal, one with rules and colours."""
    if sys.stdout.isatty():
        # Imported only where there is a terminal to draw on.
        from pbs.cli.terminal import show

        show(head, lines, right=right)
        return
    for line in columns(head, lines, right=right):
        print(line)


def columns(
    head: Sequence[str], lines: Sequence[Sequence[object]], *, right: frozenset[int] = frozenset()
) -> list[str]:
    """The lines of a table."""
    made = []
    cells = [[clean_line(str("" if cell is None else cell), 300) for cell in line] for line in lines]
    widths = [max(len(row[index]) for row in [list(head), *cells]) for index in range(len(head))]
    for row in [list(head), *cells]:
        padded = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        made.append("  ".join(padded).rstrip())
    return made


def when(stamp: str | None) -> str:
    """A time of a JSON field, short: to the second, UTC."""
    return stamp[:19].replace("T", " ") if stamp else "–"


def amount(value: int | None) -> str:
    """A size, or a dash."""
    return size(value) if value is not None else "–"


def lasted(seconds: float | None) -> str:
    """A duration, or a dash."""
    return duration(seconds) if seconds is not None else "–"


def run_line(run: dict[str, Any]) -> str:
    """A run as one sentence."""
    words = [f"{run['source']} {run['kind']}: {run['outcome'] or run['state']}"]
    if run["seconds"] is not None:
        words.append(f"in {lasted(run['seconds'])}")
    if run["added_bytes"] is not None:
        words.append(f"· {run['files']} files, {amount(run['bytes'])}, {amount(run['added_bytes'])} new")
        if run["stored_bytes"] is not None:
            words.append(f"(stored as {amount(run['stored_bytes'])})")
    return " ".join(words)

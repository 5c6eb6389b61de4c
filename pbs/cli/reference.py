"""Every verb with its help, as Markdown for docs/commands.md. Pure: it runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from pbs.cli.main import app

WIDTH = 100


def reference() -> str:
    """The verbs in the order in which the program lists them, each with what `--help` prints."""
    parts = []
    for path, command, context in _verbs(typer.main.get_command(app), ("pbs",), None):
        help_text = command.get_help(context).replace("Usage: ", "", 1).strip()
        parts.append(f"### {' '.join(path)}\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


def _verbs(command: Any, path: tuple[str, ...], parent: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    context = command.context_class(
        command, info_name=path[-1], parent=parent, terminal_width=WIDTH, max_content_width=WIDTH
    )
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command, context
        return
    for name, each in below.items():
        if not each.hidden:
            yield from _verbs(each, (*path, name), context)


def verbs() -> list[str]:
    """The verbs' names, such as `source add`."""
    return [" ".join(path[1:]) for path, _, _ in _verbs(typer.main.get_command(app), ("pbs",), None)]

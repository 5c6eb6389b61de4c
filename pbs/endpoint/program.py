"""What one endpoint is: its command and the text of its supervisord program. Pure, it starts nothing."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from pbs.render import render


def quote(*words: str | Path) -> str:
    """A command line for supervisord, which splits like a shell and expands `%`."""
    return " ".join(shlex.quote(str(word)) for word in words).replace("%", "%%")


def escape(value: str | Path) -> str:
    """A plain value for supervisord's configuration."""
    return str(value).replace("%", "%%")


def endpoint_command(
    socket: Path, lock: Path, repository: Path, server: Path, quota: int | None, *, sandbox: bool
) -> str:
    """The command that keeps the append-only door of one repository open on one socket."""
    words: list[str | Path] = [
        sys.executable,
        "-I",
        "-m",
        "pbs.guard",
        socket,
        lock,
        server,
        repository,
    ]
    return quote(*words, str(quota) if quota is not None else "-", *([] if sandbox else ["open"]))


def endpoint_program(name: str, command: str, log: Path, *, always: bool) -> str:
    """The supervisord program of one endpoint: a program of its own, since adding to a group restarts the group."""
    return render("endpoint.conf.j2", name=name, command=command, log=escape(log), always=always)

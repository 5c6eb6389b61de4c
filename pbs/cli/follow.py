"""Shows a run while it goes on: a bar on a terminal, plain lines otherwise, both on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from pbs.cli.client import Service
from pbs.cli.show import note, when
from pbs.clock import SystemClock, pause
from pbs.errors import ServiceDown
from pbs.home import Home
from pbs.journal import Follower
from pbs.telling import event_text, progress_text, stage_text

LOOK_SECONDS = 0.1
ASK_SECONDS = 0.3
PATIENCE_SECONDS = 60.0
PLAIN_SECONDS = 10.0


class Painter(Protocol):
    """Something that shows events."""

    def show(self, event: dict[str, Any]) -> None:
        """Show one event."""
        ...


def follow(service: Service, run: dict[str, Any], home: Home) -> dict[str, Any]:
    """Show a run until it has ended; returns it as it ended.

    Raises:
        ServiceDown: the service went away without ending the run, and did not come back within a minute.
    """
    clock = SystemClock()
    follower = Follower(home.run_log(run["source"], run["id"]))
    asked = answered = clock.monotonic()
    with painter(run["source"]) as paint:
        while True:
            ended = False
            for event in follower.new():
                paint.show(event)
                ended = ended or event["event"] == "ended"
            now = clock.monotonic()
            if ended or now - asked >= ASK_SECONDS:
                asked = now
                try:
                    current: dict[str, Any] = service.get_now(f"/api/v1/runs/{run['id']}")
                except ServiceDown:
                    current = _without_service(home, run["id"])
                    if current["state"] != "ended" and now - answered > PATIENCE_SECONDS:
                        raise
                else:
                    answered = now
                if current["state"] == "ended":
                    return current
            pause(0.02 if ended else LOOK_SECONDS)


def _without_service(home: Home, run_id: str) -> dict[str, Any]:
    """The run as the ledger tells it: a service that was stopped has ended it."""
    from pbs.ledger import open_ledger
    from pbs.views import run_view

    ledger = open_ledger(home.ledger)
    try:
        return run_view(ledger.run(run_id))
    finally:
        ledger.close()


def painter(source: str) -> AbstractContextManager[Painter]:
    """A bar where standard error is a terminal, lines where it is not."""
    return _bar(source) if sys.stderr.isatty() else _lines()


class Lines:
    """Plain lines: every stage and warning, progress now and then."""

    def __init__(self) -> None:
        self._next = 0.0
        self._clock = SystemClock()

    def show(self, event: dict[str, Any]) -> None:
        """Show one event."""
        if event["event"] == "progress":
            if self._clock.monotonic() < self._next:
                return
            self._next = self._clock.monotonic() + PLAIN_SECONDS
        text = line_of(event)
        if text:
            note(text)


@contextmanager
def _lines() -> Iterator[Painter]:
    yield Lines()


@contextmanager
def _bar(source: str) -> Iterator[Painter]:
    # Imported only where there is a terminal to draw on.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}", markup=False, table_column=rest),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as progress:
        task = progress.add_task(source, total=None, said="")

        class Bar:
            def show(self, event: dict[str, Any]) -> None:
                match event["event"]:
                    case "stage":
                        progress.update(task, description=f"{source}: {stage_text(event.get('stage'))}")
                    case "progress":
                        percent = event.get("percent")
                        known = isinstance(percent, int | float)
                        progress.update(
                            task,
                            completed=percent if known else 0,
                            total=100 if known else None,
                            said=progress_text(event),
                        )
                    case "warning" | "remark" | "unexpected-key" | "quarantined" | "denied":
                        progress.console.print(line_of(event), markup=False, highlight=False)

        yield Bar()


def line_of(event: dict[str, Any]) -> str | None:
    """One event as a line for people; None for what only machines want."""
    text = event_text(event)
    return f"{when(event.get('time'))[11:]}  {text}" if text is not None else None

"""Verbs about what a person has to look at: source hold, source resume. They work with the service stopped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbs.cli.show import Json, Name, document
from pbs.cli.sources import group
from pbs.home import Home

if TYPE_CHECKING:
    from pbs.ledger import Ledger


def register(_: typer.Typer) -> None:
    """These verbs belong to `source`; loading this module adds them."""


@group.command("hold")
def hold(
    context: typer.Context,
    name: Name,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for whoever comes later.")],
    as_json: Json = False,
) -> None:
    """Let no snapshot of a source be removed until somebody says `source resume`. It is backed up as before."""
    from pbs.clock import SystemClock
    from pbs.text import clean_line

    ledger = _ledger(context.obj, name)
    ledger.custody.hold(name, clean_line(why, 500) or "no reason was given", SystemClock().now(), by=_who())
    _tell(ledger, name, as_json=as_json)


@group.command("resume")
def resume(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Lift what a tripwire or `source hold` stopped: somebody has looked, and what is there now is right."""
    from pbs.clock import SystemClock

    ledger = _ledger(context.obj, name)
    ledger.custody.resume(name, SystemClock().now(), _who())
    _tell(ledger, name, as_json=as_json)


def _ledger(home: Home, name: str) -> Ledger:
    from pbs.ledger import open_ledger

    ledger = open_ledger(home.ledger)
    ledger.require_source(name)
    return ledger


def _who() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"the user {os.getuid()}"


def _tell(ledger: Ledger, name: str, *, as_json: bool) -> None:
    from pbs.retention import held_words
    from pbs.views import hold_view

    held = ledger.custody.held(name)
    view: dict[str, Any] = hold_view(name, held)
    if as_json:
        document(view)
    else:
        print(f"{name} is {held_words(held, name)}" if held is not None else f"{name} is not held")

"""`pbs health`: how promises stand, told by the service, or from the ledger where none runs. It only reads."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pbs.cli.show import Json, document, table, when
from pbs.errors import NotFound, ServiceDown
from pbs.home import Home

EXITS = {"kept": 0, "warning": 1, "broken": 2}
Facts = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("health")(health)


def health(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Only the promises of this source.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also the promises that are kept.")] = False,
    as_json: Json = False,
) -> int:
    """Show which promises are not kept, since when, why, and what to do. Exit 0: all are kept; 1: a warning; 2: one is broken."""
    home: Home = context.obj
    found = _asked(home, name)
    if as_json:
        document(found)
    else:
        _show(found, everything=everything)
    return EXITS[found["state"]]


def _asked(home: Home, name: str | None) -> Facts:
    from urllib.parse import quote

    from pbs.cli.client import Service

    query = f"?source={quote(name, errors='surrogateescape')}" if name is not None else ""
    try:
        found: Facts = Service(home.controller_socket).get(f"/api/v1/promises{query}")
    except ServiceDown:
        found = _alone(home, name)
    return found


def _alone(home: Home, name: str | None) -> Facts:
    """What can be told without the service; that it does not run is a broken promise of its own."""
    from pbs.clock import SystemClock
    from pbs.config import load
    from pbs.ledger import open_ledger
    from pbs.promises.assess import without_service
    from pbs.views import promises_view

    config, ledger = load(home), open_ledger(home.ledger)
    found = without_service(home, ledger, config, SystemClock().now())
    promises = found.promises if name is None else found.of(name)
    if not promises:
        raise NotFound(f"there is no source {name!r}", "`pbs source list` names them")
    return promises_view(found, promises)


def _show(found: Facts, *, everything: bool) -> None:
    shown = [each for each in found["promises"] if everything or each["state"] != "kept"]
    if shown:
        table(
            ("STATE", "SOURCE", "PROMISE", "SINCE (UTC)", "WHY"),
            [
                (each["state"], each["source"] or "(server)", each["name"], when(each["since"]), _why(each))
                for each in shown
            ],
        )
    counts = ", ".join(f"{found[state]} {state}" for state in EXITS)
    print(f"{found['state']}: {counts}")


def _why(promise: Facts) -> str:
    """What is wrong, and what to do."""
    return f"{promise['reason']}. {promise['hint']}" if promise["hint"] else str(promise["reason"])

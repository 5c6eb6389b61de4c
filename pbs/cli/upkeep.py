"""Verbs for the care of the server itself: copy make, copy list, key recovery."""

from __future__ import annotations

import asyncio

import typer

from pbs.cli.admin import key_group
from pbs.cli.show import Json, document, note, table, when
from pbs.home import Home

copy_group = typer.Typer(help="The encrypted copy of the server itself.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(copy_group, name="copy")


@copy_group.command("make")
def copy_make(context: typer.Context, as_json: Json = False) -> None:
    """Copy ledger, keys and configuration now, encrypted, beside the repositories (the service does it daily)."""
    from pbs import servercopy
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger

    home: Home = context.obj
    made = asyncio.run(servercopy.make(home, open_ledger(home.ledger), SystemClock()))
    if as_json:
        document({"copy": made.id, "repository": str(home.server_copy), "dropped": made.dropped})
    else:
        print(f"{made.id[:8]} in {home.server_copy}; `pbs key recovery` prints what opens it")


@copy_group.command("list")
def copy_list(context: typer.Context, as_json: Json = False) -> None:
    """List the copies of ledger, keys and configuration, newest first; works with a lost ledger."""
    from pbs import repository, servercopy
    from pbs.clock import stamp
    from pbs.errors import NotFound

    home: Home = context.obj
    if not home.server_copy.exists():
        raise NotFound(
            "the server was not copied yet", "the service does it daily; `pbs copy make` does it now"
        )
    with servercopy.opened(home) as handle:
        found = asyncio.run(repository.kept(handle))
    copies = [{"id": each.id, "made": stamp(each.time)} for each in reversed(found)]
    if as_json:
        document({"copies": copies})
    else:
        table(("COPY", "MADE (UTC)"), [(str(each["id"])[:8], when(each["made"])) for each in copies])


@key_group.command("recovery")
def key_recovery(context: typer.Context, as_json: Json = False) -> None:
    """Print the recovery sheet of the server: with it and the backup disk a lost server can be made anew."""
    from pbs.clock import SystemClock
    from pbs.errors import PbsError
    from pbs.ledger import open_ledger
    from pbs.render import render
    from pbs.servercopy import recovery_key

    home: Home = context.obj
    key = recovery_key(home)
    facts = {"home": str(home.root), "copies": str(home.server_copy), "recovery_key": key}
    if as_json:
        document(facts)
    else:
        print(render("server-recovery.txt.j2", **facts))
    try:
        open_ledger(home.ledger).note(SystemClock().now(), "recovery-shown", {}, about=None)
    except PbsError as error:
        # The sheet matters more than the note that it was printed.
        note(f"the ledger could not take note of this: {error.message}")

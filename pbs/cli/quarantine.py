"""Verbs about what admission set aside: quarantine list, show, discard, readmit. They need no running service."""

from __future__ import annotations

from typing import Annotated

import typer

from pbs.cli.show import Json, Name, amount, document, note, table, when
from pbs.errors import UsageError
from pbs.home import Home

group = typer.Typer(help="What arrived and was not admitted.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `quarantine list` tells it.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(group, name="quarantine")


@group.command("list")
def list_(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of this source alone.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was removed, or discarded by somebody.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what was set aside, oldest first."""
    from pbs.ledger import open_ledger
    from pbs.views import quarantined_view

    ledger = open_ledger(context.obj.ledger)
    if name is not None:
        ledger.require_source(name)
    found = [quarantined_view(each) for each in ledger.quarantine.list(name, all_states=everything)]
    if as_json:
        document({"quarantine": found})
        return
    if not found:
        note("nothing is set aside")
        return
    table(
        ("NUMBER", "SOURCE", "SINCE (UTC)", "KIND", "SIZE", "STATE", "WHY"),
        [(each["number"], each["source"], when(each["time"]), each["kind"], amount(each["bytes"]), each["state"],
          each["reason"]) for each in found],
        right=frozenset({0, 4}),
    )  # fmt: skip


@group.command("show")
def show(context: typer.Context, number: Number, as_json: Json = False) -> None:
    """Say all that is known of one thing that was set aside, and where it lies."""
    from pbs.ledger import open_ledger
    from pbs.model import QuarantineState
    from pbs.views import quarantined_view

    home: Home = context.obj
    found = open_ledger(home.ledger).quarantine.one(number)
    kept = found.state is QuarantineState.KEPT
    path = str(home.quarantine(found.source) / found.run / found.name) if kept else None
    view = {**quarantined_view(found), "path": path}
    if as_json:
        document(view)
        return
    table(("FIELD", "VALUE"), list(view.items()))


@group.command("discard")
def discard(
    context: typer.Context,
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="NUMBER…", help="What to remove.", show_default=False)
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="All that was set aside of this source.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove what was set aside, for good. The records stay."""
    from pbs.admission import discard as remove
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger

    if bool(numbers) == bool(source):
        raise UsageError("say what to discard", "give numbers, or --source NAME for all of one source")
    home: Home = context.obj
    ledger = open_ledger(home.ledger)
    if source is not None:
        ledger.require_source(source)
        chosen = ledger.quarantine.list(source)
    else:
        chosen = [ledger.quarantine.one(number) for number in numbers or ()]
    count = 0
    for name in sorted({each.source for each in chosen}):
        own = [each for each in chosen if each.source == name]
        count += remove(ledger, home.quarantine(name), own)
        ledger.note(SystemClock().now(), "discarded", {"numbers": [each.id for each in own]}, about=name)
    if as_json:
        document({"discarded": count})
    else:
        note(f"{count} thing(s) discarded")


@group.command("readmit")
def readmit(context: typer.Context, name: Name) -> None:
    """Forget what was admitted of a source file by file: its next run reads the whole repository again.

    For a repository whose files were lost, or a ledger that is older than it. Nothing is removed.
    """
    from pbs.clock import SystemClock
    from pbs.files import locked
    from pbs.ledger import open_ledger

    home: Home = context.obj
    ledger = open_ledger(home.ledger)
    ledger.require_source(name)
    with locked(home.locks / f"{name}.run.lock", what=f"the source {name}"):
        ledger.manifests.drop(name)
        ledger.note(SystemClock().now(), "readmitted", {}, about=name)
    note(f"the next run of {name} reads its whole repository again")

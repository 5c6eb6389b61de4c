"""Verbs for the care of the server itself: its copy, its ledger, a server made anew."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbs.cli.keys import KeyFile, secret_given
from pbs.cli.show import Json, document, note, table, when
from pbs.home import Home

if TYPE_CHECKING:
    from pbs.rebuild import Report

copy_group = typer.Typer(help="The encrypted copy of the server itself.", no_args_is_help=True)

ledger_group = typer.Typer(help="The ledger as a file.", no_args_is_help=True)
# What a stop takes besides the grace that runs have.
STOP_SLACK_SECONDS = 120


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(copy_group, name="copy")
    app.add_typer(ledger_group, name="ledger")
    app.command("rebuild")(rebuild)
    app.command("unit")(unit)
    app.command("proxy")(proxy)


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


@ledger_group.command("check")
def ledger_check(context: typer.Context, as_json: Json = False) -> int:
    """Look at every page and row of the ledger; exit 1 where something is wrong."""
    from pbs.ledger.files import faults

    found = faults(context.obj.ledger)
    if as_json:
        document({"ok": not found, "faults": found})
    elif found:
        print("\n".join(found))
        note("`pbs stop`, then `pbs ledger rebuild` makes it anew from all that is left")
    else:
        print("ok")
    return 1 if found else 0


@ledger_group.command("rebuild")
def ledger_rebuild(
    context: typer.Context,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where the ledger is sound.")] = False,
    as_json: Json = False,
) -> int:
    """Make a damaged or lost ledger anew: from the newest copy, the logs of runs, the repositories.

    The old file is set aside. Needs the service stopped.
    """
    from pbs.clock import SystemClock
    from pbs.rebuild import rebuild_ledger

    return _tell(
        asyncio.run(rebuild_ledger(context.obj, SystemClock(), anyway=anyway)), context.obj, as_json=as_json
    )


def rebuild(
    context: typer.Context,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="The copies; else srv/backup/pbs/.server.restic of the home.",
            show_default=False,
        ),
    ] = None,
    copy: Annotated[
        str,
        typer.Option(
            "--copy", metavar="ID", help="The copy to use; else the newest that is sound.", show_default=False
        ),
    ] = "",
    key_file: KeyFile = None,
    as_json: Json = False,
) -> int:
    """Make a lost server anew, in the home that --home names, from the copy beside its repositories."""
    from pbs.clock import SystemClock
    from pbs.rebuild import rebuild_server
    from pbs.servercopy import typed_key

    home: Home = context.obj
    key = typed_key(secret_given("Recovery key", key_file))
    report = asyncio.run(rebuild_server(home.root, source, key, copy, SystemClock()))
    code = _tell(report, home, as_json=as_json)
    if not as_json:
        print(f"next: pbs --home {home.root} doctor, then pbs --home {home.root} serve")
    return code


def _tell(report: Report, home: Home, *, as_json: bool) -> int:
    from pbs.clock import stamp

    made = stamp(report.base.time) if report.base else None
    sources: list[dict[str, Any]] = [
        {"source": each.source, "runs": each.runs, "snapshots_from_logs": each.from_logs,
         "snapshots_from_repository": each.from_repository, "refused": each.refused, "missing": each.missing, "held": each.held}
        for each in report.sources
    ]  # fmt: skip
    if as_json:
        aside = str(report.aside) if report.aside else None
        document({"home": str(home.root), "copy": report.base.id if report.base else None, "copy_made": made,
                  "aside": aside, "sources": sources, "remarks": report.remarks})  # fmt: skip
    else:
        print(f"began with the copy of {made}" if made else "no copy could be used: began with nothing")
        if report.aside:
            print(f"the old ledger is now {report.aside}")
        head = ("SOURCE", "RUNS ADDED", "SNAPSHOTS BY LOGS", "BY THE REPOSITORY", "NOT ADMITTED", "GONE")
        table(head, [tuple(each.values())[: len(head)] for each in sources], right=frozenset({1, 2, 3, 4, 5}))
        for each in report.sources:
            if each.held is not None:
                note(
                    f"{each.source}: no snapshot is removed until a person has looked: {each.held} "
                    f"(`pbs source resume {each.source}` lifts it)"
                )
        for remark in report.remarks:
            note(remark)
    return 1 if report.remarks else 0


def unit(
    context: typer.Context,
    closed: Annotated[
        bool,
        typer.Option(
            "--closed", help="Shut the service off from the rest of the machine; it can mount nothing then."
        ),
    ] = False,
) -> None:
    """Print the systemd unit that serves this home, as its owner."""
    import grp
    import pwd

    from pbs.config import load
    from pbs.systemd import unit as text_of

    home: Home = context.obj
    owner = home.keys.stat()
    program = Path(sys.executable).with_name("pbs")
    server = load(home).server
    where = Home.at(home.root, server.run_dir).sockets
    print(
        text_of(
            home.root,
            program,
            pwd.getpwuid(owner.st_uid).pw_name,
            grp.getgrgid(owner.st_gid).gr_name,
            closed=closed,
            stop_seconds=round(server.stop_grace) + STOP_SLACK_SECONDS,
            sockets=where,
        )
    )


def proxy(
    context: typer.Context,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="Its certificate, with the chain.", show_default=False),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="The certificate's key.", show_default=False)
    ] = None,
) -> None:
    """Print the configuration of nginx that offers this server to others, with TLS."""
    from pbs.config import load
    from pbs.web.proxy import nginx

    print(nginx(load(context.obj).server, certificate, key), end="")

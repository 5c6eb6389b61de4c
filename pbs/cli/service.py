"""Verbs about the service as a whole: init, serve, stop, reload, doctor."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pbs.cli.show import Json, document, note
from pbs.errors import HomeError, UsageError
from pbs.home import Home


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("init")(init)
    app.command("serve")(serve)
    app.command("stop")(stop)
    app.command("reload")(reload)
    app.command("doctor")(doctor)
    app.command("controller", hidden=True)(controller)
    app.command("worker", hidden=True)(worker)


def init(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", show_default=False)] = None,
) -> None:
    """Make a home: a commented pbs.toml, the SSH key, the ledger. An existing one is only completed."""
    import secrets

    from pbs import keyring
    from pbs.config import render_sample
    from pbs.files import write
    from pbs.ledger.upgrade import upgrade
    from pbs.servercopy import recovery_key
    from pbs.tunnel import make_key, public_key

    home = Home.at(folder) if folder is not None else context.obj
    if not home.exists and _holds_something(home.root):
        raise HomeError(
            f"{home.root} is not empty and no home", "name an empty folder, or one that does not exist"
        )
    home.make()
    if not home.config.exists():
        write(home.config, render_sample().encode(), mode=0o644)
    if not (home.keys / "admin.token").exists():
        keyring.write(home.keys / "admin.token", secrets.token_urlsafe(32).encode() + b"\n")
    make_key(home.keys / "ssh_ed25519", "pbs")
    recovery_key(home, make=True)
    upgrade(home.ledger, home.locks / "upgrade.lock")
    print(f"home: {home.root}")
    print(f"key:  {public_key(home.keys / 'ssh_ed25519')}")
    print(
        f"next: pbs --home {home.root} serve --detach, then pbs --home {home.root} source add NAME --host HOST"
    )
    print(f"then: pbs --home {home.root} key recovery prints what makes this server anew; keep it elsewhere")


def _holds_something(folder: Path) -> bool:
    # A disk with the backups of a lost server may hang there already.
    mine = {"srv", "lost+found"}
    return folder.exists() and (
        not folder.is_dir() or any(entry.name not in mine for entry in folder.iterdir())
    )


def serve(
    context: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", help="Go to the background once it answers.")] = False,
) -> int:
    """Run the service in the foreground: supervisord with controller, workers and endpoints."""
    from pbs import serve as service

    home: Home = context.obj
    if detach:
        served = service.serve_detached(home.root)
        print(f"serving {served.root}; `pbs stop` ends it")
        return 0
    return service.serve(home.root, say=note)


def stop(
    context: typer.Context,
    grace: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long runs may take to end; else `stop_grace` of pbs.toml."),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Interrupt runs at once.")] = False,
) -> None:
    """End the service: no run begins any more, those that go on may end within a time of grace, the rest is interrupted."""
    from pbs.stopping import stop as stop_service

    home: Home = context.obj
    interrupted = stop_service(home, 0.0 if now else _grace(home, grace), note)
    note(
        "stopped"
        if not interrupted
        else f"stopped; {len(interrupted)} run(s) did not come to their end by themselves:"
    )
    for run in interrupted:
        note(f"  {run.id}: {run.outcome}")


def _grace(home: Home, given: str | None) -> float:
    from pbs.config import load
    from pbs.errors import ConfigError
    from pbs.model import ServerSettings
    from pbs.text import parse_duration

    if given is not None:
        try:
            return parse_duration(given)
        except ValueError as error:
            raise UsageError(f"--grace: {error}", "for example: pbs stop --grace 10m") from error
    try:
        return load(home).server.stop_grace
    except ConfigError:  # a service is ended with a broken configuration as well
        return ServerSettings().stop_grace


def reload(context: typer.Context, as_json: Json = False) -> int:
    """Apply a changed configuration; running runs and other endpoints are not touched. A wrong one changes nothing."""
    from pbs.cli.client import Service
    from pbs.config import load

    # The service looks as well; here every fault can be shown on a line of its own.
    load(context.obj)
    answer = Service(context.obj.controller_socket).post("/api/v1/reload", {})
    if as_json:
        document(answer)
    else:
        for remark in answer["remarks"]:
            note(remark)
        if answer["restart"]:
            note(f"applied at the next start of the service only: {', '.join(answer['restart'])} of [server]")
        note("reloaded" if not answer["remarks"] else "reloaded, but for what stands above")
    return 1 if answer["remarks"] else 0


def doctor(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    as_json: Json = False,
) -> int:
    """Check tools and home; with NAME also that the source does what it must and refuses what it must not."""
    from pbs import doctor as examine
    from pbs.config import load

    home: Home = context.obj
    if name is None:
        findings = asyncio.run(examine.look_at_server(home))
    else:
        findings = asyncio.run(examine.look_at_source(home, load(home).source(name)))
    standing = examine.standing(findings)
    if as_json:
        checks = [
            {"name": each.name, "state": each.state, "detail": each.detail, "advice": each.advice}
            for each in findings
        ]
        document({"state": standing, "checks": checks})
    else:
        signs = {"ok": "✓", "warning": "!", "broken": "✗"}
        for each in findings:
            print(f"{signs[each.state]} {each.name:<24} {each.detail}")
            if each.advice:
                print(f"  {'':<24} → {each.advice}")
    return 1 if standing == "broken" else 0


def controller(context: typer.Context) -> None:
    """The controller process, as supervisord starts it."""
    from pbs.controller import main

    main(context.obj)


def worker(context: typer.Context, number: int) -> None:
    """A worker process, as supervisord starts it."""
    from pbs.worker import main

    main(context.obj, number)

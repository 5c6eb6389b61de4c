"""Verbs of keeping: retain, with its dry run and its simulator; check; pin and unpin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbs.cli.runs import NoWait, ask_all
from pbs.cli.show import Json, Name, document, note, table, when
from pbs.errors import UsageError
from pbs.home import Home

if TYPE_CHECKING:
    from pbs.retention import Plan

Chosen = Annotated[
    str,
    typer.Argument(
        metavar="SNAPSHOT", help="Its id, its first 8 digits or more, or latest.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("retain")(retain)
    app.command("check")(check)
    app.command("pin")(pin)
    app.command("unpin")(unpin)


def retain(
    context: typer.Context,
    name: Name,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the plan: what stays by which rule, what goes.")
    ] = False,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="PLAN", help="Carry out this plan although it was held back."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove the data that no snapshot needs any more, now.")
    ] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="DATE", help="Simulate: what would be kept on that day.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="RULE", help="Simulate: under this rule, such as 2W or daily=7,last=3."
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option("--every", metavar="TIME", help="Simulate: how often a snapshot comes until then."),
    ] = None,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> int:
    """Remove the snapshots that no rule holds (each good pull does it by itself), or show what would go."""
    home: Home = context.obj
    if at or keep or every:
        _show(_simulated(home, name, at, keep, every), home, name, as_json=as_json)
        return 0
    if dry_run:
        from pbs.chores import tree_fate
        from pbs.clock import SystemClock
        from pbs.config import load
        from pbs.ledger import open_ledger
        from pbs.retention import plan_now

        source, ledger = load(home).source(name), open_ledger(home.ledger)
        _show(plan_now(ledger, source, SystemClock().now()), home, name, as_json=as_json)
        there, reason = tree_fate(home, ledger, source)
        if there:
            note(
                f"the legacy tree {home.legacy(name)} {f'stays: {reason}' if reason else 'goes with the next retention'}"
            )
        return 0
    options: dict[str, Any] = {"confirm": confirm} if confirm else {}
    options |= {"prune": True} if prune else {}
    return ask_all(home, [name], "retain", options, no_wait=no_wait, as_json=as_json)


def _simulated(home: Home, name: str, at: str | None, keep: str | None, every: str | None) -> Plan:
    from dataclasses import replace

    from pbs.clock import SystemClock
    from pbs.config import load
    from pbs.ledger import open_ledger
    from pbs.retention import simulate
    from pbs.text import parse_duration

    keeping = load(home).source(name).keeping
    now = SystemClock().now()
    if keep is not None:
        keeping = replace(keeping, keep=_rules(keep))
    try:
        pace = timedelta(seconds=parse_duration(every)) if every else None
    except ValueError as error:
        raise UsageError(f"--every {every}: {error}", "for example --every 1h") from error
    day = _day(at) if at else now
    return simulate(name, open_ledger(home.ledger).receipts(name), keeping, now, day, pace)


def _day(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--at {text}: this is no date", "for example --at 2027-01-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _rules(text: str) -> dict[str, int | str]:
    """`2W`, `3B`, or rules as `daily=7,within=2d`."""
    from pbs.config.keep import parse_keep

    pairs = [part.partition("=") for part in text.split(",")] if "=" in text else []
    rules = {
        key.strip(): int(value) if value.strip().isdecimal() else value.strip() for key, _, value in pairs
    }
    try:
        return parse_keep(rules or text)
    except ValueError as error:
        raise UsageError(
            f"--keep {text}: {error}", "for example --keep 2W, or --keep daily=7,last=3"
        ) from error


def _show(plan: Plan, home: Home, name: str, *, as_json: bool) -> None:
    from pbs.views import plan_view

    view = plan_view(plan)
    if as_json:
        document(view)
        return
    lines = [
        (each["id"][:16], when(each["time"]), "keep" if each["kept_by"] else "go", each["reason"])
        for each in view["snapshots"]
    ]
    if not lines:
        note(f"{name} has no snapshot that rules could be asked about")
        return
    table(("SNAPSHOT", "RECEIVED (UTC)", "PLAN", "BY"), lines)
    print(f"{len(lines) - len(plan.goes)} stay, {len(plan.goes)} go (plan {plan.id})")
    if plan.frozen:
        note(f"nothing is removed now: {plan.frozen}")
    elif plan.doubt:
        note(f"nothing is removed before you confirm it: {plan.doubt}")
        note(f"  `pbs --home {home.root} retain {name} --confirm {plan.id}` carries out exactly this plan")


def check(
    context: typer.Context,
    name: Name,
    read: Annotated[
        str | None,
        typer.Option(
            "--read-data", metavar="SHARE", help='How much of the data to read again, such as "100%".'
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> int:
    """Look at the structure of a repository, and read again what was not for longest (each day does it by itself)."""
    percent = (read or "1%").removesuffix("%")
    if not (percent.isascii() and percent.isdecimal() and 0 < int(percent) <= 100):
        raise UsageError(f"--read-data {read}: this is no share", 'give "1%" to "100%"')
    options = {"read": f"{int(percent)}%"} if read else {}
    return ask_all(context.obj, [name], "check", options, no_wait=no_wait, as_json=as_json)


def pin(
    context: typer.Context,
    name: Name,
    snapshot: Chosen,
    why: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="Why, for whoever comes later.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Have no rule ever remove this snapshot; works with the service stopped."""
    _pin(context.obj, name, snapshot, why, pinned=True, as_json=as_json)


def unpin(context: typer.Context, name: Name, snapshot: Chosen, as_json: Json = False) -> None:
    """Let the rules decide about a pinned snapshot again."""
    _pin(context.obj, name, snapshot, None, pinned=False, as_json=as_json)


def _pin(home: Home, name: str, wanted: str, why: str | None, *, pinned: bool, as_json: bool) -> None:
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger
    from pbs.text import clean_line
    from pbs.views import receipt_view

    ledger = open_ledger(home.ledger)
    ledger.require_source(name)
    found = ledger.find_receipt(name, wanted)
    ledger.custody.pin(
        name, found.id, clean_line(why, 500) if why else None, SystemClock().now(), pinned=pinned
    )
    view: dict[str, Any] = receipt_view(ledger.find_receipt(name, found.id))
    if as_json:
        document(view)
    else:
        print(
            f"{found.id[:16]} of {name}, received {when(view['time'])} UTC: {'pinned' if pinned else 'no longer pinned'}"
        )

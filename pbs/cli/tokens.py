"""Verbs about tokens, which let programs and browsers ask over TCP: add, list, remove. They need no running service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pbs.cli.show import Json, document, note, table, when
from pbs.errors import UsageError
from pbs.home import Home

ROLES = ("viewer", "operator")
TAKEN = frozenset({*ROLES, "socket", "nobody"})  # what the audit calls others
TokenName = Annotated[
    str, typer.Argument(metavar="NAME", help="What the token is called.", show_default=False)
]
group = typer.Typer(help="Tokens for programs and people that ask over TCP.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(group, name="token")


def _expires(text: str | None) -> Any:
    """When a token made now ends that shall hold for so long."""
    from datetime import timedelta

    from pbs.clock import SystemClock
    from pbs.text import parse_duration

    if text is None:
        return None
    try:
        seconds = parse_duration(text)
        return SystemClock().now() + timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--expires {text[:40]}: {error}", "for example --expires 90d") from error


@group.command("add")
def add(
    context: typer.Context,
    name: TokenName,
    role: Annotated[
        str,
        typer.Option(help="viewer: may look at states, runs, logs and feeds. operator: may do everything."),
    ] = "viewer",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="How long it holds, such as 90d; else for good."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and show it, this once: only a digest of it is kept."""
    import secrets
    from hashlib import sha256

    from pbs.clock import SystemClock, stamp
    from pbs.ledger import open_ledger
    from pbs.model import valid_name

    home: Home = context.obj
    if role not in ROLES:
        raise UsageError(f"there is no role {role[:40]!r}", f"one of: {', '.join(ROLES)}")
    if not valid_name(name) or name.lower() in TAKEN:
        raise UsageError(
            f"{name[:80]!r} cannot be the name of a token",
            "take letters, digits, - and _, 63 at most, beginning with a letter or digit, and no word that means somebody else",
        )
    until = _expires(expires)
    secret = f"pbs_{secrets.token_urlsafe(32)}"
    now = SystemClock().now()
    ledger = open_ledger(home.ledger)
    made = ledger.access.add_token(name, role, sha256(secret.encode()).hexdigest(), now, until)
    _write_down(ledger, "pbs token add", {"name": name, "role": role, "expires": stamp(until)})
    if as_json:
        document(
            {"name": name, "role": role, "made": stamp(made.made), "expires": stamp(until), "token": secret}
        )
        return
    print(secret)
    note(
        f"{name}, {role}{f', until {when(stamp(until))} UTC' if until else ''}. It is shown this once; send it as"
    )
    note("  Authorization: Bearer TOKEN")


@group.command("list")
def show(context: typer.Context, as_json: Json = False) -> None:
    """List the tokens, without the tokens themselves."""
    from pbs.clock import SystemClock, stamp
    from pbs.ledger import open_ledger

    home: Home = context.obj
    now = SystemClock().now()
    found: list[dict[str, Any]] = [
        {"name": each.name, "role": each.role, "made": stamp(each.made), "expires": stamp(each.expires),
         "used": stamp(each.used), "expired": each.expires is not None and each.expires <= now}
        for each in open_ledger(home.ledger).access.tokens()
    ]  # fmt: skip
    if as_json:
        document({"tokens": found})
    elif found:
        lines = [
            (each["name"], each["role"], when(each["made"]), "expired" if each["expired"] else when(each["expires"]),
             when(each["used"]))
            for each in found
        ]  # fmt: skip
        table(("TOKEN", "ROLE", "MADE (UTC)", "UNTIL (UTC)", "LAST USED (UTC)"), lines)
    else:
        note("there is no token but the operator's, in etc/keys/admin.token")


@group.command("remove")
def remove(context: typer.Context, name: TokenName) -> None:
    """Have a token count no more, and every login that was made with it."""
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger

    home: Home = context.obj
    ledger = open_ledger(home.ledger)
    ledger.access.remove_token(name, SystemClock().now())
    _write_down(ledger, "pbs token remove", {"name": name})
    note(f"removed the token {name}")


def _write_down(ledger: Any, did: str, asked: dict[str, Any]) -> None:
    from pbs.clock import SystemClock

    ledger.access.write_down(
        SystemClock().now(),
        {"who": "command line", "role": "operator", "via": "home", "address": None, "did": did, "asked": asked,
         "status": 200},
    )  # fmt: skip

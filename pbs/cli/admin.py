"""Verbs of the operator: feed, agent bundle, config, demo, completion."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pbs.cli.show import Json, Name, document, note, table
from pbs.errors import ConfigError, UsageError
from pbs.home import Home

agent_group = typer.Typer(help="The agent for sources.", no_args_is_help=True)
config_group = typer.Typer(help="The configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("feed")(feed)
    app.add_typer(agent_group, name="agent")
    app.add_typer(config_group, name="config")
    app.command("demo")(demo)
    app.command("completion")(completion)


def feed(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A source, or `all`.", show_default=False)],
    kind: Annotated[str, typer.Option("--format", help="`xml` (RSS 2.0) or `json` (JSON Feed 1.1).")] = "xml",
    address: Annotated[
        bool, typer.Option("--address", help="Instead, an address for readers that can send no token.")
    ] = False,
) -> None:
    """Print the RSS document of a source, made from the ledger."""
    from pbs.config import load
    from pbs.ledger import open_ledger
    from pbs.model import ServerSettings
    from pbs.publish import ALL, TYPES, feed_of

    home: Home = context.obj
    if kind not in TYPES:
        raise UsageError(f"there is no feed of the format {kind!r}", "one of: xml, json")
    ledger = open_ledger(home.ledger)
    if name != ALL:
        ledger.require_source(name)
    try:
        server = load(home).server
    except ConfigError:
        server = ServerSettings()
    if address:
        print(f"{server.base_url}/feeds/{_feed_secret(home, name)}/{name}.{kind}")
        return
    runs = ledger.runs(None if name == ALL else name, limit=server.feed_items, ended=True)
    sys.stdout.buffer.write(feed_of(name, server.base_url, runs, server.feed_items, kind))


def _feed_secret(home: Home, name: str) -> str:
    """What stands in the address of a feed; made where there is none. Whoever removes the file ends the address."""
    import secrets

    from pbs import keyring

    path = home.feed_secret(name)
    if not path.exists():
        keyring.write(path, secrets.token_urlsafe(32).encode() + b"\n")
        note(f"whoever knows this address reads the feed; remove {path} to end it")
    return keyring.read(path).decode().strip()


@agent_group.command("bundle")
def agent_bundle(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="The tar file to write.")] = Path(
        "pbs-agent.tar"
    ),
    profile: Annotated[str, typer.Option(help="The name in the sample profile.")] = "NAME",
) -> None:
    """Write one tar for a source: the agent, a restic that is new enough, a sample profile, the commands."""
    from pbs.bundle import write_bundle

    del context
    write_bundle(output, profile)
    note(
        f"{output}: copy it to the source, then `tar -xf {output.name} -C /` as root there, and see its README"
    )


@config_group.command("check")
def config_check(context: typer.Context, as_json: Json = False) -> int:
    """Check pbs.toml and sources.d: all faults together, nothing else happens."""
    from pbs.config import load

    try:
        config = load(context.obj)
    except ConfigError as error:
        if as_json:
            document({"ok": False, "faults": list(error.faults) or [error.message]})
            return error.exit_code
        raise
    if as_json:
        document({"ok": True, "faults": []})
    else:
        print(f"ok: {len(config.sources)} source(s)")
    return 0


@config_group.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of pbs.toml."""
    from pbs.config import schema

    document(schema())


@config_group.command("show")
def config_show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show the values that a source really has, and where each comes from."""
    from pbs.config import load

    config = load(context.obj)
    resolved = config.resolved(name)
    if as_json:
        document(
            {
                "source": name,
                "values": [{"key": key, "value": value, "origin": origin} for key, value, origin in resolved],
            }
        )
        return
    table(("KEY", "VALUE", "FROM"), resolved)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, with its addresses.")] = False,
    as_json: Json = False,
) -> int:
    """Do the whole main job on this machine, with a real sshd as the source, and say what held."""
    from pbs.demo import run_demo

    return run_demo(keep=keep, as_json=as_json)


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print the completion script of a shell."""
    from typer._completion_shared import get_completion_script

    if shell not in ("bash", "zsh", "fish"):
        raise UsageError(f"there is no completion for {shell!r}", "one of: bash, zsh, fish")
    print(get_completion_script(prog_name="pbs", complete_var="_PBS_COMPLETE", shell=shell))

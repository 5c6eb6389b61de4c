"""Verbs about sources: source list, show, add, remove."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from pbs.cli.show import Json, Name, amount, document, note, table, when
from pbs.errors import ConfigError, LeaseHeld, NotFound, PbsError, ServiceDown, UsageError
from pbs.home import Home
from pbs.model import AGENT_PATH, Source, valid_name

group = typer.Typer(help="What is backed up.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(group, name="source")


@group.command("list")
def list_sources(context: typer.Context, as_json: Json = False) -> None:
    """List the sources, with or without the service."""
    from pbs.cli.client import Service
    from pbs.cli.status import stopped_sources

    home: Home = context.obj
    try:
        sources = Service(home.controller_socket).get("/api/v1/sources")["sources"]
    except ServiceDown:
        sources = stopped_sources(home)
    if as_json:
        document({"sources": sources})
        return
    lines = [
        (each["name"], f"{each['user']}@{each['host']}:{each['port']}", each["schedule"], when(each["next"]), each["snapshots"],
         when(each["last_ok"]), amount(each["repository_bytes"]))
        for each in sources
    ]  # fmt: skip
    if not lines:
        note("no source yet: `pbs source add NAME --host HOST`")
        return
    table(
        ("SOURCE", "WHERE", "SCHEDULE", "NEXT (UTC)", "SNAPSHOTS", "LAST OK (UTC)", "SIZE"),
        lines,
        right=frozenset({4, 6}),
    )


@group.command("show")
def show(
    context: typer.Context,
    name: Name,
    agent_path: Annotated[str, typer.Option(help="Where the agent lies on the source.")] = AGENT_PATH,
    as_json: Json = False,
) -> None:
    """Show one source, and the line that belongs into its authorized_keys."""
    from pbs.config import load
    from pbs.ledger import open_ledger

    home: Home = context.obj
    config = load(home)
    source = config.source(name)
    known = open_ledger(home.ledger).repository(name)
    facts = {
        "name": name,
        "host": source.address.host,
        "port": source.address.port,
        "user": source.address.user,
        "host_key": source.address.host_key,
        "repository": str(home.root / known.path) if known else None,
        "repository_id": known.id if known else None,
        "endpoint": source.endpoint,
        "encryption": source.encryption,
        "notify_url": f"{config.server.base_url}/notify/{name}",
        "notify_token": _token(home, name),
        **_lines(source, _absolute(agent_path)),
    }
    if as_json:
        document(facts)
        return
    for key, value in facts.items():
        print(f"{key}:\n{value}" if "\n" in str(value) else f"{key}: {value if value is not None else '–'}")


def _token(home: Home, name: str) -> str | None:
    """What the source may ask for its pull with; None where `pbs reload` has not made it yet."""
    from pbs import keyring

    with suppress(FileNotFoundError):
        return keyring.read(home.notify_token(name)).decode("ascii", "replace").strip()
    return None


@group.command("add")
def add(
    context: typer.Context,
    name: Name,
    host: Annotated[str, typer.Option(help="Host name, IPv4 or IPv6 address.", show_default=False)],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its SSH port.")] = 22,
    user: Annotated[str, typer.Option(help="The account on the source.")] = "backup",
    host_key: Annotated[
        str | None, typer.Option(help='The host key to pin: "ssh-ed25519 AAAA…".', show_default=False)
    ] = None,
    accept_host_key: Annotated[
        bool, typer.Option("--accept-host-key", help="Pin the key that answers now, unseen.")
    ] = False,
    agent_path: Annotated[str, typer.Option(help="Where the agent lies on the source.")] = AGENT_PATH,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other field of a source.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a source: pin its host key, make its repository and key, print what belongs on the source."""
    from pbs.config import load, parse_source_settings, render_source_file
    from pbs.files import write
    from pbs.provision import provision

    home: Home = context.obj
    _new_name(home, name)
    agent = _absolute(agent_path)
    extra = parse_source_settings(settings or [])
    pinned = host_key or asyncio.run(_ask_host_key(host, port, accept=accept_host_key))
    values: dict[str, Any] = {"host": host, "port": port, "user": user, "host_key": pinned, **extra}
    config = load(home, {name: values})
    source = config.source(name)
    _own_key(home, source)
    path = home.sources_d / f"{name}.toml"
    write(path, render_source_file(values).encode())
    try:
        _provision(home, source, provision)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if not _reloaded(home):
        note("the service is not running: `pbs serve` starts it")
    for other in config.sources.values():
        if other.name != name and other.address == source.address:
            note(
                f"{other.name} has the same account and key: sshd would always start the agent of {other.name}. "
                f"Give {name} a key of its own, for example --set ssh_key=etc/keys/{name}.ssh"
            )
    lines = _lines(source, agent)
    if as_json:
        document({"name": name, "host_key": pinned, **lines})
        return
    _tell(source, lines)


def _reloaded(home: Home) -> bool:
    """Have a running service take up the change; False where none runs."""
    from pbs.cli.client import Service

    try:
        for remark in Service(home.controller_socket).post("/api/v1/reload", {})["remarks"]:
            note(remark)
    except ServiceDown:
        return False
    except PbsError as error:
        # What was asked for is done; the service says what it cannot take up.
        note(f"the service could not reload: {error.message}; correct that, then `pbs reload`")
    return True


def _own_key(home: Home, source: Source) -> None:
    """Make the source's SSH key where the home keeps keys; one that lies elsewhere must be there."""
    from pbs.tunnel import make_key, public_key

    path = Path(source.address.ssh_key)
    if path.parent == home.keys:
        make_key(path, f"pbs {source.name}")
    public_key(path)


def _provision(home: Home, source: Source, provision: Any) -> None:
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger

    asyncio.run(provision(home, open_ledger(home.ledger), source, SystemClock()))


def _tell(source: Source, lines: dict[str, str]) -> None:
    name = source.name
    print(f"{name} is added. Three things remain to be done on {source.address.host}:\n")
    print("1. install the agent (`pbs agent bundle` writes all that it needs into one file)\n")
    print(f"2. as /etc/pbs-agent/{name}.toml (or ~{source.address.user}/.config/pbs-agent/{name}.toml):\n")
    print(lines["agent_profile"])
    print(f"3. as one line in ~{source.address.user}/.ssh/authorized_keys:\n")
    print(lines["authorized_keys"])
    print(f"\nThen try it with `pbs doctor {name}`, and make the first backup with `pbs pull {name}`.")


def _new_name(home: Home, name: str) -> None:
    from pbs.config import load

    if not valid_name(name):
        raise UsageError(
            f"{name!r} cannot be a source's name",
            "1 to 63 letters, digits, `-` or `_`, beginning with a letter or digit; not `all`, not `latest`",
        )
    for known in load(home).sources:
        if name.lower() == known.lower():
            raise UsageError(
                f"there is a source {known} already"
                + ("" if name == known else " (upper and lower case count as the same)"),
                f"`pbs source show {known}` shows it; a change of it belongs into its file, then `pbs reload`",
            )


def _absolute(agent_path: str) -> str:
    # It becomes part of a line of authorized_keys, and of what a shell on the source reads.
    if not re.fullmatch(r"/[A-Za-z0-9/._+@-]+", agent_path):
        raise UsageError(
            "--agent-path must be an absolute path of letters, digits and /._+@-",
            f"for example {AGENT_PATH}",
        )
    return agent_path


async def _ask_host_key(host: str, port: int, *, accept: bool) -> str:
    """The key that answers now, once a person has said that it is the right one."""
    from pbs.tunnel import host_key_of

    if not accept and not sys.stdin.isatty():
        raise UsageError(
            "whose host key to trust must be said",
            "give --host-key KEY, or --accept-host-key to pin the one that answers now",
        )
    key, fingerprint = await host_key_of(host, port)
    if not accept:
        note(f"{host}:{port} shows {key.split()[0]} {fingerprint}")
        note("compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on that machine")
        if not typer.confirm("Is it that one?", default=False, err=True):
            raise UsageError("nothing was added", "give the right key with --host-key")
    return key


def _lines(source: Source, agent_path: str) -> dict[str, str]:
    from pbs.render import render
    from pbs.tunnel import key_line

    return {
        "authorized_keys": key_line(source, agent_path),
        "agent_profile": render("agent-profile.toml.j2"),
        "agent_path": agent_path,
    }


@group.command("remove")
def remove(
    context: typer.Context,
    name: Name,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete its repository and key as well, for good.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --purge.")] = False,
) -> None:
    """Remove a source; its repository stays unless --purge is given."""
    from pbs.clock import SystemClock
    from pbs.config import load
    from pbs.ledger import open_ledger

    home: Home = context.obj
    path = home.sources_d / f"{name}.toml"
    ledger = open_ledger(home.ledger)
    try:
        load(home).source(name)
    except NotFound:
        if not purge or ledger.repository(name) is None:
            raise
    else:
        if not path.exists():
            raise ConfigError(
                f"{name} stands in pbs.toml, which this never edits",
                f"remove [source.{name}] there, then `pbs reload`",
            )
    if purge and not yes and not _sure(name):
        raise UsageError("nothing was removed", "answer with the source's name, or give --yes")
    with _alone(home, name, purge=purge):
        path.unlink(missing_ok=True)
        _reloaded(home)
        _close_endpoint(home, name)
        if purge:
            _purge(home, name)
        ledger.remove_source(name, SystemClock().now(), purge=purge)
    note(f"{name} is removed" + ("" if purge else f"; its repository stays at {home.repository(name)}"))


def _close_endpoint(home: Home, name: str) -> None:
    """End its endpoint: the controller leaves that alone while we hold the run lock."""
    from pbs.endpoint import Supervisor, remove_socket

    with suppress(ServiceDown):
        asyncio.run(Supervisor(home.supervisor_socket, home.etc / "supervisord.d").forget(f"endpoint-{name}"))
    # What listened there leaves it behind.
    remove_socket(home.endpoint_socket(name))


def _sure(name: str) -> bool:
    if not sys.stdin.isatty():
        return False
    answer: str = typer.prompt(f"This deletes every backup of {name}. Type its name to go on", err=True)
    return answer == name


@contextmanager
def _alone(home: Home, name: str, *, purge: bool) -> Iterator[None]:
    """Nobody works on the source, and for a purge nobody reads its repository, before anything is changed."""
    from pbs.files import locked

    with ExitStack() as held:
        try:
            held.enter_context(locked(home.locks / f"{name}.run.lock"))
        except LeaseHeld as error:
            raise LeaseHeld(
                f"a run of {name} goes on; nothing was removed",
                f"`pbs log {name} -f` follows it to its end; then try again",
            ) from error
        try:
            if purge:
                held.enter_context(locked(home.locks / f"{name}.repository.lock"))
        except LeaseHeld as error:
            raise LeaseHeld(
                f"the repository of {name} is in use by a restore or a mount; nothing was removed",
                f"wait for its end (`pbs umount {name}` ends a mount), then try again",
            ) from error
        yield


def _purge(home: Home, name: str) -> None:
    """Delete what belongs to a source alone; the caller holds its locks, and its endpoint is gone."""
    from pbs.files import remove_tree

    doomed = home.backups / f".{name}.removed"
    remove_tree(doomed)
    if home.repository(name).exists():
        # Renamed first: a half-deleted repository never stands in the place of a whole one.
        os.rename(home.repository(name), doomed)  # noqa: PTH104
    home.password(name).unlink(missing_ok=True)
    home.rotation(name).unlink(missing_ok=True)
    home.notify_token(name).unlink(missing_ok=True)
    (home.feeds / f"{name}.xml").unlink(missing_ok=True)
    remove_tree(doomed)
    remove_tree(home.work(name))
    remove_tree(home.quarantine(name))
    remove_tree(home.folders / name)
    if doomed.exists():
        raise PbsError(f"{doomed} could not be deleted whole", "delete it by hand")

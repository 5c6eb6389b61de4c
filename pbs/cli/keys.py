"""Verbs about secrets: recovery sheets, a password from its sheet, a new password."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pbs.cli.show import Json, Name, document, note
from pbs.errors import HomeError, UsageError
from pbs.home import Home

group = typer.Typer(help="Repository passwords and recovery sheets.", no_args_is_help=True)
KeyFile = Annotated[
    str | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="A file that holds the key; `-` = standard input.",
        show_default=False,
    ),
]
# Black on white, whatever the colours of a terminal are: few cameras read a code that is light on dark.
PAPER = "\x1b[30;107m{}\x1b[0m"


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.add_typer(group, name="key")


@group.command("export")
def export(
    context: typer.Context,
    name: Name,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--qr",
            metavar="FILE",
            help="Also write the password as a QR code, into FILE.svg or FILE.png.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what is needed to restore without this server, also as a QR code: keep it somewhere else, and safe."""
    from pbs.errors import NotFound
    from pbs.ledger import open_ledger
    from pbs.ledger.custody import EXPORTED
    from pbs.opening import password_of
    from pbs.render import render

    home: Home = context.obj
    known = open_ledger(home.ledger).repository(name)
    if known is None:
        raise NotFound(f"{name} has no repository", "`pbs source list` names the sources")
    password, path = password_of(home, name), home.root / known.path
    if picture is not None:
        _draw(password, picture)
    if as_json:
        document({"source": name, "repository": str(path), "repository_id": known.id, "password": password})
    else:
        print(
            render(
                "recovery.txt.j2",
                name=name,
                path=path,
                id=known.id,
                key=known.key,
                password=password,
                qr=_code(password),
            )
        )
    _noted(home, EXPORTED, {"key": known.key}, name)


def _draw(password: str | None, path: Path) -> None:
    """Write the password as a picture that is closed to others.

    Raises:
        UsageError: there is no password, or the name says no kind of picture.
    """
    from pbs.files import write
    from pbs.qr import PICTURES
    from pbs.qr import picture as picture_of

    kind = path.suffix.removeprefix(".").lower()
    if kind not in PICTURES:
        raise UsageError(f"{path}: this is no name of a picture", "it ends in .svg or .png")
    if password is None:
        raise UsageError("there is no password to draw", "the repository is not protected by one")
    write(path, picture_of(password, kind))
    note(f"{path} holds the password as a QR code: print it, then remove it")


def _code(password: str | None) -> str:
    """The password as a QR code in text; empty where there is none, or where it cannot be shown."""
    from pbs.qr import drawn

    try:
        lines = drawn(password) if password is not None else []
        "".join(lines).encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return ""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return "\n".join(PAPER.format(line) if colours else line for line in lines)


@group.command("recovery")
def recovery(context: typer.Context, as_json: Json = False) -> None:
    """Print the recovery sheet of the server: with it and the backup disk a lost server can be made anew."""
    from pbs.render import render
    from pbs.servercopy import recovery_key

    home: Home = context.obj
    key = recovery_key(home)
    facts = {"home": str(home.root), "copies": str(home.server_copy), "recovery_key": key}
    if as_json:
        document(facts)
    else:
        print(render("server-recovery.txt.j2", **facts))
    _noted(home, "recovery-shown", {}, None)


@group.command("import")
def import_(context: typer.Context, name: Name, key_file: KeyFile = None) -> None:
    """Take the repository password of a source from its recovery sheet, so that its repository can be adopted."""
    from pbs import keyring, repository
    from pbs.model import valid_name
    from pbs.opening import password_of

    home: Home = context.obj
    if not valid_name(name):
        raise UsageError(f"{name!r} cannot be a source's name", "see the recovery sheet for the name")
    password = secret_given(f"Password of the repository of {name}", key_file)
    if (home.repository(name) / "config").exists():
        asyncio.run(repository.identity(repository.Handle(home.repository(name), password, home.cache)))
    else:
        note(f"no repository lies at {home.repository(name)} yet, so the password could not be tried")
    path = home.password(name)
    if path.exists() and password_of(home, name) != password:
        raise HomeError(f"{path} holds another password", "move that file away first, and keep it")
    keyring.write(path, password.encode() + b"\n")
    note(f"{path} is written; `pbs source add {name} …` or `pbs reload` adopts the repository")


@group.command("rotate")
def rotate(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Give the repository of a source a new password; the one that it has now no longer opens it. Recovery sheets end."""
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger
    from pbs.rotation import rotate as rotated

    home: Home = context.obj
    ledger = open_ledger(home.ledger)
    ledger.require_source(name)
    key = asyncio.run(rotated(home, ledger, name, SystemClock()))
    if as_json:
        document({"source": name, "key": key})
        return
    print(f"{name} has a new repository password (key {key[:8]}); the old one no longer opens the repository")
    note(f"its recovery sheets are void: `pbs key export {name}` prints a new one")


def secret_given(what: str, key_file: str | None) -> str:
    """A secret from a person or a file: never from the command line, where every process could read it."""
    from pbs.files import explained

    if key_file == "-":
        given = sys.stdin.readline()
    elif key_file is not None:
        with explained("read the key", Path(key_file)):
            given = Path(key_file).read_text(encoding="utf-8", errors="replace")
    elif sys.stdin.isatty():
        given = typer.prompt(what, hide_input=True, err=True)
    else:
        raise UsageError("the key must be given", "with --key-file FILE, or --key-file - on standard input")
    if not given.strip() or "\n" in given.strip():
        raise UsageError("this is no key: it is empty or has several lines", "give the one line of the sheet")
    return given.strip()


@group.command("lock")
def lock(context: typer.Context) -> None:
    """Seal the keys folder with a passphrase, or give a sealed one another. Needs the service stopped.

    From then on the service starts only with the passphrase: typed, from --keys-file, or as systemd's credential.
    """
    from pbs import keyring
    from pbs.rebuild import unserved
    from pbs.servercopy import recovery_key

    home: Home = context.obj
    with unserved(home):
        keyring.ready(home.keys)
        keyring.lock(home.keys, _new_passphrase(), recovery_key(home, make=True))
    note(f"{home.keys} is sealed; `pbs serve` asks for the passphrase, and the recovery key opens it as well")


def _new_passphrase() -> str:
    from pbs.keyring import given

    first = given("New passphrase of the keys folder")
    if first is None:
        raise UsageError(
            "a passphrase must be given", "in a terminal, or with --keys-file FILE before the verb"
        )
    if sys.stdin.isatty() and not os.environ.get("PBS_KEYS_FILE") and first != given("Once more"):
        raise UsageError("the two are not the same", "nothing was changed; try again")
    return first


@group.command("unlock")
def unlock(context: typer.Context) -> None:
    """Have the keys folder lie there unsealed again, for good. Needs the service stopped."""
    from pbs import keyring
    from pbs.rebuild import unserved

    home: Home = context.obj
    if not keyring.is_sealed(home.keys):
        raise UsageError(f"{home.keys} is not sealed", "`pbs key lock` seals it")
    with unserved(home):
        keyring.unseal(home.keys)
    note(f"{home.keys} is no longer sealed: whoever reads this disk reads the keys")


@group.command("show")
def show(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A file of etc/keys, such as admin.token.", show_default=False),
    ],
) -> None:
    """Print one file of the keys folder as it is, also of a sealed one."""
    from pbs import keyring
    from pbs.errors import NotFound

    path = context.obj.keys / file
    if path.parent != context.obj.keys or not path.is_file():
        raise NotFound(f"there is no file {file!r} in {context.obj.keys}", "it lies in etc/keys of the home")
    sys.stdout.buffer.write(keyring.read(path))


def _noted(home: Home, word: str, detail: dict[str, object], about: str | None) -> None:
    """Take note that a sheet was printed. The sheet matters more than the note."""
    from pbs.clock import SystemClock
    from pbs.errors import PbsError
    from pbs.ledger import open_ledger

    try:
        open_ledger(home.ledger).note(SystemClock().now(), word, detail, about=about)
    except PbsError as error:
        note(f"the ledger could not take note of this: {error.message}")

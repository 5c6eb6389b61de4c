"""The rooms of the house: who may import whom, and which room is the only door to an outside tool."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
GROUND = {"errors", "model"}
# room: the rooms of ours that it may import (besides itself). `*` = all.
ROOMS: dict[str, set[str]] = {
    "__init__": set(),
    "model": set(),
    "errors": {"model"},
    "text": set(),
    "space": {"text"},
    "clock": set(),
    "files": GROUND | {"removal"},
    "home": GROUND | {"files"},
    "bounds": set(),
    "process": GROUND | {"bounds"},
    "guard": set(),
    "render": set(),
    "qr": set(),
    "program": GROUND | {"bounds", "process"},
    "background": {"errors", "files"},
    "keyring": GROUND | {"files", "home"},
    "removal": set(),
    "scratch": GROUND | {"files"},
    "wake": set(),
    "threads": set(),
    "journal": GROUND | {"clock", "files"},
    "textlog": GROUND | {"clock", "files"},
    "views": GROUND | {"clock", "promises", "retention", "space"},
    "standing": GROUND | {"ledger", "retention", "space", "views"},
    "feed": GROUND | {"clock", "text"},
    "publish": GROUND | {"feed"},
    "config": GROUND | {"files", "home", "text", "render"},
    "ledger": GROUND | {"clock", "files", "space"},
    "repository": GROUND | {"bounds", "clock", "files", "process", "program", "scratch", "text", "threads"},
    "admission": GROUND
    | {"clock", "files", "journal", "ledger", "repository", "runs", "space", "text", "threads"},
    "endpoint": GROUND | {"clock", "files", "home", "process", "render", "text", "threads"},
    "tunnel": GROUND | {"clock", "files", "keyring", "text", "pbs_agent"},
    "restore": GROUND | {"clock", "files", "process", "program", "removal", "scratch", "text", "threads"},
    "legacy": GROUND | {"clock", "files", "process", "program", "removal", "scratch", "text"},
    "retention": GROUND,
    "promises": GROUND
    | {
        "clock",
        "config",
        "endpoint",
        "files",
        "home",
        "ledger",
        "render",
        "schedule",
        "servercopy",
        "space",
        "text",
        "threads",
    },
    "metrics": GROUND | {"clock", "ledger", "promises", "threads"},
    "messages": GROUND
    | {"clock", "config", "home", "keyring", "ledger", "process", "promises", "schedule", "text"},
    "oversight": GROUND | {"clock", "home", "ledger", "messages", "metrics", "promises"},
    "runs": GROUND | {"clock", "retention", "space", "text"},
    "schedule": GROUND | {"text"},
    "telling": GROUND | {"runs", "text"},
    "web": GROUND
    | {"admission", "browse"}
    | {"clock", "files", "home", "journal", "ledger", "lookup", "process", "render", "repository", "restore"}
    | {"keyring", "standing"}
    | {
        "config",
        "messages",
        "metrics",
        "promises",
        "publish",
        "retention",
        "space",
        "telling",
        "text",
        "views",
    },
    "bundle": GROUND | {"files", "render", "repository", "pbs_agent"},
    "opening": GROUND | {"files", "home", "keyring", "ledger", "repository"},
    "assemble": GROUND
    | {
        "admission",
        "clock",
        "endpoint",
        "files",
        "home",
        "journal",
        "ledger",
        "legacy",
        "opening",
        "repository",
        "restore",
        "runs",
        "scratch",
        "space",
        "threads",
        "tunnel",
    },
    "provision": GROUND | {"clock", "files", "home", "keyring", "ledger", "opening", "recover", "repository"},
    "recover": GROUND | {"clock", "home", "ledger", "opening", "repository", "runs"},
    "rebuild": GROUND
    | {
        "keyring",
        "clock",
        "config",
        "files",
        "home",
        "ledger",
        "provision",
        "recover",
        "repository",
        "scratch",
        "servercopy",
    },
    "logs": {"clock", "text"},
    "systemd": GROUND | {"render"},
    "attend": GROUND | {"clock", "endpoint", "home", "process", "systemd"},
    "runlogs": GROUND | {"files"},
    "servercopy": GROUND | {"clock", "files", "home", "keyring", "ledger", "repository", "scratch"},
    "care": GROUND | {"clock", "home", "ledger", "restore", "runlogs", "servercopy", "threads"},
    "browse": GROUND
    | {"clock", "files", "home", "ledger", "lookup", "repository", "restore", "text"}
    | {"views"},
    "lookup": GROUND | {"files", "opening", "home", "ledger", "repository"},
    "carry": GROUND | {"assemble", "files", "provision", "rotation", "runs", "schedule", "threads"},
    "rotation": GROUND
    | {
        "clock",
        "endpoint",
        "files",
        "home",
        "keyring",
        "ledger",
        "opening",
        "repository",
        "restore",
        "scratch",
    },
    "stopping": GROUND | {"clock", "endpoint", "files", "home", "ledger", "text"},
    "keeper": set(),
    "chores": GROUND | {"home", "ledger", "legacy", "retention", "runs"},
    "doctor": {"*"},
    "serve": {"*"},
    "settling": GROUND | {"assemble", "clock", "endpoint", "files", "provision", "rotation"},
    "controller": {"*"},
    "worker": {"*"},
    "demo": GROUND | {"clock", "files", "process", "restore", "text"},
    "cli": {"*"},
}
# An outside library: the rooms that may import it.
DOORS: dict[str, set[str]] = {
    "sqlalchemy": {"ledger"},
    "alembic": {"ledger"},
    "asyncssh": {"tunnel"},
    "aiohttp": {"web"},
    "supervisor": {"endpoint", "keeper"},
    "xmlrpc": {"endpoint"},
    "jinja2": {"render"},
    "feedgen": {"feed"},
    "segno": {"qr"},
    "prometheus_client": {"metrics"},
    "apprise": {"messages"},
    "smtplib": {"messages"},
    "lxml": set(),
    "pydantic": {"config", "web"},
    "typer": {"cli"},
    "rich": {"cli"},
    "cryptography": {"keyring", "repository"},
    "backports": {"repository"},
    "compression": {"repository"},
    "cronsim": {"schedule"},
    "subprocess": {"process", "serve", "attend", "demo"},
    "uvloop": {"worker"},
    "fcntl": {"files", "guard"},
    "sqlite3": {"ledger"},
}
# Names that only one module may call: the doors to time, to processes, to writing.
CALLS: dict[str, set[str]] = {
    "datetime.now": {"clock"},
    "time.time": {"clock"},
    "time.sleep": {"clock", "guard"},
    "asyncio.sleep": {"clock"},
    "asyncio.create_subprocess_exec": {"process"},
    "asyncio.create_subprocess_shell": set(),
    "subprocess.run": set(),
    "subprocess.Popen": {"process"},
    "os.system": set(),
}


def modules(package: str) -> list[Path]:
    """Every module of a package."""
    return sorted((TOP / package).rglob("*.py"))


def room_of(path: Path) -> str:
    """The room that a module belongs to."""
    return path.relative_to(TOP / "pbs").parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported name, wherever it stands, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def faults(path: Path, source: str) -> list[str]:
    """What a module of pbs imports although its room may not."""
    room, found = room_of(path), []
    allowed = ROOMS.get(room)
    if allowed is None:
        return [f"{path.name}: the room {room} is not in the table"]
    for name, line in imported(ast.parse(source)):
        head, *rest = name.split(".")
        if head == "pbs" and rest:
            target = rest[0]
            if target != room and "*" not in allowed and target not in allowed and target != "__version__":
                found.append(f"{path.name}:{line}: {room} may not import {target}")
        elif head == "pbs_agent" and room not in {"tunnel", "bundle"}:
            found.append(f"{path.name}:{line}: {room} may not import the agent")
        elif head in DOORS and room not in DOORS[head]:
            found.append(f"{path.name}:{line}: {head} has its door in {sorted(DOORS[head])}, not in {room}")
    return found


def forbidden_calls(path: Path, source: str) -> list[str]:
    """Calls that only another room may make."""
    room = room_of(path)
    return [
        f"{path.name}:{node.lineno}: {ast.unparse(node.func)} belongs to {sorted(CALLS[ast.unparse(node.func)])}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in CALLS
        and room not in CALLS[ast.unparse(node.func)]
    ]


@pytest.mark.parametrize("path", modules("pbs"), ids=str)
def test_imports_go_one_way(path: Path) -> None:
    """No module imports a room that is not below its own, nor a tool whose door is elsewhere."""
    assert faults(path, path.read_text()) == []


@pytest.mark.parametrize("path", modules("pbs"), ids=str)
def test_time_processes_and_waiting_have_one_door(path: Path) -> None:
    """The clock, children and sleeping are reached through their rooms alone."""
    assert forbidden_calls(path, path.read_text()) == []


def test_a_planted_import_is_found() -> None:
    """The check fails where it must: upwards, through a foreign door, in an unknown room."""
    feed = TOP / "pbs/feed.py"
    assert faults(feed, "from pbs.worker import main\n")
    assert faults(feed, "def f():\n    import aiohttp\n")
    assert faults(TOP / "pbs/nowhere.py", "")
    assert forbidden_calls(feed, "import asyncio\nasync def f():\n    await asyncio.sleep(1)\n")


def test_the_agent_is_standard_library_in_the_grammar_of_3_9() -> None:
    """The agent runs where Python 3.9 and nothing else is installed, and never imports the server."""
    for path in modules("agent"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        assert not any(isinstance(node, ast.Match) for node in ast.walk(tree)), path
        heads = {name.split(".")[0] for name, _ in imported(tree)}
        assert heads <= sys.stdlib_module_names | {"pbs_agent"}, (path, heads)

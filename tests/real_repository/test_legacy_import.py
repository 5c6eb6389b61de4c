"""rdiff-backup trees, made by a real rdiff-backup, imported by a real restic."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pbs.errors import NoRoom, ToolError
from pbs.legacy import LegacyTree, examine, find, import_newest, newest_increment
from pbs.repository import Handle, clear_locks, inventory, listing, snapshot
from pbs.restore import compare, restore
from pbs.restore.compare import EVERYTHING, Rules

from .conftest import restics, until  # type: ignore[import-not-found]

pytestmark = pytest.mark.slow
# rdiff-backup keeps times in whole seconds.
COARSE = Rules(times=False)
DATA = "rdiff-backup-data"


def rdiff(*arguments: str | Path, at: int | None = None) -> None:
    """rdiff-backup, at some time."""
    more = ["--current-time", str(at)] if at is not None else []
    subprocess.run(
        ["rdiff-backup", "--api-version", "201", *more, *arguments], check=True, capture_output=True
    )


def backed_up(source: Path, mirror: Path, first: int = 1_700_000_000) -> Path:
    """Three increments of a source that changes."""
    for number in range(3):
        (source / "changing").write_text(f"state {number}")
        os.utime(source / "changing", (first + number, first + number))  # it looks at whole seconds
        (source / f"only in {number}").write_text("x")
        if number:
            (source / f"only in {number - 1}").unlink()
        rdiff("backup", source, mirror, at=first + 3600 * number)
    return mirror


@pytest.fixture
def source(tree: Path) -> Path:
    """The awkward tree, with folders deeper down that look like rdiff-backup's own."""
    nested = tree / "sub" / DATA
    nested.mkdir()
    (nested / "kept").write_text("kept")
    (tree / "folders" / DATA).write_text("a file of that name")
    return tree


async def imported(handle: Handle, mirror: Path, **more: Any) -> tuple[str, int]:
    """Import; the snapshot's id and the increment's time."""
    found = find(mirror)
    assert found is not None
    identity, moment = await import_newest(
        found,
        handle,
        source="web1",
        run="20261121T054301Z-web1-migrate-abcd",
        work=handle.path.parent / "web1.work",
        **more,
    )
    return identity, int(moment.timestamp())


async def restored(handle: Handle, identity: str, place: Path) -> Path:
    """The snapshot, restored."""
    await restore(
        handle.program(),
        identity,
        place,
        lambda path: listing(handle, identity, path, recursive=True),
        special=True,
    )
    return place


def differing(one: Path, other: Path, rules: Rules = EVERYTHING) -> set[bytes]:
    """The paths that differ between a tree and a restored import of it."""
    return {difference.path.split(b"/")[0] for difference in compare(one, other, rules).first}


def state(path: Path) -> str:
    """Everything about a tree that an import could have changed."""
    return subprocess.run(
        ["find", path, "-printf", "%P %s %m %U %G %T@ %l\\n"], check=True, capture_output=True, text=True,
        encoding="utf-8", errors="surrogateescape",
    ).stdout  # fmt: skip


async def test_newest_state_becomes_a_snapshot(handle: Handle, source: Path, tmp_path: Path) -> None:
    """A30: names, modes, owners, times and contents of the mirror, without rdiff-backup-data but with nested ones."""
    mirror = backed_up(source, tmp_path / "web1")
    before = state(mirror)
    events: list[dict[str, Any]] = []
    identity, moment = await imported(handle, mirror, progress=events.append)
    assert before == state(mirror)
    assert moment == 1_700_000_000 + 2 * 3600
    out = await restored(handle, identity, tmp_path / "out")
    assert differing(mirror, out) == {DATA.encode()}
    assert (out / "sub" / DATA / "kept").read_text() == "kept"
    assert (out / "folders" / DATA).is_file()
    assert (out / "changing").read_text() == "state 2"
    found = await snapshot(handle, identity)
    assert found.host == "web1"
    assert {"source=web1", "run=20261121T054301Z-web1-migrate-abcd", "legacy"} == set(found.tags)
    assert found.claimed is not None
    assert int(found.claimed.timestamp()) == moment
    assert {"progress", "summary"} >= {event["event"] for event in events} >= {"summary"}
    assert not (handle.path.parent / "web1.work").exists()


async def test_a_path_full_of_patterns(handle: Handle, tmp_path: Path) -> None:
    """The mark is left out also where the tree's own path holds pattern characters."""
    source = tmp_path / "src"
    source.mkdir()
    mirror = backed_up(source, tmp_path / "web1").rename(tmp_path / "a*[b]?\\ c")
    identity, _ = await imported(handle, mirror)
    names = [entry.raw async for entry in listing(handle, identity, recursive=True)]
    assert sorted(names) == [b"/changing", b"/only in 2"]


async def test_the_live_run_finds_it_all(handle: Handle, tmp_path: Path) -> None:
    """A33: a backup of the unchanged source right after the import, with it as parent, adds next to nothing."""
    source = tmp_path / "src"
    source.mkdir()
    for number in range(64):
        (source / str(number)).write_bytes(os.urandom(1 << 20))
    mirror = backed_up(source, tmp_path / "web1")
    identity, _ = await imported(handle, mirror)
    lines: list[bytes] = []
    await handle.program(writing=True).run(
        "backup",
        "--json",
        "--parent",
        identity,
        "--ignore-inode",
        "--ignore-ctime",
        ".",
        cwd=source,
        on_line=lines.append,
    )
    assert json.loads(lines[-1])["data_added"] < 0.02 * (64 << 20)


async def test_quoted_names(handle: Handle, tmp_path: Path) -> None:
    """Names that rdiff-backup had to quote come out right, and the mirror stays as it was."""
    source, mirror = tmp_path / "src", tmp_path / "web1"
    (source / "Upper Folder").mkdir(parents=True)
    for name in ("Capital", "lower", "semi;colon", ";065", "Upper Folder/Ü"):
        (source / name).write_text(name)
    rdiff("--chars-to-quote", "A-Z;", "backup", source, mirror, at=1_600_000_000)
    backed_up(source, mirror)
    assert not (mirror / "Capital").exists()
    tree = find(mirror)
    assert tree is not None
    assert examine(tree).quoted
    before = state(mirror / "lower")

    def full() -> None:
        raise NoRoom("the disk is full", "free some space")

    with pytest.raises(NoRoom):  # while it is copied, which nothing else bounds
        await imported(handle, mirror, look=full)
    assert list((handle.path.parent / "web1.work").iterdir()) == []
    assert frozenset() == inventory(handle.path).snapshots
    identity, _ = await imported(handle, mirror)
    assert before == state(mirror / "lower")
    out = await restored(handle, identity, tmp_path / "out")
    assert not differing(source, out, COARSE)
    assert list((handle.path.parent / "web1.work").iterdir()) == []


def interrupted(source: Path, mirror: Path) -> None:
    """Kill a fourth session in its middle."""
    for number in range(300):
        (source / f"more {number}").write_bytes(os.urandom(20_000))
    (source / "changing").write_text("never finished")
    process = subprocess.Popen(
        ["rdiff-backup", "backup", source, mirror],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: len(list(mirror.glob("more *"))) > 5)
    process.kill()
    process.wait()


async def test_interrupted_session(handle: Handle, tmp_path: Path) -> None:
    """F21: after a session that broke off, the last complete state is imported, and the tree is not touched."""
    source = tmp_path / "src"
    source.mkdir()
    mirror = backed_up(source, tmp_path / "web1")
    complete = tmp_path / "complete"
    shutil.copytree(source, complete, symlinks=True)
    interrupted(source, mirror)
    before = state(mirror)
    identity, moment = await imported(handle, mirror)
    assert before == state(mirror)
    assert moment == 1_700_000_000 + 2 * 3600
    out = await restored(handle, identity, tmp_path / "out")
    assert not differing(complete, out, COARSE)
    assert list((handle.path.parent / "web1.work").iterdir()) == []


async def test_a_session_that_runs(handle: Handle, tmp_path: Path) -> None:
    """A tree that rdiff-backup is writing just now is refused."""
    source = tmp_path / "src"
    source.mkdir()
    mirror = backed_up(source, tmp_path / "web1")
    program = tmp_path / "rdiff-backup"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    with subprocess.Popen([program]) as process:
        until(lambda: b"rdiff-backup" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        (mirror / DATA / "current_mirror.2037-01-01T00:00:00Z.data").write_text(f"PID {process.pid}\n")
        with pytest.raises(ToolError, match="writing"):
            await imported(handle, mirror)
        process.kill()
    assert frozenset() == inventory(handle.path).snapshots


IMPORT = """
import asyncio, json, sys
from pathlib import Path
from pbs.legacy import find, import_newest
from pbs.repository import Handle
ask = json.load(sys.stdin)
handle = Handle(Path(ask["repository"]), "a password", Path(ask["cache"]), ask["key"])
def say(event):
    print(json.dumps(event), flush=True)
found, when = asyncio.run(import_newest(find(Path(ask["mirror"])), handle, source="web1", run="r", work=Path(ask["work"]), progress=say))
print(found, flush=True)
"""


def importing(handle: Handle, mirror: Path, user: int | None = None) -> subprocess.Popen[str]:
    """A process of its own that imports."""
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    process = subprocess.Popen(
        [*become, sys.executable, "-c", IMPORT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    ask = {"repository": str(handle.path), "cache": str(handle.cache), "key": handle.key, "mirror": str(mirror),
           "work": str(handle.path.parent / "web1.work")}  # fmt: skip
    process.stdin.write(json.dumps(ask))
    process.stdin.close()
    return process


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for it; what it said."""
    assert process.stdout is not None
    with process.stdout as stream:
        said = stream.read().splitlines()
    process.wait()
    return said


@pytest.mark.parametrize("after", [0.1, 0.4, 0.8])
async def test_killed_import(handle: Handle, tmp_path: Path, after: float) -> None:
    """A31, F21: an import killed at any moment leaves no snapshot, or a whole one; done again, it is right."""
    source = tmp_path / "src"
    source.mkdir()
    for number in range(60):
        (source / str(number)).write_bytes(os.urandom(2 << 20))
    mirror = backed_up(source, tmp_path / "web1")
    before = state(mirror)
    process = importing(handle, mirror)
    until(lambda: restics(handle.path.parent) != b"")
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    finish(process)
    until(lambda: restics(handle.path.parent) == b"")
    assert len(inventory(handle.path).snapshots) <= 1
    clear_locks(handle.path)
    identity, _ = await imported(handle, mirror)
    assert before == state(mirror)
    assert differing(mirror, await restored(handle, identity, tmp_path / "out")) == {DATA.encode()}


async def test_cancelled_import(handle: Handle, tmp_path: Path) -> None:
    """A cancelled import ends its restic and leaves no snapshot and no scratch."""
    source = tmp_path / "src"
    source.mkdir()
    for number in range(100):
        (source / str(number)).write_bytes(os.urandom(2 << 20))
    mirror = backed_up(source, tmp_path / "web1")
    task = asyncio.create_task(imported(handle, mirror))
    while restics(handle.path.parent) == b"":
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert restics(handle.path.parent) == b""
    assert frozenset() == inventory(handle.path).snapshots


async def test_unreadable_files_are_told(handle: Handle, tmp_path: Path) -> None:
    """F23: what cannot be read is named in the events, and the rest is imported."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "secret").write_text("x")
    mirror = backed_up(source, tmp_path / "web1")
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o711)
    subprocess.run(["chown", "-R", "1000:1000", handle.path.parent, mirror], check=True)
    handle.cache.mkdir(exist_ok=True)
    os.chown(handle.cache, 1000, 1000)
    os.chown(mirror / "secret", 0, 0)
    (mirror / "secret").chmod(0)
    process = importing(handle, mirror, user=1000)
    lines = finish(process)
    assert process.returncode == 0
    warnings = [json.loads(line) for line in lines[:-1] if '"warning"' in line]
    assert [(event["path"][-7:], "denied" in event["reason"]) for event in warnings] == [("/secret", True)]
    names = {entry.raw async for entry in listing(handle, lines[-1])}
    assert b"/changing" in names
    assert b"/secret" not in names


async def test_hostile_tree(handle: Handle, tmp_path: Path) -> None:
    """T23: links that lead out, devices, setuid files and a poisoned parent do not get us to follow or to believe."""
    source = tmp_path / "src"
    source.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (source / "way out").symlink_to(tmp_path / "outside")
    os.mknod(source / "dev", 0o20666, os.makedev(1, 3))
    (source / "suid").write_text("x")
    (source / "suid").chmod(0o4755)
    mirror = backed_up(source, tmp_path / "web1")
    poison = tmp_path / "poison"
    shutil.copytree(mirror, poison, symlinks=True, ignore=shutil.ignore_patterns("dev"))
    shutil.move(mirror, tmp_path / "aside")
    shutil.move(poison, mirror)
    times = (tmp_path / "aside" / "changing").stat()
    (mirror / "changing").write_text("poison!")
    os.utime(mirror / "changing", ns=(times.st_atime_ns, times.st_mtime_ns))
    await handle.program(writing=True).run(
        "backup", "--host=web1", "--time=2023-11-14 00:00:00", ".", cwd=mirror
    )
    shutil.rmtree(mirror)
    shutil.move(tmp_path / "aside", mirror)
    identity, _ = await imported(handle, mirror)
    out = await restored(handle, identity, tmp_path / "out")
    assert (out / "way out").is_symlink()
    assert (out / "changing").read_text() == "state 2"
    assert differing(mirror, out) == {DATA.encode()}


async def test_no_remote_ever(handle: Handle, tmp_path: Path) -> None:
    """T22: a path that rdiff-backup would open as a remote host never reaches any program."""
    source = tmp_path / "src"
    source.mkdir()
    backed_up(source, tmp_path / "web1")
    (tmp_path / "web1").rename(tmp_path / "host::web1")
    with pytest.raises(ToolError, match="remote"):
        await import_newest(
            LegacyTree(tmp_path / "host::web1"), handle, source="w", run="r", work=tmp_path / "work"
        )
    with pytest.raises(ToolError):
        newest_increment(tmp_path / "host::web1")

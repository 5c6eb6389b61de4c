"""Trees restored by a real restic, compared byte by byte."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from pbs.errors import NotFound, RestoreError
from pbs.model import RootMeta
from pbs.repository import Entry, Handle, listing, view
from pbs.restore import Progress, Restored, compare, restore
from pbs.restore.compare import Rules

Backup = Callable[..., Awaitable[str]]
pytestmark = pytest.mark.slow
ROOT = os.geteuid() == 0


def below(handle: Handle, snapshot: str) -> Callable[[bytes], AsyncIterator[Entry]]:
    """What a restore is handed to look into the snapshot."""

    def listed(path: bytes) -> AsyncIterator[Entry]:
        return listing(handle, snapshot, path, recursive=True)

    return listed


async def put_back(handle: Handle, snapshot: str, place: Path, **more: object) -> Restored:
    """Restore with everything that a caller would hand in."""
    return await partial(restore, **more)(handle.program(), snapshot, place, below(handle, snapshot))  # type: ignore[arg-type]


async def test_whole_tree(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """A restored tree equals the backed-up one: names, content, modes, owners, times, links, ACLs, devices, its root."""
    made = await backup(handle, tree)
    status = tree.stat()
    root = RootMeta(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
    seen: list[Progress] = []
    done = await put_back(handle, made, tmp_path / "out", special=ROOT, root=root, progress=seen.append)
    found = compare(tree, tmp_path / "out", Rules(root=True))
    assert not found, str(found)
    assert (done.failed, done.specials, done.warnings) == (0, 0, ())
    assert done.bytes > 8 << 20
    assert (tmp_path / "out" / "sparse").stat().st_blocks < (tree / "sparse").stat().st_size // 512
    assert list(handle.path.glob("locks/*")) == []


async def test_devices_only_when_asked(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """T17: no device appears unless asked for, whatever its name; everything else does, and it says how many."""
    made = await backup(handle, tree)
    done = await put_back(handle, made, tmp_path / "out")
    assert done.specials == 2
    missing = {difference.path for difference in compare(tree, tmp_path / "out", Rules(times=False)).first}
    assert {b"null", b"sub/dev\xff?"} == missing
    done = await put_back(handle, made, tmp_path / "part", paths=[b"/sub", b"/null"])
    assert done.specials == 2
    assert not compare(tree / "sub" / "deep", tmp_path / "part" / "sub" / "deep")
    assert not (tmp_path / "part" / "null").exists()


async def test_a_disk_that_is_full(handle: Handle, backup: Backup, tmp_path: Path) -> None:
    """F8: the restore ends at the first name that finds no space, and says so; it does not go on with thousands of others."""
    tree, small = tmp_path / "src", tmp_path / "small"
    tree.mkdir()
    small.mkdir()
    for number in range(40):
        (tree / str(number)).write_bytes(os.urandom(100_000))
    made = await backup(handle, tree)
    if ROOT:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=True)
        try:
            with pytest.raises(RestoreError, match="the disk that it writes to is full"):
                await put_back(handle, made, small / "out", space=False)
        finally:
            subprocess.run(["umount", small], check=True)


async def test_a_name_like_a_device(handle: Handle, backup: Backup, tmp_path: Path) -> None:
    """T17: leaving out a device with pattern characters in its name leaves out no file that the pattern would match."""
    tree = tmp_path / "src"
    tree.mkdir()
    for name in ("a?", "[b]", "c*"):
        if ROOT:
            os.mknod(tree / name, 0o20600, os.makedev(1, 3))
    for name in ("ax", "b", "cc", "c"):
        (tree / name).write_text(name)
    made = await backup(handle, tree)
    await put_back(handle, made, tmp_path / "out")
    assert {"ax", "b", "cc", "c"} == {entry.name for entry in (tmp_path / "out").iterdir()}


async def test_paths(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """Single paths come back at their place, by their exact bytes, several at once, and nothing else does."""
    made = await backup(handle, tree)
    wanted = [
        b"/folders/\xff\xfe",
        b"/*",
        b"/\\",
        b"/new\nline",
        b"/empty",
        b"/!x",
        b"/-r",
        b"/ lead",
        b"/$HOME/"[:-1],
    ]
    await put_back(handle, made, tmp_path / "out", paths=wanted)
    found = {os.fsencode(entry.name) for entry in (tmp_path / "out").iterdir()}
    assert {path.split(b"/")[1] for path in wanted} == found
    assert [os.fsencode(entry.name) for entry in (tmp_path / "out" / "folders").iterdir()] == [b"\xff\xfe"]
    for path in wanted:
        one, other = tree / os.fsdecode(path[1:]), tmp_path / "out" / os.fsdecode(path[1:])
        assert other.is_dir() if one.is_dir() else one.read_bytes() == other.read_bytes()


async def test_paths_that_are_not_there(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """One path that the snapshot does not hold: nothing is written, not even the folder."""
    made = await backup(handle, tree)
    for path in (b"/none", b"relative", b"/../etc", b"/file/none"):
        with pytest.raises(NotFound):
            await put_back(handle, made, tmp_path / "out", paths=[b"/file", path])
    assert not (tmp_path / "out").exists()


async def test_a_folder_that_holds_something(
    handle: Handle, tree: Path, backup: Backup, tmp_path: Path
) -> None:
    """A folder that is not empty is refused; overwriting keeps what is not in the snapshot; only delete removes it."""
    made = await backup(handle, tree)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    (out / "file").write_text("other")
    with pytest.raises(RestoreError, match="not empty"):
        await put_back(handle, made, out)
    assert (out / "file").read_text() == "other"
    await put_back(handle, made, out, overwrite="never")
    assert (out / "file").read_text() == "other"
    await put_back(handle, made, out, overwrite="always", special=ROOT)
    assert {b"mine"} == {difference.path for difference in compare(tree, out, Rules(times=False)).first}
    done = await put_back(handle, made, out, overwrite="if-changed", delete=True, special=ROOT)
    assert done.deleted == 1
    assert not compare(tree, out)
    with pytest.raises(RestoreError, match="overwrite"):
        await put_back(handle, made, out, overwrite="sometimes")
    with pytest.raises(RestoreError, match="no folder"):
        await put_back(handle, made, out / "file")


async def test_too_little_space(handle: Handle, backup: Backup, tmp_path: Path) -> None:
    """A disk that is too small is refused before anything is written; names that share content count once."""
    tree, small = tmp_path / "src", tmp_path / "small"
    tree.mkdir()
    small.mkdir()
    (tree / "big").write_bytes(os.urandom(3 << 20))
    for number in range(5):
        os.link(tree / "big", tree / str(number))
    made = await backup(handle, tree)
    for size, fits in (("2m", False), ("5m", True)):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", small], check=True)
        try:
            if fits:
                assert (await put_back(handle, made, small / "out")).failed == 0
            else:
                with pytest.raises(RestoreError, match="free"):
                    await put_back(handle, made, small / "out")
                assert list(small.iterdir()) == []
                with pytest.raises(RestoreError, match="the disk that it writes to is full"):
                    await put_back(handle, made, small / "out", space=False)
        finally:
            subprocess.run(["umount", small], check=True)


async def test_through_a_view(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """T8, T9: with junk in index and snapshots, a restore through a view works without anybody's help."""
    made = await backup(handle, tree)
    with view(handle.path, tmp_path / "srv" / "web1.work", [made], handle.key) as shown:
        (handle.path / "index" / ("0" * 64)).write_bytes(b"junk")
        (handle.path / "snapshots" / ("0" * 64)).write_bytes(b"junk")
        inside = Handle(shown.path, handle.password, handle.cache, handle.key, (shown.descriptor,))
        await put_back(inside, made, tmp_path / "out", special=ROOT)
    assert not compare(tree, tmp_path / "out")


async def test_damaged_content_is_told(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """What cannot be read back is counted and named; the rest is there."""
    made = await backup(handle, tree)
    pack = max(handle.path.glob("data/*/*"), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(50_000)
        file.write(os.urandom(64))
    done = await put_back(handle, made, tmp_path / "out")
    assert done.failed
    assert done.warnings
    assert (tmp_path / "out" / "sub" / "deep" / "leaf").exists()


async def test_cancel(handle: Handle, backup: Backup, tmp_path: Path) -> None:
    """Cancelling ends restic."""
    (tmp_path / "src").mkdir()
    for number in range(2000):
        (tmp_path / "src" / str(number)).write_bytes(os.urandom(5000))
    made = await backup(handle, tmp_path / "src")
    task = asyncio.create_task(put_back(handle, made, tmp_path / "out"))
    while not (tmp_path / "out").exists():
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


AS_USER = """
import asyncio, json, os, sys
from pathlib import Path
from pbs.repository import Handle, listing
from pbs.restore import restore
ask = json.load(sys.stdin)
async def main():
    handle = Handle(Path(ask["repository"]), "a password", Path(ask["base"]) / "cache", ask["key"])
    below = lambda path: listing(handle, ask["snapshot"], path, recursive=True)
    done = await restore(handle.program(), ask["snapshot"], Path(ask["base"]) / "out", below)
    print(json.dumps([done.failed, done.specials, list(done.warnings)]))
asyncio.run(main())
"""


async def test_as_an_ordinary_user(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """An ordinary user restores everything but owners, and that is no failure."""
    made = await backup(handle, tree)
    subprocess.run(["chmod", "-R", "a+rwX", handle.path], check=True)
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o711)
    base = tmp_path / "user"
    base.mkdir()
    os.chown(base, 1000, 1000)
    ask = {"repository": str(handle.path), "key": handle.key, "base": str(base), "snapshot": made}
    done = subprocess.run(
        ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", sys.executable, "-c", AS_USER],
        input=json.dumps(ask), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, 2, []]
    found = compare(tree, base / "out", Rules(owners=False, modes=False))
    assert {b"null", b"sub/dev\xff?"} == {difference.path for difference in found.first}

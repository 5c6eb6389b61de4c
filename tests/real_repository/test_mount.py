"""Mounts served by a real restic in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pbs.clock import SystemClock
from pbs.errors import NotFound, RestoreError
from pbs.repository import Handle
from pbs.restore import compare, mounted, mounts, sweep, unmount
from pbs.restore.compare import Rules

from .conftest import Server, restics, until  # type: ignore[import-not-found]

Backup = Callable[..., Awaitable[str]]
Serve = Callable[..., Server]
pytestmark = pytest.mark.slow
WHEN = "2026-11-21T05:43:01+00:00"
# Whoever asks while the kernel is still tearing a mount down hears the second.
DEAD = "Transport endpoint is not connected|Software caused connection abort"
# restic's FUSE has no device numbers, no inode numbers that names share, and no ACL by the kernel's door.
SHOWN = Rules(links=False, devices=False, attributes=False)


async def test_mount_shows_the_tree(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """A51: the mounted tree equals what was backed up, byte by byte, by id, by our time and as latest; writes fail."""
    made = await backup(handle, tree)
    server = serve({made: WHEN}, latest=made)
    assert server.ready
    place = server.directory
    for name in (f"ids/{made}", "received/2026-11-21T05-43-01Z", "latest"):
        found = compare(tree, (place / name).resolve(), SHOWN)
        assert not found, str(found)
    assert {"ids", "received", "latest"} == {entry.name for entry in place.iterdir()}
    with pytest.raises(OSError, match="Read-only"):
        (place / "latest" / "new").write_text("x")
    assert os.getxattr(place / "latest" / "file", "user.note") == b"\x00\xff"
    assert server.end() == 0
    assert not place.exists()
    assert list(handle.path.glob("locks/*")) == []


async def test_forged_snapshots_cannot_be_reached(
    handle: Handle, tree: Path, backup: Backup, serve: Serve
) -> None:
    """T7, T16: neither a snapshot of 2099 nor a host name that climbs appears anywhere under a mount, ever."""
    hostile = ("--host", "../../etc", "--tag", "../../up")
    good = await backup(handle, tree, *hostile)
    forged = await backup(handle, tree, *hostile, "--time", "2099-01-01 00:00:00")
    server = serve({good: WHEN}, latest=good)
    later = await backup(handle, tree, *hostile, "--time", "2099-01-01 00:00:01")
    assert [good] == [entry.name for entry in (server.directory / "ids").iterdir()]
    for bad in (forged, later, "latest", "snapshots", forged[:8]):
        assert not (server.directory / "ids" / bad).exists()
    below = {entry for folder, names, _ in os.walk(server.directory) for entry in names if "ids" in folder}
    assert not {"etc", "up", "latest", forged, later} & below
    assert server.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_end_it(handle: Handle, tree: Path, backup: Backup, serve: Serve, number: int) -> None:
    """A51: Ctrl-C, TERM and a closed terminal unmount and leave nothing; a folder that was there stays."""
    made = await backup(handle, tree)
    place = handle.path.parent.parent / "here"
    place.mkdir()
    server = serve({made: WHEN}, place)
    assert server.ready
    assert server.end(number) == 0
    assert list(place.iterdir()) == []
    assert list((handle.path.parent / "web1.work").iterdir()) == []


async def test_it_ends_by_itself(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """A mount for some seconds ends by itself, and is listed until then."""
    made = await backup(handle, tree)
    server = serve({made: WHEN}, seconds=1.0)
    records = server.directory.parent / "records"
    listed = await mounts(records)
    assert [(server.directory, 1, "web1")] == [
        (mount.directory, mount.snapshots, mount.source) for mount in listed
    ]
    assert listed[0].expires is not None
    assert server.wait() == 0
    assert not server.directory.exists()
    assert await mounts(records) == []
    assert list(records.iterdir()) == []


async def test_unmount(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """Somebody else's unmount ends the server; nothing mounted is said to be so."""
    made = await backup(handle, tree)
    server = serve({made: WHEN})
    records = server.directory.parent / "records"
    await unmount(server.directory, records, SystemClock())
    assert server.wait() == 0
    assert not server.directory.exists()
    with pytest.raises(NotFound):
        await unmount(server.directory, records, SystemClock())


async def test_unmount_by_fusermount(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """An unmount that goes past us ends the server as well."""
    server = serve({await backup(handle, tree): WHEN})
    subprocess.run(["fusermount3", "-u", server.directory / "ids"], check=True)
    assert server.wait() == 0
    assert not server.directory.exists()


async def test_a_mount_in_use(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """A mount that somebody looks at is not taken away, unless by force; then it is gone at once."""
    made = await backup(handle, tree)
    server = serve({made: WHEN})
    records = server.directory.parent / "records"
    held = os.open(server.directory / "ids" / made / "file", os.O_RDONLY)
    assert os.read(held, 1)
    with pytest.raises(RestoreError, match="in use"):
        await unmount(server.directory, records, SystemClock())
    assert mounted(server.directory / "ids")
    await unmount(server.directory, records, SystemClock(), force=True)
    # Asked to end while it ends by itself, for want of a mount, it may be ended by that.
    assert server.wait() in (0, -signal.SIGTERM)
    assert not mounted(server.directory / "ids")
    assert not server.directory.exists()
    with pytest.raises(OSError, match=DEAD):
        os.close(held)


@pytest.mark.parametrize("in_use", [False, True])
async def test_killed_server(handle: Handle, tree: Path, backup: Backup, serve: Serve, in_use: bool) -> None:
    """F18: after kill -9 restic ends, and the next call clears what is left and mounts again at the same place."""
    made = await backup(handle, tree)
    server = serve({made: WHEN}, latest=made)
    records = server.directory.parent / "records"
    held = os.open(server.directory / "ids" / made, os.O_RDONLY) if in_use else -1
    server.process.kill()
    server.process.wait()
    until(lambda: restics(handle.path.parent) == b"")
    if held >= 0:
        with suppress(OSError):
            os.close(held)
    again = serve({made: WHEN}, latest=made)
    assert again.ready, again.complaint()
    assert (again.directory / "latest" / "sub" / "deep" / "leaf").read_text() == "x"
    assert len(await mounts(records)) == 1
    assert again.end() == 0
    assert not again.directory.exists()


async def test_killed_restic(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """F18: when restic alone is killed, its server clears the dead mount and ends."""
    server = serve({await backup(handle, tree): WHEN})
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert server.wait() == 0
    assert not mounted(server.directory / "ids")
    assert not server.directory.exists()


async def test_both_killed(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """F18: a dead mount (`Transport endpoint is not connected`) is cleared by the sweep, its view by the next mount."""
    made = await backup(handle, tree)
    server = serve({made: WHEN})
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    server.process.send_signal(signal.SIGSTOP)
    for pid in (int(children[0]), server.process.pid):
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    until(lambda: restics(handle.path.parent) == b"")
    with pytest.raises(OSError, match=DEAD):
        (server.directory / "ids").stat()
    records = server.directory.parent / "records"
    assert [server.directory] == [mount.directory for mount in await sweep(records)]
    assert not server.directory.exists()
    assert serve({made: WHEN}).ready
    assert len(list((handle.path.parent / "web1.work").iterdir())) == 1


async def test_a_place_that_is_taken(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """A folder that holds something, a file, a link, or an open mount is refused, and nothing there changes."""
    made = await backup(handle, tree)
    base = handle.path.parent.parent
    (base / "full").mkdir()
    (base / "full" / "x").touch()
    (base / "file").touch()
    (base / "link").symlink_to("full")
    server = serve({made: WHEN}, base / "open")
    for name, words in (
        ("full", "not empty"),
        ("file", "no folder"),
        ("link", "no folder"),
        ("open", "mounted"),
    ):
        refused = serve({made: WHEN}, base / name)
        assert not refused.ready
        assert words in refused.complaint()
        assert refused.wait() == 1
    assert (base / "full" / "x").exists()
    assert mounted(base / "open" / "ids")
    assert server.end() == 0


async def test_awkward_place(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """A mount works in a folder of any name."""
    made = await backup(handle, tree)
    place = handle.path.parent.parent / os.fsdecode(b"a b\t\\040\n\xff")
    server = serve({made: WHEN}, Path(os.fsdecode(os.fsencode(place).replace(b"\xff", b"f"))), latest=made)
    assert server.ready, server.complaint()
    assert (server.directory / "latest" / "empty").is_dir()
    assert mounted(server.directory / "ids")
    assert server.end() == 0
    assert not server.directory.exists()


async def test_two_received_in_one_second(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """Each snapshot has its own name, also of one second."""
    one, two = await backup(handle, tree), await backup(handle, tree, "--tag", "x")
    server = serve({one: WHEN, two: WHEN})
    links = {entry.name: str(entry.readlink()) for entry in (server.directory / "received").iterdir()}
    assert {"2026-11-21T05-43-01Z", "2026-11-21T05-43-01Z-2"} == set(links)
    assert {f"../ids/{one}", f"../ids/{two}"} == set(links.values())
    assert server.end() == 0


async def test_wrong_password(handle: Handle, tree: Path, backup: Backup, serve: Serve) -> None:
    """A mount that cannot open the repository says why and leaves nothing."""
    made = await backup(handle, tree)
    server = serve({made: WHEN}, password="wrong")
    assert not server.ready
    assert "does not open" in server.complaint()
    assert server.wait() == 1
    assert not server.directory.exists()
    assert list((server.directory.parent / "records").iterdir()) == []


async def test_without_fuse(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """A52: where FUSE is missing, the error names what to use instead."""
    from pbs.restore import points

    for name, missing in (("FUSE_DEVICE", tmp_path / "none"), ("find_tool", lambda *_: None)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(points, name, missing)
            with pytest.raises(RestoreError) as caught:
                points.fusermount()
        assert "pbs restore" in str(caught.value.hint)
        assert "pbs get" in str(caught.value.hint)


async def test_password_of_a_mount_is_nowhere(
    handle: Handle, tree: Path, backup: Backup, serve: Serve
) -> None:
    """Invariant 6: while a mount is served, no process has the password in its arguments or environment."""
    server = serve({await backup(handle, tree): WHEN})
    time.sleep(0.1)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        assert process.name == str(os.getpid()) or b"a password" not in texts
    assert server.end() == 0


async def test_as_an_ordinary_user(
    handle: Handle, tree: Path, backup: Backup, serve: Serve, tmp_path: Path
) -> None:
    """Mounting needs no root; what an ordinary user mounts, root does not see."""
    made = await backup(handle, tree)
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o711)
    subprocess.run(["chown", "-R", "1000:1000", tmp_path], check=True)
    user = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")
    server = serve({made: WHEN}, latest=made, become=user)
    assert server.ready, server.complaint()
    leaf = server.directory / "latest" / "sub" / "deep" / "leaf"
    assert subprocess.run([*user, "cat", leaf], check=True, capture_output=True).stdout == b"x"
    with pytest.raises(PermissionError):
        leaf.read_text()
    assert server.end() == 0
    assert not server.directory.exists()

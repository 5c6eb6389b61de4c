"""What is mounted, the names around a mount, and records that killed servers left."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.errors import NotFound
from pbs.restore import Mount, mounted, mounts, sweep
from pbs.restore.mount import link_names
from pbs.restore.points import mount_points
from pbs.restore.records import keep, lock_of, record_path
from pbs.restore.tree import _normal, pattern

NOW = datetime(2026, 11, 21, 5, 43, 1, tzinfo=UTC)


@given(st.binary(min_size=1, max_size=30).filter(lambda raw: b"\0" not in raw))
def test_mount_points_unescaped(name: bytes) -> None:
    """A mount is found whatever its folder is called."""
    shown = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in name)
    table = b"36 35 98:0 / /" + shown + b" ro,nosuid - fuse restic:x ro\n"
    assert b"/" + name in mount_points(table)


def test_nothing_is_mounted_in_a_plain_folder(tmp_path: Path) -> None:
    """A plain folder, or one that does not exist, is no mount; / is."""
    assert not mounted(tmp_path)
    assert not mounted(tmp_path / "none")


def test_links_are_named_by_our_time() -> None:
    """A mount's names follow the time at which we received a snapshot, numbered where two came in one second."""
    found = link_names({"b" * 64: NOW, "a" * 64: NOW, "c" * 64: NOW + timedelta(hours=1)})
    assert found == {
        "2026-11-21T05-43-01Z": "a" * 64, "2026-11-21T05-43-01Z-2": "b" * 64, "2026-11-21T06-43-01Z": "c" * 64,
    }  # fmt: skip


def mount_at(directory: Path, *, made: bool = True) -> Mount:
    return Mount("web1", directory, 1, NOW, None, 2, made)


async def test_a_record_of_the_dead_is_swept(tmp_path: Path) -> None:
    """F18: what a killed server left is cleared by the next call, its links and folders too."""
    place = tmp_path / "m"
    (place / "ids").mkdir(parents=True)
    (place / "received").mkdir()
    (place / "received" / "x").symlink_to("../ids/x")
    (place / "latest").symlink_to("ids/x")
    (tmp_path / "records").mkdir()
    keep(tmp_path / "records", mount_at(place))
    assert await mounts(tmp_path / "records") == []
    assert not place.exists()
    assert list((tmp_path / "records").iterdir()) == []


async def test_a_sweep_removes_nothing_that_is_not_ours(tmp_path: Path) -> None:
    """A folder that somebody put something into stays, with that."""
    place = tmp_path / "m"
    (place / "ids").mkdir(parents=True)
    (place / "latest").mkdir()
    (place / "received").mkdir()
    (place / "received" / "mine").write_text("x")
    (tmp_path / "records").mkdir()
    keep(tmp_path / "records", mount_at(place))
    assert [mount_at(place)] == await sweep(tmp_path / "records")
    assert (place / "received" / "mine").read_text() == "x"
    assert (place / "latest").is_dir()


async def test_a_living_mount_is_listed(tmp_path: Path) -> None:
    """A mount whose lock is held is listed and left alone."""
    keep(tmp_path, mount_at(tmp_path / "m"))
    lock = lock_of(record_path(tmp_path, tmp_path / "m"))
    assert lock.acquire()
    try:
        assert [mount_at(tmp_path / "m")] == await mounts(tmp_path)
    finally:
        lock.release()


async def test_junk_records_go(tmp_path: Path) -> None:
    """A torn record stops nothing."""
    for number, junk in enumerate([b"", b"{}", b"[1]", b'{"expires": 5}', os.urandom(20)]):
        (tmp_path / f"{number}.json").write_bytes(junk)
    assert await mounts(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [b"", b"a", b"/a/../b", b"/..", b"/a\0b"])
def test_paths_that_lead_elsewhere(path: bytes) -> None:
    """A path begins with / and never leads upwards."""
    with pytest.raises(NotFound):
        _normal(path)


def test_paths_are_tidied_and_escaped() -> None:
    """A path is matched literally, whatever it holds."""
    assert _normal(b"//a/./b/") == b"/a/b"
    assert pattern(b"/a*[b]?\\\xff") == b"/a\\*\\[b]\\?\\\\\xff"

"""What runs restore: whole under its name or not there at all, and never removed once it has its name."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from pbs.clock import SystemClock
from pbs.doctor import restored
from pbs.home import Home
from pbs.removal import remove
from pbs.restore import clear_halves, halves, landing

CLOCK = SystemClock()
# Deeper than Python calls itself, and than a path may be long.
LEVELS = 1500


def dig(folder: Path) -> None:
    """A tree as a hostile source may have one: too deep, closed, with links out of it."""
    (folder / "closed").mkdir()
    (folder / "closed/file").write_text("x")
    (folder / "closed").chmod(0)
    (folder / "out").symlink_to(folder.parent / "precious")
    (folder / "9").mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(LEVELS):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)


async def test_a_folder_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    """While the block goes on there is none of this name; afterwards it is there, and nothing else is."""
    async with landing(tmp_path / "restored", "run", CLOCK) as half:
        (half.path / "file").write_text("x")
        assert not (tmp_path / "restored/run").exists()
        clear_halves(tmp_path / "restored", CLOCK)
        assert [half.path] == halves(tmp_path / "restored")
    assert ["run"] == os.listdir(tmp_path / "restored")
    assert "x" == (tmp_path / "restored/run/file").read_text()


async def test_what_broke_off_leaves_nothing(tmp_path: Path) -> None:
    """However deep and closed the half tree is; what its links point to stays, and the failure is the one that is told."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("stays")
    with pytest.raises(ValueError, match="broke"):
        async with landing(tmp_path, "run", CLOCK) as half:
            dig(half.path)
            raise ValueError("broke")
    assert ["precious"] == os.listdir(tmp_path)
    assert "stays" == (tmp_path / "precious/file").read_text()


def test_what_the_dead_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    """Half trees that nobody holds go; folders with the name of a run, or any other, stay."""
    for name in ("half-01234567", "20260102T030405Z-web-restore-00000000", "half-restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    clear_halves(tmp_path, CLOCK)
    assert {"20260102T030405Z-web-restore-00000000", "half-restored"} == set(os.listdir(tmp_path))


def test_a_removal_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Stopped after each few names, it comes to its end all the same."""
    place = tmp_path / "tree"
    place.mkdir()
    dig(place)
    steps = iter(range(10 * LEVELS))
    calls = 0
    while not remove(place, lambda: next(steps) % 500 == 499):
        calls += 1
    assert calls > 1
    assert not place.exists()
    assert remove(place)
    place.symlink_to(tmp_path / "precious")
    (tmp_path / "precious").mkdir(mode=0o750)
    with pytest.raises(NotADirectoryError):
        remove(place)
    assert 0o750 == (tmp_path / "precious").stat().st_mode & 0o777


def test_what_was_restored_and_forgotten_is_named(tmp_path: Path) -> None:
    """Doctor counts the folders that nobody took away, and warns once one of them is a week old."""
    home, now = Home.at(tmp_path), CLOCK.now()
    assert [] == restored(home, now)
    (home.restored / "run").mkdir(parents=True)
    os.utime(home.restored / "run", (0, 0))
    (fresh,) = restored(home, now)
    assert ("ok", "1 restored folder(s)") == (fresh.state, fresh.detail[:20])
    (old,) = restored(home, now + timedelta(days=8))
    assert ("warning", True) == (old.state, "remove them" in (old.advice or ""))

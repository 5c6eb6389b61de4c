"""Where a home puts its sockets: never into a folder that others use, never where a program would misread the path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs.background import MOST_BYTES, in_background
from pbs.cli.main import run
from pbs.clock import SystemClock, pause
from pbs.errors import HomeError, PbsError
from pbs.home import Home
from pbs.serve import prepare


def test_a_folder_that_others_use_is_never_closed_to_them(tmp_path: Path) -> None:
    """A run_dir that is open and holds somebody else's files is refused, and keeps its mode."""
    shared = tmp_path / "run"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "dbus").touch()
    with pytest.raises(HomeError, match="dbus"):
        Home.at(tmp_path / "home", str(shared)).make()
    assert shared.stat().st_mode & 0o777 == 0o755


def test_a_run_dir_that_is_ours_alone_is_closed_to_others(tmp_path: Path) -> None:
    """An empty folder, such as systemd makes one, becomes private."""
    own = tmp_path / "run"
    own.mkdir()
    own.chmod(0o755)
    Home.at(tmp_path / "home", str(own)).make()
    assert own.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["a ;b", "a #b", "a%b", "a[1]", "a\nb"])
def test_a_home_that_supervisord_would_misread_is_refused_before_anything_starts(name: str) -> None:
    """Comment signs, expansions and line ends in the path of a home never reach supervisord's configuration."""
    # A short folder: a path that is too long is another refusal.
    with tempfile.TemporaryDirectory(prefix="pbs-", dir="/tmp") as folder:
        home = Path(folder, name)
        assert run(["init", str(home)]) == 0
        with pytest.raises(HomeError, match="supervisord"):
            prepare(home)


def test_what_goes_wrong_after_the_start_goes_to_the_log_alone(tmp_path: Path) -> None:
    """A piece of work that fails once it has started well writes into no other file than its log."""
    other, log = tmp_path / "other", tmp_path / "log"

    def act(ready: object) -> int:
        assert callable(ready)
        ready()
        # Takes the lowest free numbers, as sockets and databases do.
        files = [os.open(other, os.O_WRONLY | os.O_CREAT, 0o600) for _ in range(20)]
        raise PbsError(f"too late for {len(files)} files")

    in_background(act, log)
    deadline = SystemClock().monotonic() + 10
    while not (log.exists() and "too late" in log.read_text()) and SystemClock().monotonic() < deadline:
        pause(0.01)
    assert "too late for 20 files" in log.read_text()
    assert other.read_bytes() == b""


def test_what_goes_on_in_the_background_fills_no_disk(tmp_path: Path) -> None:
    """A log that has grown is set aside when something begins anew, and one older one is kept."""
    log, older = tmp_path / "log", tmp_path / "log.1"
    older.write_text("long ago")
    for size in (MOST_BYTES - 1, MOST_BYTES):
        log.write_bytes(b"x" * size)
        in_background(ready, log)
        assert older.read_text() == ("long ago" if size < MOST_BYTES else "x" * size)
    assert log.read_text() == ""


def ready(say: Callable[[], None]) -> int:
    """Begin well, and end."""
    say()
    return 0

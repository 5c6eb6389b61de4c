"""What a repository consists of, by names; private folders that end with their holder."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from pbs.files import lock_folder
from pbs.repository import clear_locks, clear_uploads, inventory, packs
from pbs.scratch import scratch, sweep

ID = "ab" * 32


def filled(path: Path) -> Path:
    """A folder that looks like a repository."""
    for folder in ("data/ab", "index", "keys", "locks", "snapshots"):
        (path / folder).mkdir(parents=True)
    (path / "config").write_bytes(b"x")
    for folder in ("data/ab", "index", "keys", "locks", "snapshots"):
        (path / folder / ID).write_bytes(b"12345")
    return path


def test_names_are_listed(tmp_path: Path) -> None:
    """Each kind of file is found under its name."""
    found = inventory(filled(tmp_path))
    assert found.config
    assert {ID} == found.snapshots == found.keys == found.index == found.locks
    assert found.strays == ()
    assert packs(tmp_path) == {ID: 5}


def test_junk_is_named_as_stray(tmp_path: Path) -> None:
    """T8, T9: whatever else lies there is a stray, whatever its name and kind."""
    filled(tmp_path)
    (tmp_path / "snapshots" / "junk").write_bytes(b"")
    (tmp_path / "index" / ("ab" * 31 + "AB")).write_bytes(b"")
    (tmp_path / "keys" / ("cd" * 32)).mkdir()
    (tmp_path / "snapshots" / ("ef" * 32)).symlink_to("/etc/passwd")
    (tmp_path / os.fsdecode(b"sub\xff")).mkdir()
    (tmp_path / "data" / "zz").mkdir()
    found = inventory(tmp_path)
    assert {ID} == found.snapshots == found.keys == found.index
    assert len(found.strays) == 5
    assert all(stray.encode() for stray in found.strays)


def test_nothing_there_is_empty(tmp_path: Path) -> None:
    """A repository that is missing has no names, and is no error here."""
    found = inventory(tmp_path / "none")
    assert not found.config
    assert frozenset() == found.snapshots
    assert packs(tmp_path / "none") == {}


def test_locks_are_cleared(tmp_path: Path) -> None:
    """T10: locks of a source go, junk among them too, and nothing else does."""
    filled(tmp_path)
    (tmp_path / "locks" / "junk").write_bytes(b"")
    assert clear_locks(tmp_path) == 2
    assert list((tmp_path / "locks").iterdir()) == []
    assert {ID} == inventory(tmp_path).snapshots
    assert clear_locks(tmp_path / "none") == 0


def test_torn_uploads_are_cleared_wherever_something_came(tmp_path: Path) -> None:
    """A pack folder that was looked through and has its time still is passed over; any other is looked through."""
    filled(tmp_path)
    torn = [tmp_path / folder / f"{ID}.rest-server-temp123" for folder in ("data/ab", "index")]
    for path in torn:
        path.write_bytes(b"half")
    then = (tmp_path / "data/ab").stat().st_mtime_ns
    assert clear_uploads(tmp_path, {"ab": then}) == 1
    assert [True, False] == [path.exists() for path in torn]
    assert clear_uploads(tmp_path, {"ab": then - 1}) == 1
    torn[0].write_bytes(b"half")
    assert clear_uploads(tmp_path) == 1
    assert {ID: 5} == packs(tmp_path)


def test_scratch_goes_with_its_block(tmp_path: Path) -> None:
    """A scratch folder is private, and gone after its block."""
    with scratch(tmp_path / "work", "view-") as made:
        assert made.path.stat().st_mode & 0o777 == 0o700
        (made.path / "file").write_bytes(b"x")
    assert list((tmp_path / "work").iterdir()) == []


def test_scratch_of_the_living_stays(tmp_path: Path) -> None:
    """The sweep takes what killed holders left, and never what somebody holds."""
    dead = tmp_path / "view-00000000"
    dead.mkdir()
    with scratch(tmp_path, "view-") as made:
        assert not dead.exists()
        sweep(tmp_path, "view-")
        assert made.path.exists()
    (tmp_path / "view-notours").mkdir()
    (tmp_path / "import-00000000").mkdir()
    sweep(tmp_path, "view-")
    assert {"view-notours", "import-00000000"} == {entry.name for entry in tmp_path.iterdir()}


def hold(path: Path) -> None:
    """Make a scratch folder and die in it."""
    with scratch(path, "view-"):
        os._exit(9)


def test_scratch_of_the_dead_goes(tmp_path: Path) -> None:
    """What a process left that was killed inside its block is removed by the next one."""
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    process.start()
    process.join()
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path, "view-")
    assert list(tmp_path.iterdir()) == []


def test_a_child_keeps_the_scratch(tmp_path: Path) -> None:
    """A descriptor that a child inherited keeps the folder when the holder is gone."""
    folder = tmp_path / "view-00000000"
    folder.mkdir()
    descriptor = lock_folder(folder)
    assert descriptor is not None
    sweep(tmp_path, "view-")
    assert folder.exists()
    os.close(descriptor)
    sweep(tmp_path, "view-")
    assert not folder.exists()

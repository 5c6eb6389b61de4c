"""The comparison of two trees: it must notice everything that a restore could get wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs.restore.compare import MOST_DIFFERENCES, Rules, compare


def made(path: Path) -> Path:
    """A small tree with one of each."""
    (path / "folder").mkdir(parents=True)
    (path / "file").write_bytes(b"abc" * 1000)
    os.link(path / "file", path / "same")
    (path / "folder" / os.fsdecode(b"\xff\n")).write_bytes(b"x")
    (path / "link").symlink_to("a//b")
    os.mkfifo(path / "fifo")
    return path


def copied(path: Path) -> tuple[Path, Path]:
    """The tree and a true copy of it."""
    made(path / "left")
    subprocess.run(["cp", "-a", "--", path / "left", path / "right"], check=True)
    return path / "left", path / "right"


def test_a_true_copy_has_no_differences(tmp_path: Path) -> None:
    """Equal trees are equal, and it says how much it compared."""
    found = compare(*copied(tmp_path))
    assert not found
    assert found.names == 7 - 1
    assert found.content_bytes == 6001
    assert str(found) == "no differences"


def relink(right: Path) -> None:
    (right / "same").unlink()
    shutil.copy2(right / "file", right / "same")


def retarget(right: Path) -> None:
    (right / "link").unlink()
    (right / "link").symlink_to("a/b")


def patch(right: Path) -> None:
    times = (right / "file").stat()
    with (right / "file").open("r+b") as file:
        file.seek(2999)
        file.write(b"!")
    os.utime(right / "file", ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (patch, "content"),
        (relink, "is one file with"),
        (retarget, "target"),
        (lambda right: (right / "file").write_bytes(b""), "size"),
        (lambda right: (right / "file").chmod(0o600), "mode"),
        (lambda right: os.utime(right / "file", ns=(1, 1)), "mtime"),
        (lambda right: os.utime(right / "link", ns=(1, 1), follow_symlinks=False), "mtime"),
        (lambda right: os.setxattr(right / "file", "user.x", b"1"), "extended attributes"),
        (lambda right: (right / "more").touch(), "is there"),
        (lambda right: (right / "fifo").unlink(), "is there"),
        (lambda right: ((right / "fifo").unlink(), (right / "fifo").touch()), "type"),
    ],
)
def test_every_change_is_noticed(tmp_path: Path, change: Callable[[Path], object], what: str) -> None:
    """No single change of content or metadata goes unnoticed."""
    left, right = copied(tmp_path)
    change(right)
    assert what in {difference.what for difference in compare(left, right).first}


def test_the_folder_itself(tmp_path: Path) -> None:
    """The root's own metadata is compared where asked."""
    left, right = copied(tmp_path)
    right.chmod(0o711)
    assert not compare(left, right)
    assert compare(left, right, Rules(root=True))


def test_the_list_is_bounded(tmp_path: Path) -> None:
    """However much differs, the list stays short and the count right."""
    (tmp_path / "left").mkdir()
    (tmp_path / "right").mkdir()
    for number in range(MOST_DIFFERENCES + 10):
        (tmp_path / "left" / str(number)).touch()
    found = compare(tmp_path / "left", tmp_path / "right")
    assert (found.total, len(found.first)) == (MOST_DIFFERENCES + 10, MOST_DIFFERENCES)

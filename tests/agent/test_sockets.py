"""The socket folder: ours alone or refused; only dead sockets are ever removed."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from pbs_agent import sockets
from pbs_agent.words import StopWord

if TYPE_CHECKING:
    from pathlib import Path


def test_made_private(root: Path) -> None:
    """The folder is made 0700 with what lies above it, and found again."""
    wanted = str(root / "a" / "s")
    assert sockets.folder(wanted) == sockets.folder(wanted) == wanted
    assert {p.stat().st_mode & 0o777 for p in (root / "a" / "s", root / "a")} == {0o700}


def test_open_folder(root: Path) -> None:
    """A folder that others can enter is refused with the remedy."""
    (root / "s").mkdir()
    (root / "s").chmod(0o755)
    with pytest.raises(StopWord, match="chmod 0700"):
        sockets.folder(str(root / "s"))


def test_symlink(root: Path) -> None:
    """A symbolic link is refused, wherever it leads."""
    (root / "real").mkdir(mode=0o700)
    (root / "s").symlink_to(root / "real")
    with pytest.raises(StopWord, match="not a folder"):
        sockets.folder(str(root / "s"))


def test_dangling_symlink(root: Path) -> None:
    """A link to nowhere is not followed into making a folder there."""
    (root / "s").symlink_to(root / "elsewhere")
    with pytest.raises(StopWord, match="not a folder"):
        sockets.folder(str(root / "s"))
    assert not (root / "elsewhere").exists()


def test_of_another_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another user made first is refused."""
    (root / "s").mkdir(mode=0o700)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(StopWord, match="belongs to another user"):
        sockets.folder(str(root / "s"))


def test_below_a_folder_of_all(root: Path) -> None:
    """Where every user may rename the folder it is refused; /tmp with its sticky bit is fine."""
    (root / "open").mkdir()
    (root / "open").chmod(0o777)
    with pytest.raises(StopWord, match="every user may rename"):
        sockets.folder(str(root / "open" / "s"))
    (root / "open").chmod(0o1777)
    assert sockets.folder(str(root / "open" / "s"))


@pytest.mark.parametrize("name", ["x" * 100, "a b", "a:b", "a%b", "a?b"])
def test_names(root: Path, name: str) -> None:
    """What is too long for a socket or means something in a URL is refused before it is made."""
    with pytest.raises(StopWord, match=r"longer|character"):
        sockets.folder(str(root / name))
    assert not (root / name).exists()


def test_clear(root: Path) -> None:
    """Dead sockets go; living ones, files, links and folders stay."""
    (root / "file").write_text("x")
    (root / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(root / "dead"))
    (root / "link").symlink_to(root / "dead")
    with socket.socket(socket.AF_UNIX) as kept:
        kept.bind(str(root / "kept"))
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(root / "living"))
        living.listen()
        assert sockets.clear(str(root), keep=str(root / "kept")) == 1
    assert sorted(f.name for f in root.iterdir()) == ["file", "folder", "kept", "link", "living"]


def test_clear_spares_a_socket_that_is_being_born(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between bind and listen a socket refuses too; a second look spares it."""
    with socket.socket(socket.AF_UNIX) as young:
        young.bind(str(root / "young"))
        monkeypatch.setattr(sockets.time, "sleep", lambda _seconds: young.listen())
        assert sockets.clear(str(root)) == 0


def test_many_leftovers(root: Path) -> None:
    """Fifty aborted runs leave nothing after one clear."""
    for number in range(50):
        with socket.socket(socket.AF_UNIX) as link:
            link.bind(str(root / f"{number}.sock"))
    assert sockets.clear(str(root)) == 50
    assert list(root.iterdir()) == []

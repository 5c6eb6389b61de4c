"""What an rdiff-backup tree says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.errors import ToolError
from pbs.legacy import LegacyTree, examine, find, newest_increment, root_meta
from pbs.legacy.trees import session_time

WHEN = datetime(2026, 11, 21, 5, 43, 1, tzinfo=UTC)


def tree(path: Path, *sessions: str) -> Path:
    """A folder that looks like a legacy tree."""
    (path / "rdiff-backup-data").mkdir(parents=True)
    (path / "rdiff-backup-data" / "chars_to_quote").touch()
    for session in sessions:
        (path / "rdiff-backup-data" / f"current_mirror.{session}.data").write_text("PID 1\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T05:43:01Z",
        "2026-11-21T06:43:01+01:00",
        "2026-11-21T00-13-01-05-30",
        "2026-11-21T06-43-01+01-00",
    ],
)
def test_session_times(text: str) -> None:
    """The newest increment's time is read in every spelling that rdiff-backup has used."""
    assert session_time(f"current_mirror.{text}.data") == WHEN


@given(st.text())
def test_other_names_are_no_sessions(text: str) -> None:
    """T23: any other name is none, and never an error."""
    session_time(text)
    assert session_time(f"current_mirror.{text}") is None


def test_a_tree_is_found(tmp_path: Path) -> None:
    """A folder with rdiff-backup-data directly inside is a legacy tree."""
    assert find(tree(tmp_path / "web1", "2026-11-21T05:43:01Z")) == LegacyTree(tmp_path / "web1")
    assert newest_increment(tmp_path / "web1") == WHEN
    assert root_meta(LegacyTree(tmp_path / "web1")).mode == (tmp_path / "web1").stat().st_mode & 0o7777


def test_what_is_no_tree(tmp_path: Path) -> None:
    """T23: a link to a tree, a link inside, a file, a nested mark, or nothing is none."""
    tree(tmp_path / "real", "2026-11-21T05:43:01Z")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "rdiff-backup-data").symlink_to(tmp_path / "real" / "rdiff-backup-data")
    (tmp_path / "file").touch()
    tree(tmp_path / "nested" / "sub", "2026-11-21T05:43:01Z")
    for name in ("link", "inside", "file", "nested", "none"):
        assert find(tmp_path / name) is None
    with pytest.raises(ToolError):
        newest_increment(tmp_path / "none")


def test_an_interrupted_session_does_not_count(tmp_path: Path) -> None:
    """F21: of two newest sessions the older is the complete one."""
    state = examine(LegacyTree(tree(tmp_path / "a", "2026-11-21T05:43:01Z", "2026-11-21T06:00:00Z")))
    assert (state.newest, state.interrupted, state.quoted) == (WHEN, True, False)


@pytest.mark.parametrize(
    "sessions", [(), ("2026-11-21T05:43:01Z", "2026-11-21T05:43:02Z", "2026-11-21T05:43:03Z")]
)
def test_a_damaged_tree_says_so(tmp_path: Path, sessions: tuple[str, ...]) -> None:
    """A tree that does not say what its newest state is, is refused with what to do."""
    with pytest.raises(ToolError) as caught:
        examine(LegacyTree(tree(tmp_path / "a", *sessions)))
    assert caught.value.hint


def test_quoted_names_are_noticed(tmp_path: Path) -> None:
    """Names that are not the real ones are noticed, and names too long for the disk."""
    one, other = tree(tmp_path / "a", "2026-11-21T05:43:01Z"), tree(tmp_path / "b", "2026-11-21T05:43:01Z")
    (one / "rdiff-backup-data" / "chars_to_quote").write_text("A-Z;")
    (other / "rdiff-backup-data" / "long_filename_data").mkdir()
    assert examine(LegacyTree(one)).quoted
    assert not examine(LegacyTree(other)).quoted
    (other / "rdiff-backup-data" / "long_filename_data" / "1").touch()
    assert examine(LegacyTree(other)).quoted


def test_remote_paths_are_refused(tmp_path: Path) -> None:
    """T22: a path that rdiff-backup would take for a remote host never reaches it."""
    with pytest.raises(ToolError, match="remote"):
        examine(LegacyTree(tree(tmp_path / "host::path", "2026-11-21T05:43:01Z")))

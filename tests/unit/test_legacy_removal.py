"""A legacy tree is removed whole or goes on to be removed; what is not exactly that tree is never touched."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pbs.errors import ToolError
from pbs.legacy import half_gone, obstacle, remove, set_aside, size_of
from pbs.model import Keeping, Kind, Outcome, Receipt, ReceiptState, Verified
from pbs.retention import Upkeep, due, folders_to_read, oldest_unread, share_to_read, tree_stays

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def tree(root: Path) -> Path:
    """A tree with everything that is awkward to remove."""
    made = root / "web"
    (made / "rdiff-backup-data/increments").mkdir(parents=True)
    deep = made
    for level in range(200):
        deep = deep / f"d{level}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("x" * 5000)
    os.link(deep / "bottom", made / "hard")
    (made / "0").mkdir()
    (made / "1").write_text("named like ours")
    (made / "out").symlink_to(root.parent / "precious")
    (made / "closed").mkdir()
    (made / "closed/file").write_text("x")
    (made / "closed").chmod(0)
    (made / os.fsdecode(b"odd \xff\n")).write_text("x")
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The backup root, beside something that must stay."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("stays")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def stopping_after(calls: int) -> Callable[[], bool]:
    """Say stop from the n-th time on."""
    counter = itertools.count(1)
    return lambda: next(counter) >= calls


def test_a_tree_goes_whole_and_nothing_else(root: Path) -> None:
    """However deep, closed or oddly named: all of it goes, and nothing that a link of it points to."""
    made, work = tree(root), root / "web.work"
    assert obstacle(made, root) is None
    assert size_of(made) > 4096
    set_aside(made, root, work)
    assert not made.exists()
    assert half_gone(work)
    assert remove(work, lambda: False)
    assert not half_gone(work)
    assert list(work.iterdir()) == []
    assert (root.parent / "precious/file").read_text() == "stays"


def test_a_removal_that_is_broken_off_anywhere_goes_on(root: Path) -> None:
    """Stopped after every few steps, each call goes on where the last one stopped, until nothing is left."""
    made, work = tree(root), root / "web.work"
    set_aside(made, root, work)
    rounds = 0
    while not remove(work, stopping_after(7)):
        rounds += 1
        assert rounds < 2000
    assert rounds > 10
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("odd", ["link", "no tree", "elsewhere", "file", "mount"])
def test_what_is_odd_is_never_touched(root: Path, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A35: a link, a folder that rdiff-backup did not write, one that lies elsewhere, one with a mount in it: they stay."""
    made = root / "web"
    match odd:
        case "link":
            tree(root).rename(root.parent / "real")
            made.symlink_to(root.parent / "real")
        case "no tree":
            made.mkdir()
        case "elsewhere":
            made = tree(root)
            (root.parent / "other").mkdir()
            made = made.rename(root.parent / "other/web")
        case "file":
            made.write_text("x")
        case "mount":
            made = tree(root)
            table = root.parent / "mounts"
            table.write_text(f"1 2 0:1 / {made}/0 rw - ext4 /dev/x rw\n")
            monkeypatch.setattr("pbs.legacy.removing.MOUNTS", table)
    assert obstacle(made, root)
    with pytest.raises(ToolError) as caught:
        set_aside(made, root, root / "web.work")
    assert caught.value.hint
    assert made.exists()
    assert not half_gone(root / "web.work")


def test_a_real_file_system_below_is_seen(root: Path) -> None:
    """Something that is mounted in the tree keeps it where it is."""
    if os.geteuid() != 0:
        assert obstacle(tree(root), root) is None
        return
    made = tree(root)
    subprocess.run(["mount", "-t", "tmpfs", "none", made / "0"], check=True)
    try:
        assert obstacle(made, root) == "another file system is mounted there"
    finally:
        subprocess.run(["umount", made / "0"], check=True)


def receipt(number: int, **more: Any) -> Receipt:
    """A good snapshot, received on that day."""
    moment = NOW + number * DAY
    values = {"state": ReceiptState.ADMITTED, "outcome": Outcome.OK, "run": "x-web-pull-1", **more}
    return Receipt(id=f"{number:064x}", source="web", received=moment, time=moment, claimed=None, **values)


IMPORT = receipt(0, run="20260101T000000Z-web-migrate-aa", state=ReceiptState.LEGACY, verified=Verified.FULL)
GONE = receipt(1, state=ReceiptState.FORGOTTEN)
GOOD = [receipt(2), receipt(3), receipt(4)]


@pytest.mark.parametrize(
    ("receipts", "check", "wanted", "stays"),
    [
        ([IMPORT, GONE, *GOOD], None, True, None),
        ([IMPORT, GONE, *GOOD], Outcome.OK, True, None),
        ([IMPORT, GONE, *GOOD], None, False, "keep"),
        ([IMPORT, *GOOD], None, True, "no snapshot yet"),
        ([GONE, *GOOD], None, True, "never imported"),
        ([IMPORT, GONE, *GOOD[:2]], None, True, "only 2 of 3"),
        ([IMPORT, GONE, *GOOD], Outcome.FAILED, True, "last check"),
        ([receipt(0, run=IMPORT.run, state=ReceiptState.LEGACY), GONE, *GOOD], None, True, "not verified"),
        (
            [receipt(0, run=IMPORT.run, verified=Verified.FULL, outcome=Outcome.PARTIAL), GONE, *GOOD],
            None,
            True,
            "whole",
        ),
        (
            [receipt(0, run=IMPORT.run, verified=Verified.FULL, state=ReceiptState.FORGOTTEN), *GOOD],
            None,
            True,
            None,
        ),
    ],
)
def test_each_guard_of_a_tree(
    receipts: list[Receipt], check: Outcome | None, wanted: bool, stays: str | None
) -> None:
    """A34, A35: the tree goes only after a removal, with a verified import and newer good snapshots, after a good check."""
    reason = tree_stays(receipts, (), check, 3, wanted=wanted)
    assert (reason is None) is (stays is None)
    assert stays is None or stays in str(reason)
    if stays is None:
        assert tree_stays(receipts, {GOOD[1].id}, check, 3, wanted=wanted)


def test_everything_is_read_within_its_time() -> None:
    """F14: read once a day, or now and then, or after a long silence: no byte is older than `verify` when a day has passed."""
    within = 30 * DAY
    for pace in (1, 3, 10):
        read: dict[str, datetime] = {}
        for day in range(1, 100, pace):
            now = NOW + day * DAY
            for folder in folders_to_read(NOW, read, now, within):
                read[folder] = now
            assert now - oldest_unread(NOW, read) <= within
    few = folders_to_read(NOW, {}, NOW + DAY, within)
    assert len(few) == 9
    assert len(share_to_read(NOW, {}, 100)) == 256
    assert len(share_to_read(NOW, {few[0]: NOW + DAY}, 1)) == 3
    assert few[0] not in share_to_read(NOW, {few[0]: NOW + DAY}, 50)


def test_upkeep_is_asked_for_when_it_is_due_and_not_again_at_once() -> None:
    """A check a day, a retention for a tree that may go; what was tried just now waits."""
    state = Upkeep(made=NOW)
    assert due(Keeping(), state, NOW + DAY / 2) == []
    assert due(Keeping(), state, NOW + DAY) == [Kind.CHECK]
    assert due(Keeping(verify=None), state, NOW + DAY) == []
    assert due(Keeping(), Upkeep(made=NOW, read={"00": NOW + DAY}), NOW + 1.5 * DAY) == []
    assert due(Keeping(), Upkeep(made=NOW, tree=True), NOW) == [Kind.RETAIN]
    quiet = Keeping(verify=None)
    assert due(quiet, Upkeep(made=NOW, forgotten=NOW + 2 * DAY), NOW + 6 * DAY) == []
    assert due(quiet, Upkeep(made=NOW, forgotten=NOW + 2 * DAY), NOW + 7 * DAY) == [Kind.RETAIN]
    assert due(quiet, Upkeep(made=NOW, forgotten=NOW, pruned=NOW + DAY), NOW + 99 * DAY) == []
    assert due(quiet, Upkeep(made=NOW, forgotten=NOW + 2 * DAY, pruned=NOW + DAY), NOW + 8 * DAY) == [
        Kind.RETAIN
    ]
    assert (
        due(Keeping(), Upkeep(made=NOW, tree=True, tried={Kind.RETAIN: NOW}), NOW + timedelta(hours=1)) == []
    )
    assert due(
        Keeping(), Upkeep(made=NOW, tree=True, tried={Kind.RETAIN: NOW}), NOW + timedelta(hours=7)
    ) == [Kind.RETAIN]
    damaged = Upkeep(made=NOW, damaged=NOW + DAY / 4)
    assert due(Keeping(), damaged, NOW + DAY / 4) == [Kind.CHECK]
    assert due(Keeping(), replace(damaged, tried={Kind.CHECK: NOW + DAY / 5}), NOW + DAY / 4) == [Kind.CHECK]
    assert due(Keeping(), replace(damaged, tried={Kind.CHECK: NOW + DAY / 3}), NOW + DAY / 2) == []

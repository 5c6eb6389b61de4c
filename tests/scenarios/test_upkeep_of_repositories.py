"""The upkeep of real repositories: what a disk damages is found and named, and a legacy tree goes when it may."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from shared import get, here, items
from stage import PBS, Pbs, SourceHost, eventually, processes
from test_migration import legacy_of

from pbs.clock import SystemClock
from pbs.ledger import open_ledger
from pbs.model import Damage, DamageState
from pbs.restore import compare

TREE = "srv/backup/pbs/web"


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_found_named_and_freezes_retention(served: Pbs) -> None:
    """F14: the pack is named with the snapshots and files that it touches; nothing is removed; the rest can be restored."""
    pbs = served
    run = pbs.pull()
    fine = pbs.json("check", "web", "--read-data", "100%")
    assert (fine["outcome"], "no damage" in fine["message"]) == ("ok", True), fine
    pack = max((pbs.repository() / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    flip(pack)
    ended = pbs.json("check", "web", "--read-data", "100%", code=1)
    assert pack.name[:16] in ended["message"], ended
    assert "touches 1 snapshot(s) in /" in ended["message"], ended
    assert ended["hint"]
    (event,) = (each for each in pbs.json("log", ended["id"])["events"] if each["event"] == "damaged")
    assert event["snapshots"] == [run["snapshot"]]
    assert [True] == [each["damaged"] for each in pbs.json("snapshots", "web")["snapshots"]]
    assert "damaged" in str(pbs.json("retain", "web", "--dry-run")["frozen"])
    assert items(pbs, "web")[0]["title"] == "web check failed"
    assert 2 == here(pbs, "check", "web", "--read-data", "101%")[0]


def test_a_damaged_pack_is_repaired_by_the_next_pull(served: Pbs, source: SourceHost, folder: Path) -> None:
    """What is left of it is saved, the next pull sends what is missing, every snapshot restores, and retention goes on."""
    pbs = served
    first = pbs.pull()["snapshot"]
    shutil.copytree(source.data, folder / "was", symlinks=True)
    (source.data / "new").write_text("x")
    second = pbs.pull()["snapshot"]
    pack = max((pbs.repository() / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    flip(pack)
    ended = pbs.json("check", "web", "--read-data", "100%", code=1)
    assert "what is left was saved" in ended["message"], ended
    assert not pack.exists()
    assert (pbs.home / "srv/backup/pbs/web.quarantine/damaged" / f"pack-{pack.name}").exists()
    mended = pbs.pull()
    assert "every snapshot is whole again" in mended["message"], mended
    assert pbs.json("retain", "web", "--dry-run")["frozen"] is None
    assert pbs.json("check", "web", "--read-data", "100%")["outcome"] == "ok"
    assert 0 == pbs.restic("check", "--read-data").returncode
    for number, snapshot in enumerate((first, second, mended["snapshot"])):
        pbs("restore", "web", "--snapshot", snapshot, "--to", str(folder / f"back-{number}"))
    assert (folder / "back-0/d1/file-1").read_bytes() == (folder / "was/d1/file-1").read_bytes()
    assert not compare(source.data, folder / "back-2")


def test_a_vanished_pack_is_repaired_without_anybody(served: Pbs, source: SourceHost, folder: Path) -> None:
    """The next pull sees that it is gone and is refused; a check follows by itself, and the pull after it mends every snapshot."""
    pbs = served
    first = pbs.pull()["snapshot"]
    pack = max((pbs.repository() / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    pack.unlink()
    refused = pbs.pull(code=4)
    assert "ALARM: 1 file" in refused["message"]
    assert "begins now" in refused["hint"]

    def checked() -> list[dict[str, object]]:
        runs = pbs.json("runs", "web")["runs"]
        return [each for each in runs if each["kind"] == "check" and each["state"] == "ended"]

    (check,) = eventually(checked, 60, "the check")
    assert "what is left was saved" in str(check["message"]), check
    assert "frozen" in pbs.json("status")["sources"][0], "it says why nothing is removed"
    assert "damaged" in str(pbs.json("status")["sources"][0]["frozen"])
    mended = pbs.pull()
    assert "every snapshot is whole again" in mended["message"], mended
    pbs("restore", "web", "--snapshot", first, "--to", str(folder / "back"))
    assert not compare(source.data, folder / "back")
    # A disk that was away for a while took nothing with it: what reads well again is no damage.
    ledger = open_ledger(pbs.home / "var/lib/ledger.sqlite")
    fine = next((pbs.repository() / "data").glob("*/*"))
    ledger.custody.record_damage(
        "web", Damage(fine.name, "gone for a while", SystemClock().now(), DamageState.FOUND, {})
    )
    assert "no damage" in pbs.json("check", "web")["message"]
    assert fine.exists()
    assert [] == [each for each in ledger.custody.damages("web") if each.state is not DamageState.REPAIRED]
    ledger.close()


def test_what_the_source_no_longer_has_stays_damaged_and_is_said(served: Pbs, source: SourceHost) -> None:
    """A snapshot whose lost data nobody has any more is named; nothing is pruned over it."""
    pbs = served
    (source.data / "lost").write_bytes(os.urandom(3_000_000))
    pbs.pull()
    pack = max((pbs.repository() / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    (source.data / "lost").unlink()
    pack.unlink()
    assert "damaged pack" in pbs.json("check", "web", "--read-data", "100%", code=1)["message"]
    assert "1 snapshot(s) stay damaged" in pbs.pull()["message"]
    assert "damaged" in pbs.json("retain", "web", "--prune", code=4)["message"]


def test_pruning_frees_what_nothing_needs_and_a_kill_in_it_loses_nothing(
    pbs: Pbs, source: SourceHost, folder: Path
) -> None:
    """F11, T11: the data of removed snapshots goes, what stays restores; killed anywhere in it, the next run settles it."""
    pbs.start()
    pbs.add("web", source, "--set", "keep=1B", "--set", "keep_least=1", "--set", "prune_unused=0%")
    for number in range(3):
        (source.data / "big").write_bytes(os.urandom(4_000_000))
        pbs.pull()
        if number == 1:
            # Killed at some moment of its work; what it did stays, or is done again.
            with subprocess.Popen([*PBS, "--home", pbs.home, "retain", "web", "--prune", "--no-wait"]):
                eventually(lambda: processes(str(pbs.home), "restic", "prune"), what="restic prune")
            for pid in processes(str(pbs.home), "pbs.cli.main", "worker"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    ended = pbs.json("retain", "web", "--prune")
    assert "were freed" in ended["message"], ended
    size = sum(path.stat().st_size for path in (pbs.repository() / "data").glob("*/*"))
    assert size < 7_000_000
    assert 0 == pbs.restic("check", "--read-data").returncode
    pbs("restore", "web", "--to", str(folder / "back"))
    assert not compare(source.data, folder / "back")
    (pbs.repository() / "index" / ("a" * 64)).write_bytes(b"planted")
    refused = pbs.json("retain", "web", "--prune", code=4)
    assert "not exactly what was admitted" in refused["message"], refused
    assert pbs.pull(code=None)["outcome"] in ("ok", "refused")
    assert 0 == pbs.restic("check", "--read-data").returncode


@pytest.fixture
def migrated(pbs: Pbs, source: SourceHost) -> Pbs:
    """A served home with an imported tree and one live snapshot; the last two are kept."""
    tree = legacy_of(pbs, source)
    for number in range(300):
        (tree / f"more-{number}").mkdir()
    pbs.start()
    pbs.add("web", source, "--set", "keep=2B", "--set", "keep_least=1")
    pbs.pull()
    return pbs


def test_the_tree_goes_after_the_first_removal_and_says_so(migrated: Pbs, source: SourceHost) -> None:
    """A34: it stays while nothing was removed; once something was, it goes by itself, and the feed says what was freed."""
    pbs = migrated
    tree = pbs.home / TREE
    assert "no snapshot had to go" in pbs.json("retain", "web")["message"]
    assert "stays: retention has removed no snapshot yet" in here(pbs, "retain", "web", "--dry-run")[2]
    assert tree.is_dir()
    (source.data / "new").write_text("x")
    assert "1 snapshot(s) that no rule holds" in pbs.pull()["message"]
    # Nobody tried less than six hours ago, so it comes by itself; a person need not wait.
    assert "were freed" in pbs.json("retain", "web")["message"]
    assert not tree.exists()
    assert not (pbs.home / f"{TREE}.work/legacy-gone").exists()
    eventually(
        lambda: "rdiff-backup tree of before was removed" in get(pbs, "/feeds/web.xml").decode(),
        what="the feed",
    )
    assert pbs.pull()["outcome"] == "ok"
    assert "migrate" not in [each["kind"] for each in pbs.json("runs", "web", "-n", "3")["runs"]]


def test_killed_while_the_tree_goes_the_next_run_goes_on(migrated: Pbs, source: SourceHost) -> None:
    """A34: a worker that is killed in the middle leaves a rest that the next retention removes; no import begins anew."""
    pbs = migrated
    (source.data / "new").write_text("x")
    aside = pbs.home / f"{TREE}.work/legacy-gone"
    pbs.pull()
    pbs("retain", "web", "--no-wait")
    eventually(aside.exists, what="the tree set aside")
    for pid in processes(str(pbs.home), "pbs.cli.main", "worker"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run = pbs.json("retain", "web", code=None)
    assert run["outcome"] in ("ok", "interrupted"), run
    pbs.json("retain", "web")
    assert not (pbs.home / TREE).exists()
    assert not aside.exists()
    assert pbs.pull()["outcome"] == "ok"

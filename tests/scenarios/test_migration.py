"""A legacy rdiff-backup tree becomes the first snapshot, by itself, once, and helps the pull after it."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from stage import Pbs, SourceHost, eventually

from pbs.restore import compare

pytestmark = pytest.mark.slow
# Three sessions, a day apart.
TIMES = [int(datetime(2026, 1, day, tzinfo=UTC).timestamp()) for day in (1, 2, 3)]


def legacy_of(pbs: Pbs, source: SourceHost) -> Path:
    """A tree with three increments, written by the real rdiff-backup; the newest is the source as it is now."""
    tree = pbs.home / "srv/backup/pbs/web"
    (source.data / "rolling").write_text("day 0")
    (source.data / "large").write_bytes(os.urandom(8 << 20))
    for number, moment in enumerate(TIMES):
        (source.data / "rolling").write_text(f"day {number}")
        (source.data / f"only-{number}").write_text("x")
        (source.data / f"only-{number - 1}").unlink(missing_ok=True)
        # A folder of this name deeper down is data like any other.
        (source.data / "d0/rdiff-backup-data").mkdir(exist_ok=True)
        (source.data / "d0/rdiff-backup-data/kept").write_text("kept")
        subprocess.run(
            ["rdiff-backup", "--api-version", "201", "--current-time", str(moment), "backup", source.data, tree],
            check=True, capture_output=True,
        )  # fmt: skip
    return tree


def mirror(tree: Path, target: Path) -> Path:
    """The tree without rdiff-backup's own folder, hard links and all."""
    subprocess.run(["cp", "-a", tree, target], check=True)
    shutil.rmtree(target / "rdiff-backup-data")
    shutil.copystat(tree, target)
    return target


def test_the_first_pull_imports_once_and_sends_only_differences(
    pbs: Pbs, source: SourceHost, folder: Path
) -> None:
    """Import and pull are two ok runs, the import is dated by its increment, and the live run sends next to nothing."""
    tree = legacy_of(pbs, source)
    before = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    pbs.start()
    pbs.add("web", source)
    run = pbs.pull()
    assert (run["outcome"], run["kind"]) == ("ok", "pull")
    assert run["added_bytes"] < 0.02 * run["bytes"]
    assert run["tunnel_bytes"] < 0.1 * run["bytes"]
    assert [("pull", "ok"), ("migrate", "ok")] == [
        (each["kind"], each["outcome"]) for each in pbs.json("runs", "web")["runs"]
    ]
    legacy, live = pbs.json("snapshots", "web")["snapshots"]
    assert (legacy["state"], live["state"]) == ("legacy", "admitted")
    assert legacy["time"] == "2026-01-03T00:00:00Z"
    pbs("restore", "web", "--snapshot", legacy["id"], "--to", str(folder / "old"))
    names = {path.relative_to(folder / "old") for path in (folder / "old").rglob("*")}
    assert Path("rdiff-backup-data") not in names
    assert Path("d0/rdiff-backup-data/kept") in names
    pbs("restore", "web", "--to", str(folder / "new"))
    assert not compare(source.data, folder / "new")
    assert sorted(path.relative_to(tree) for path in tree.rglob("*")) == before
    assert pbs.pull()["outcome"] == "ok"
    assert len([each for each in pbs.json("runs", "web")["runs"] if each["kind"] == "migrate"]) == 1
    assert "nothing to import" in pbs.json("migrate", "web")["message"]


def test_the_import_is_the_mirror_as_it_lies(pbs: Pbs, source: SourceHost, folder: Path) -> None:
    """Names, modes, owners, times and contents of the imported snapshot are those of the tree."""
    tree = legacy_of(pbs, source)
    pbs.start()
    pbs.add("web", source)
    assert pbs.json("migrate", "web")["outcome"] == "ok"
    pbs("restore", "web", "--to", str(folder / "old"))
    expected = mirror(tree, folder / "mirror")
    difference = compare(expected, folder / "old")
    assert not difference, difference


def test_a_damaged_tree_stops_no_pull(pbs: Pbs, source: SourceHost) -> None:
    """An import that fails is a failed run that says why; the pull goes on, and nothing is lost of the tree."""
    tree = pbs.home / "srv/backup/pbs/web"
    (tree / "rdiff-backup-data").mkdir(parents=True)
    (tree / "file").write_text("data")
    pbs.start()
    pbs.add("web", source)
    assert pbs.pull()["outcome"] == "ok"
    runs = pbs.json("runs", "web")["runs"]
    assert [("pull", "ok"), ("migrate", "failed")] == [(each["kind"], each["outcome"]) for each in runs]
    assert runs[1]["message"]
    assert runs[1]["hint"]
    assert (tree / "file").read_text() == "data"
    eventually(lambda: "web migrate failed" in pbs("feed", "web").stdout)


def test_migrate_off_imports_nothing(pbs: Pbs, source: SourceHost) -> None:
    """With `migrate = "off"` the tree is left alone."""
    legacy_of(pbs, source)
    pbs.start()
    pbs.add("web", source, "--set", "migrate=off")
    assert pbs.pull()["outcome"] == "ok"
    assert ["pull"] == [each["kind"] for each in pbs.json("runs", "web")["runs"]]

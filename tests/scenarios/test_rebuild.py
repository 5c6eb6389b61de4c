"""A lost ledger and a lost server come back: tried with a real home of three pulls, and every snapshot restored."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared import add, here, host_key, refused, refused_here
from stage import Pbs, SourceHost, grow, short_folder

from pbs.restore import compare

pytestmark = pytest.mark.slow


@dataclasses.dataclass
class World:
    """A stopped home as it was after three pulls, the trees that it backed up, and its source."""

    home: Path
    trees: list[Path]
    snapshots: list[str]
    forged: str
    source: SourceHost
    port: int
    recovery_key: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Three pulls with a copy of the server after the first, and a snapshot that the third one's source smuggled in."""
    with short_folder() as folder:
        source = SourceHost(folder / "src")
        grow(source.data, files=6, size=3000)
        source.start()
        pbs = Pbs(folder)
        pbs.start()
        try:
            add(pbs, "web", source)
            trees, ids = [], []
            for number in range(3):
                (source.data / "changing").write_text(f"state {number}")
                ids.append(str(pbs.pull()["snapshot"]))
                trees.append(folder / f"tree-{number}")
                subprocess.run(["cp", "-a", source.data, trees[-1]], check=True)
                if number == 0:
                    here(pbs, "copy", "make")
            last = pbs.json("runs", "web", "-n", "1")["runs"][0]["id"]
        finally:
            pbs.stop()
        key = json.loads(here(pbs, "key", "recovery", "--json")[1])["recovery_key"]
        (source.root / "evil").mkdir()
        (source.root / "evil/file").write_text("planted")
        tags = ["--tag", "source=web", "--tag", f"run={last}", "--time", "2099-01-01 00:00:00"]
        done = pbs.restic("backup", "--json", "--host", "web", *tags, str(source.root / "evil"))
        forged = json.loads(done.stdout.splitlines()[-1])["snapshot_id"]
        yield World(pbs.home, trees, ids, forged, source, pbs.port, key)
        source.stop()


@pytest.fixture
def lost(world: World, folder: Path) -> Iterator[Pbs]:
    """A copy of that home, in another place."""
    pbs = object.__new__(Pbs)
    pbs.home, pbs.port = folder / "home", world.port
    subprocess.run(["cp", "-a", world.home, pbs.home], check=True)
    yield pbs
    if (pbs.home / "etc").exists():
        pbs.stop()


def said(pbs: Pbs, *arguments: str, code: int = 0) -> Any:
    """What a verb answers with --json."""
    found, text, told = here(pbs, *arguments, "--json")
    assert code == found, (text, told)
    return json.loads(text)


def receipts(pbs: Pbs) -> dict[str, dict[str, Any]]:
    """The snapshots that can be restored, by id, oldest first; which rules keep them follows from all of them."""
    return {
        each["id"]: {**each, "kept_by": None}
        for each in said(pbs, "snapshots", "web")["snapshots"]
        if each["state"] == "admitted"
    }


def everything_is_back(pbs: Pbs, world: World, folder: Path) -> None:
    """The three snapshots are there in their order, nothing else counts, and each restores as what was backed up."""
    assert world.snapshots == list(receipts(pbs))
    for snapshot, tree in zip(world.snapshots, world.trees, strict=True):
        target = folder / f"out-{snapshot[:8]}"
        code, _, told = here(pbs, "restore", "web", snapshot, "--to", str(target))
        assert 0 == code, told
        assert not compare(tree, target)
    refused_here(pbs, "ls", "web", world.forged, code=7)


def it_works_again(pbs: Pbs, world: World, code: int = 0) -> dict[str, Any]:
    """The home is served, and pulls into the same history."""
    pbs.start()
    run = pbs.pull(code=code)
    assert ("ok", [*world.snapshots, run["snapshot"]]) == (run["outcome"], list(receipts(pbs)))
    assert run["added_bytes"] < 20_000, "the old history was not used"
    pbs.stop()
    return run


def destroy(path: Path, how: str) -> None:
    """Ruin a ledger."""
    for part in ("-wal", "-shm"):
        path.with_name(f"{path.name}{part}").unlink(missing_ok=True)
    match how:
        case "lost":
            path.unlink()
        case "emptied":
            path.write_bytes(b"")
        case "overwritten":
            path.write_bytes(os.urandom(path.stat().st_size))
        case "torn":
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 8192 * 4096)


@pytest.mark.parametrize(
    "how", ["lost", pytest.param("emptied", marks=pytest.mark.long), "overwritten", "torn"]
)
def test_a_ledger_comes_back_from_the_logs_of_runs(world: World, lost: Pbs, folder: Path, how: str) -> None:
    """However it was ruined, and without any copy: same receipts, same times, the planted snapshot still not admitted."""
    before, runs = receipts(lost), said(lost, "runs", "web")["runs"]
    _note_in_a_log(lost, runs[0]["id"])
    ledger = lost.home / "var/lib/ledger.sqlite"
    shutil.rmtree(lost.home / "srv/backup/pbs/.server.restic")
    destroy(ledger, how)
    assert said(lost, "ledger", "check", code=1)["faults"]
    if how != "lost":
        assert "ledger rebuild" in here(lost, "doctor")[1]
    if how in ("lost", "emptied"):
        assert "ledger rebuild" in refused(lost, "serve", code=1)
    done = said(lost, "ledger", "rebuild")
    assert done["copy"] is None
    assert (done["aside"] is not None) == (how != "lost")
    assert how == "lost" or Path(done["aside"]).is_file()
    after = receipts(lost)
    for snapshot_id, receipt in before.items():
        assert {**receipt, "reason": None} == {**after[snapshot_id], "reason": None}
    told = said(lost, "runs", "web")["runs"]
    wanted = ("id", "kind", "cause", "outcome", "message", "snapshot", "files", "added_bytes", "tunnel_bytes")
    assert [[run[name] for name in wanted] for run in runs] == [
        [run[name] for name in wanted] for run in told
    ]
    # Of a ledger that can still be read all is taken over; without one, a log of a run says that a wire tripped.
    assert "80 of 121 files are gone" in done["sources"][0]["held"]
    assert "80 of 121 files are gone" in here(lost, "retain", "web", "--dry-run")[2]
    kept_out = [
        each for each in said(lost, "snapshots", "web")["snapshots"] if each["state"] == "quarantined"
    ]
    assert [world.forged] == [each["id"] for each in kept_out]
    assert said(lost, "ledger", "check")["ok"]
    everything_is_back(lost, world, folder)
    if how == "overwritten":
        it_works_again(lost, world)


def _note_in_a_log(lost: Pbs, run: str) -> None:
    """Have the log of a run say that it tripped a wire, as admission writes it."""
    with next((lost.home / "var/log/runs/web").glob(f"{run}.jsonl")).open("a") as log:
        log.write(
            '{"time": "2026-01-01T00:00:00Z", "event": "tripped", "reasons": ["80 of 121 files are gone"]}\n'
        )


def test_a_ledger_comes_back_from_its_copy_and_the_repository(world: World, lost: Pbs, folder: Path) -> None:
    """Without logs: the copy knows the first snapshot, the repository the later ones, and those say that it is so."""
    before = receipts(lost)
    destroy(lost.home / "var/lib/ledger.sqlite", "overwritten")
    shutil.rmtree(lost.home / "var/log/runs")
    done = said(lost, "ledger", "rebuild")
    assert done["copy"]
    assert {
        "source": "web",
        "runs": 0,
        "snapshots_from_logs": 0,
        "snapshots_from_repository": 2,
        "refused": 1,
        "missing": 0,
        "held": "its history was written down anew, and nothing tells whether it was held before",
    } == done["sources"][0]
    after = receipts(lost)
    first, second, third = world.snapshots[0], *list(after)[1:]
    assert before[first] == after[first]
    assert world.snapshots[1] == second
    assert "rebuilt" in after[second]["reason"]
    assert not after[second]["complete"]
    assert not any(each["received"].startswith("2099") for each in after.values())
    # Of two snapshots that claim the same run nobody can tell the right one any more: the last that arrived is taken.
    assert world.forged == third


def test_a_sound_ledger_is_left_alone(lost: Pbs) -> None:
    """Rebuilding what is sound, or what is in use, is refused; asked for all the same, nothing is lost."""
    before = receipts(lost)
    refused_here(lost, "ledger", "rebuild", code=2)
    (lost.home / "etc/run_dir").unlink(missing_ok=True)
    lost.start()
    refused_here(lost, "ledger", "rebuild", "--anyway", code=4)
    lost.stop()
    said(lost, "ledger", "rebuild", "--anyway")
    assert before == receipts(lost)


def bare(world: World, folder: Path) -> Pbs:
    """A new machine: nothing but the disk with the backups."""
    pbs = object.__new__(Pbs)
    pbs.home, pbs.port = folder / "home", world.port
    (pbs.home / "srv/backup").mkdir(parents=True)
    subprocess.run(["cp", "-a", world.home / "srv/backup/pbs", pbs.home / "srv/backup/pbs"], check=True)
    # What was smuggled in belongs to other tests.
    (pbs.repository() / "snapshots" / world.forged).unlink()
    return pbs


def test_a_lost_server_is_made_anew(world: World, folder: Path) -> None:
    """With the backup disk and the recovery sheet alone: keys, configuration, history; the next pull needs no new key."""
    pbs = bare(world, folder)
    (folder / "sheet").write_text(world.recovery_key.lower().replace("-", " "))
    (folder / "wrong").write_text("A" * 32)
    refused_here(pbs, "rebuild", "--key-file", str(folder / "wrong"), code=1)
    refused_here(pbs, "rebuild", code=2)
    refused_here(pbs, "rebuild", "--key-file", str(folder / "sheet"), "--from", str(folder), code=7)
    assert ["srv"] == sorted(each.name for each in pbs.home.iterdir() if each.name != "var")
    done = said(pbs, "rebuild", "--key-file", str(folder / "sheet"))
    assert (2, []) == (done["sources"][0]["snapshots_from_repository"], done["remarks"])
    for secret in (pbs.home / "etc/keys").iterdir():
        assert 0 == secret.stat().st_mode & 0o077, secret
    refused_here(pbs, "rebuild", "--key-file", str(folder / "sheet"), code=2)
    everything_is_back(pbs, world, folder)
    try:
        it_works_again(pbs, world)
    finally:
        pbs.stop()


def test_a_lost_server_without_a_copy(world: World, folder: Path) -> None:
    """With the repositories and the recovery sheet of one source: a new server adopts it, and its history counts."""
    pbs = bare(world, folder)
    password = json.loads(here(world_home(world), "key", "export", "web", "--json")[1])["password"]
    shutil.rmtree(pbs.home / "srv/backup/pbs/.server.restic")
    assert 0 == here(pbs, "init", str(pbs.home))[0]
    pbs.configure(f'listen = "127.0.0.1:{pbs.port}"')
    where = ["--host", "127.0.0.1", "--port", str(world.source.port), "--user", getpass.getuser()]
    new = ["source", "add", "web", *where, "--host-key", host_key(world.source)]
    told = refused_here(pbs, *new, "--agent-path", str(world.source.agent), code=1)
    assert "key import" in told
    assert not (pbs.home / "etc/keys/web.key").exists()
    (folder / "sheet").write_text("wrong")
    refused_here(pbs, "key", "import", "web", "--key-file", str(folder / "sheet"), code=1)
    (folder / "sheet").write_text(password)
    assert 0 == here(pbs, "key", "import", "web", "--key-file", str(folder / "sheet"))[0]
    line = world.source.authorized_keys.read_text()
    try:
        world.source.authorized_keys.write_text("")
        add(pbs, "web", world.source)
        everything_is_back(pbs, world, folder)
        it_works_again(pbs, world)
        assert b"web backup" in (pbs.home / "srv/feeds/web.xml").read_bytes()
    finally:
        world.source.authorized_keys.write_text(line)
        pbs.stop()


def world_home(world: World) -> Pbs:
    """The home as it was."""
    pbs = object.__new__(Pbs)
    pbs.home, pbs.port = world.home, world.port
    return pbs


def test_a_snapshot_that_is_gone_is_said_and_counts_no_more(world: World, lost: Pbs, folder: Path) -> None:
    """The doctor names it; a ledger that is rebuilt from before its end calls it forgotten, and the rest restores."""
    (lost.repository() / "snapshots" / world.forged).unlink()
    assert "✓ receipts" in here(lost, "doctor")[1]
    (lost.repository() / "snapshots" / world.snapshots[1]).unlink()
    text = here(lost, "doctor")[1]
    assert "✗ receipts" in text
    assert world.snapshots[1][:8] in text
    [done] = said(lost, "ledger", "rebuild", "--anyway")["sources"]
    assert 1 == done["missing"]
    assert [world.snapshots[0], world.snapshots[2]] == list(receipts(lost))
    code, _, told = here(lost, "restore", "web", "--to", str(folder / "out"))
    assert 0 == code, told
    assert not compare(world.trees[2], folder / "out")


def test_logs_of_the_service_are_closed_to_others(world: World) -> None:
    """Each file below var/log, whoever wrote it; the folder as well."""
    logs = [path for path in (world.home / "var/log").rglob("*") if path.is_file()]
    assert {"controller.log", "worker-0.log", "endpoint-web.log", "supervisord.log", "runs.log"} <= {
        path.name for path in logs
    }
    assert [] == [path for path in logs if path.stat().st_mode & 0o077]

"""A full disk, a real one: runs fail and say so, nothing that was admitted is out of reach, and space cures everything."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from stage import eventually

from pbs.model import Outcome, RunState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own in place of this folder, with what the folder holds."""
    image, aside = folder.with_name(f"{folder.name}.img"), folder.with_name(f"{folder.name}.aside")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    aside.mkdir()
    subprocess.run(["mount", "-o", "loop", image, aside], check=True)
    subprocess.run(["cp", "-a", f"{folder}/.", aside], check=True)
    subprocess.run(["mount", "--move", aside, folder], check=False, capture_output=True)
    if not os.path.ismount(folder):
        subprocess.run(["umount", aside], check=True)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> None:
    """Leave not a single block."""
    for name, piece in (("fill", 1 << 20), ("fill", 4096), ("fill-more", 512)):
        with contextlib.suppress(OSError), (disk / name).open("ab", buffering=0) as file:
            while file.write(bytes(piece)) == piece:
                pass
    assert os.statvfs(disk).f_bavail == 0


def free(disk: Path) -> None:
    """Give the space back."""
    for name in ("fill", "fill-more"):
        (disk / name).unlink()


@pytest.fixture
def place() -> Iterator[Stand]:
    """A stand that is not served yet."""
    with stand() as made:
        yield made


def test_the_disk_of_the_backups_fills_up(place: Stand) -> None:
    """F8: the run fails with a sentence that says so and what to do; every admitted snapshot restores all the same."""
    srv = place.pbs.home / "srv"
    with small_disk(srv, 56):
        place.prove_first()
        (first, like), big = next(iter(place.known.items())), place.source.data / "big"
        random_file(big, 72 << 20)
        run = place.pbs.pull(code=1)
        assert run["message"].startswith("the disk of this server is full (")
        assert "free some space" in run["hint"]
        assert place.titles()[run["id"]] == "web backup failed"
        place.restores(first, like)
        fill(srv)
        assert place.pbs.pull(code=1)["message"].startswith("the disk of this server is full (0 B free)")
        place.restores(first, like)
        place.pbs("get", "web", "/d0/file-0", "--snapshot", first, "-o", str(place.folder / "out"))
        assert (place.folder / "out").read_bytes() == (like / "d0/file-0").read_bytes()
        free(srv)
        big.unlink()
        random_file(place.source.data / "small", 100_000)
        place.next_pull()
        written = place.home.feeds / "web.xml"
        eventually(lambda: run["id"] in written.read_text(), PATIENCE, "the feed file")
        place.nothing_left()
        place.whole()
        place.pbs.stop()


def test_the_disk_of_the_state_fills_up(place: Stand) -> None:
    """F9, F25: the service lives on and says why it does nothing; restoring works with it and without it."""
    var = place.pbs.home / "var"
    with small_disk(var, 16):
        place.prove_first()
        first, like = next(iter(place.known.items()))
        before = {name: place.pids(name) for name in ("controller", "worker", "supervisord", "endpoint")}
        fill(var)
        refused = place.pbs("pull", "web", code=1)
        assert "the disk is full" in refused.stderr
        assert "free some space" in refused.stderr
        assert [Outcome.OK] == [run.outcome for run in place.runs()]
        assert list(place.titles().values()) == ["web backup"]
        place.restores(first, like)
        assert before == {name: place.pids(name) for name in before}
        place.pbs("stop")
        fill(var)
        assert "the disk is full" in place.pbs("serve", "--detach", code=1).stderr
        place.restores(first, like)
        assert place.pbs.json("snapshots", "web")["snapshots"][0]["id"] == first
        free(var)
        place.pbs.start()
        place.next_pull()
        place.nothing_left()
        place.whole()
        place.pbs.stop()


def test_the_disk_of_the_state_fills_up_during_a_run(place: Stand) -> None:
    """F9: a run whose end cannot be written stays a run, and gets its end, no other, once there is space."""
    var = place.pbs.home / "var"
    with small_disk(var, 16):
        place.prove_first("--set", 'limits={upload="4MB/s"}')
        random_file(place.source.data / "big", 12 << 20)
        with place.pulling() as (process, run):
            eventually(place.transferring, PATIENCE, "the transfer")
            fill(var)
            eventually(place.source_is_quiet, PATIENCE, "the end of the transfer")
            snapshots = place.pbs.repository() / "snapshots"
            eventually(lambda: len(list(snapshots.iterdir())) == 2, PATIENCE, "the snapshot")
            assert place.run(run.id).state is RunState.RUNNING
            free(var)
            process.wait(PATIENCE)
        ended = place.ended(run.id)
        assert ended.outcome in (Outcome.OK, Outcome.FAILED)
        if ended.outcome is Outcome.FAILED:
            assert "the disk is full" in (ended.message or "")
            assert "were not admitted" in place.next_pull()["message"]
        assert place.titles()[ended.id].startswith("web backup")
        place.next_pull()
        place.nothing_left()
        place.whole()
        place.pbs.stop()

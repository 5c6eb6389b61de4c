"""T13: a disk that several sources share, real and small: one that sends without end takes the room of nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from disk import MEGABYTE, fill, free, small_disk
from hostile import Victim, plot
from shared import add, ask, ends, fresh, here, http, state
from stage import Pbs, SourceHost, big, eventually, short_folder

from pbs.restore import compare

pytestmark = [pytest.mark.slow]
RESERVE = 80 * MEGABYTE


@dataclass
class Place:
    """A served home whose repositories lie on a disk of their own, and a source that is backed up beside others."""

    home: Pbs
    disk: Path
    good: Victim

    @property
    def free(self) -> int:
        """What is free there."""
        status = os.statvfs(self.disk)
        return status.f_bavail * status.f_frsize


def victim(home: Pbs, folder: Path, word: str, *more: str) -> Victim:
    """A source with a file of its own."""
    host = SourceHost(folder / word)
    (host.data / "file").write_bytes(os.urandom(100_000))
    host.start()
    made = Victim(home, fresh(word), host, folder)
    add(home, made.name, host, *more)
    return made


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """As described; nothing of it may outlive the module."""
    with short_folder() as folder:
        pbs = Pbs(folder)
        pbs.configure(f'listen = "off"\nreserve = "{RESERVE}"\n')
        with small_disk(pbs.home / "srv", 260):
            pbs.start()
            good = victim(pbs, folder, "good")
            try:
                yield Place(pbs, pbs.home / "srv", good)
            finally:
                good.source.stop()
                pbs.stop()


@pytest.fixture
def bad(place: Place, folder: Path) -> Iterator[Victim]:
    """A source that is about to take more than its share."""
    made = victim(place.home, folder, "bad")
    yield made
    made.source.stop()


FLOOD = """
sent = [0]
def pour(most):
    while sent[0] < most:
        forger.way.put("data", os.urandom(1 << 20))
        sent[0] += 1
pour(20)
note("poured", sent[0])
while not os.path.exists(ROOT + "/go"):
    time.sleep(0.05)
tried(pour, 1000)
note("told", sent[0])
end(outcome="failed", exit=1)
"""


def test_a_flood_stops_at_the_reserve_and_leaves_nothing(place: Place, bad: Victim) -> None:
    """Junk without end is cut off where the reserve begins; beside it and after it another source is backed up."""
    bad.honest()
    before = place.free
    plot(bad.source, FLOOD)
    run = ask(place.home, bad.name)["id"]
    eventually((bad.source.root / "poured").exists, what="the flood")
    place.good.honest()
    (bad.source.root / "go").touch()
    eventually(lambda: state(place.home, run)["state"] == "ended", what="the end of the flood")
    ended = state(place.home, run)
    assert "refused" == ended["outcome"], ended
    assert "the disk of this server is full" in ended["message"]
    assert "pack(s) that do not hold what they say arrived and were set aside" in ended["message"]
    assert ended["tunnel_bytes"] < before - RESERVE + 10 * MEGABYTE
    place.good.honest()
    code, said, _ = here(place.home, "quarantine", "discard", "--source", bad.name)
    assert 0 == code, said
    assert before - place.free < 2 * MEGABYTE
    bad.unharmed()


def test_a_source_that_is_too_large_gives_the_room_back(place: Place, bad: Victim) -> None:
    """An honest source larger than the disk is stopped at the reserve; what it had sent goes, and it does not begin again."""
    before = place.free
    big(bad.source.data / "big", 200)
    run = ends(
        place.home, bad.name, "failed", 1, "the disk of this server is full", "what it had sent was removed"
    )
    assert before - place.free < 2 * MEGABYTE
    place.good.honest()
    words = "the last run was stopped because the disk of this server was full"
    again = ends(place.home, bad.name, "failed", 1, words)
    assert run["tunnel_bytes"] > 80 * MEGABYTE
    assert not again["tunnel_bytes"]


def test_below_the_reserve_nothing_begins_but_what_makes_room(place: Place) -> None:
    """A full disk: pulls say so, restores and pruning work, and with room everything is as before."""
    place.good.honest()
    fill(place.disk, RESERVE - 4 * MEGABYTE)
    try:
        words = "the disk of this server is full", "`reserve` keeps 83.9 MB of it free"
        ends(place.home, place.good.name, "failed", 1, *words)
        place.good.restores(place.good.admitted()[0])
        code, _, told = here(place.home, "retain", place.good.name, "--prune")
        assert 0 == code, told
        free(place.disk)
        fill(place.disk, 12 * MEGABYTE)
        code, _, told = here(place.home, "retain", place.good.name, "--prune")
        assert 0 == code, told
        free(place.disk)
        fill(place.disk, 4 * MEGABYTE)
        code, _, told = here(place.home, "retain", place.good.name, "--prune")
        assert 4 == code, told
        assert "nothing is pruned: only" in told
    finally:
        free(place.disk)
    place.good.unharmed()


def test_a_run_sends_no_more_than_its_quota_and_its_budget_allow(place: Place, bad: Victim) -> None:
    """A20: beyond either the run is refused and says which; with larger ones it is whole."""
    (bad.source.data / "more").write_bytes(os.urandom(3_000_000))
    file = place.home.home / f"sources.d/{bad.name}.toml"
    written = file.read_text()

    def pulled(line: str) -> dict[str, Any]:
        file.write_text(f"{written}\n{line}\n")
        assert 0 == here(place.home, "reload")[0]
        return place.home.pull(bad.name, code=None)

    run = pulled('quota = "2MB"')
    assert "refused" == run["outcome"], run
    assert f"the quota of {bad.name} (2.0 MB) is used up" in run["message"]
    run = pulled('write_budget = "2MB"')
    assert "refused" == run["outcome"], run
    assert "it sent more than `write_budget` allows (2.0 MB)" in run["message"]
    assert run["tunnel_bytes"] < 5_000_000
    # Its agent has some seconds to notice that it was cut off.
    larger = 'quota = "20MB"\nwrite_budget = "20MB"'
    eventually(lambda: pulled(larger)["outcome"] == "ok", what="a pull within its budget")


def test_a_restore_on_the_server_leaves_the_reserve_alone(place: Place, bad: Victim) -> None:
    """Below the reserve none begins; one that would reach into it writes nothing; with room it is whole, and only then there."""
    big(bad.source.data / "big", 20)
    place.home.pull(bad.name)
    asked = f"/api/v1/sources/{bad.name}/snapshots/latest/restore"

    def restored() -> dict[str, Any]:
        status, _, body = http(place.home, "POST", asked, b'{"path": "/"}')
        assert 202 == status, body
        run = json.loads(body)["id"]
        eventually(lambda: state(place.home, run)["state"] == "ended", what="the end of the restore")
        return state(place.home, run)

    folder = place.disk / "restored"
    for leave, words in ((-4, "`reserve` keeps 83.9 MB of it free"), (10, "that `reserve` keeps")):
        fill(place.disk, RESERVE + leave * MEGABYTE)
        try:
            run = restored()
        finally:
            free(place.disk)
        assert "failed" == run["outcome"], run
        assert words in run["message"]
        assert not folder.exists() or [] == os.listdir(folder)
    run = restored()
    assert "ok" == run["outcome"], run
    assert [run["id"]] == os.listdir(folder)
    assert not compare(bad.source.data, folder / run["id"])


@pytest.mark.long
def test_an_import_stops_at_the_reserve_and_the_pulls_go_on(place: Place, bad: Victim) -> None:
    """A legacy tree larger than the room there is: the import gives back what it wrote and does not begin again until there is
    room; the tree stays as it was, the source is backed up all the same, and others as well.
    """
    tree = place.disk / "backup/pbs" / bad.name
    big(bad.source.data / "big", 88)
    subprocess.run(
        ["rdiff-backup", "--api-version", "201", "--current-time", str(int(time.time()) - 86400), "backup",
         bad.source.data, tree],
        check=True, capture_output=True,
    )  # fmt: skip
    for each in (bad.source.data / "big").iterdir():
        each.unlink()
    names, before = sorted(os.listdir(tree)), place.free

    def pulled() -> dict[str, Any]:
        """What became of the import before a pull that is ok."""
        place.home.pull(bad.name)
        runs = place.home.json("runs", bad.name)["runs"]
        found = [each for each in runs if each["kind"] == "migrate"]
        assert "failed" == found[0]["outcome"], found
        return found[0]

    first = pulled()
    assert first["message"].startswith("the disk of this server is full (")
    assert "what it had sent was removed" in first["message"]
    assert before - place.free < 2 * MEGABYTE
    place.good.honest()
    again = pulled()
    assert again["id"] != first["id"]
    assert "the last run was stopped because the disk of this server was full" in again["message"]
    assert names == sorted(os.listdir(tree))
    place.good.honest()

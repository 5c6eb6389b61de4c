"""Retention on real repositories: what a plan says goes, by id; what stays restores; a kill at any moment loses nothing."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from shared import get, here, items
from stage import Pbs, SourceHost

from pbs.restore import compare

NOW = datetime.now(UTC)


def date(pbs: Pbs, snapshot: str, days: float) -> None:
    """Have the ledger say that a snapshot arrived so many days ago; what it claims stays as it is."""
    moment = (NOW - timedelta(days=days)).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    with contextlib.closing(sqlite3.connect(pbs.home / "var/lib/ledger.sqlite")) as db, db:
        db.execute(
            "UPDATE receipt SET time = ?, received = ? WHERE reference = ?", (moment, moment, snapshot)
        )


def states(pbs: Pbs, name: str = "web") -> dict[str, str]:
    """Every snapshot that was ever received, and what it counts as."""
    return {each["id"]: each["state"] for each in pbs.json("snapshots", name)["snapshots"]}


def in_repository(pbs: Pbs) -> set[str]:
    """The snapshots that lie there."""
    return {path.name for path in (pbs.repository() / "snapshots").iterdir()}


def pulled(pbs: Pbs, source: SourceHost, days: list[float]) -> list[str]:
    """A snapshot for each of these ages, each with a content of its own."""
    made = []
    for number, age in enumerate(days):
        (source.data / "which").write_text(f"snapshot {number}")
        made.append(pbs.pull()["snapshot"])
        date(pbs, made[-1], age)
    return made


def holds(pbs: Pbs, snapshot: str, text: str) -> None:
    """What a snapshot holds in its one changing file."""
    done = pbs("get", "web", "/which", "--snapshot", snapshot, "-o", "-")
    assert done.stdout == text


@pytest.fixture
def small(pbs: Pbs, source: SourceHost) -> Pbs:
    """A served home whose source keeps the last two, and one good one at least."""
    pbs.start()
    pbs.add("web", source, "--set", "keep=2B", "--set", "keep_least=1")
    return pbs


def test_a_good_pull_applies_the_rules_by_our_clock(small: Pbs, source: SourceHost, folder: Path) -> None:
    """A34: what no rule holds goes with the pull after it, by its arrival here; feed and lists say so; the rest restores."""
    first, second = pulled(small, source, [40, 30])
    (source.data / "which").write_text("snapshot 2")
    # What it claims is younger than both others, and counts for nothing.
    plan = small.json("retain", "web", "--dry-run")
    assert [(each["id"], each["kept_by"]) for each in plan["snapshots"]] == [
        (first, ["last"]),
        (second, ["last", "floor"]),
    ]
    run = small.pull()
    assert "1 snapshot(s) that no rule holds were removed" in run["message"]
    assert states(small) == {first: "forgotten", second: "admitted", run["snapshot"]: "admitted"}
    assert in_repository(small) == {second, run["snapshot"]}
    assert "no rule holds" in items(small, "web")[0]["description"]
    told = json.loads(get(small, "/api/v1/sources/web/snapshots"))["snapshots"]
    assert [each["kept_by"] for each in told] == [[], ["last"], ["last", "floor"]]
    small("restore", "web", "--to", str(folder / "back"))
    assert not compare(source.data, folder / "back")
    holds(small, second, "snapshot 1")
    assert small.json("retain", "web")["message"].startswith("no snapshot had to go")


def test_pins_floor_and_confirmation(pbs: Pbs, source: SourceHost) -> None:
    """A pinned snapshot stays; too many at once wait for a person who names the very plan; a mount makes it wait."""
    pbs.start()
    pbs.add("web", source, "--set", "keep={}", "--set", "keep_least=1")
    made = pulled(pbs, source, [50 - day for day in range(8)])
    assert 0 == here(pbs, "pin", "web", made[0][:10], "--note", "the last one before the move")[0]
    assert 7 == here(pbs, "pin", "web", "0" * 12)[0]
    config = pbs.home / "sources.d/web.toml"
    config.write_text(config.read_text().replace("keep = {}", 'keep = "1B"'))
    assert 0 == here(pbs, "reload")[0]
    refused = pbs.json("retain", "web", code=4)
    assert refused["outcome"] == "refused"
    plan = pbs.json("retain", "web", "--dry-run")
    assert plan["plan"] in refused["hint"]
    assert plan["snapshots"][0]["kept_by"] == ["pinned"]
    assert "is not the one of now" in pbs.json("retain", "web", "--confirm", "0" * 12, code=4)["message"]
    assert len(in_repository(pbs)) == 8
    pbs("mount", "web")
    try:
        busy = pbs.json("retain", "web", "--confirm", plan["plan"], code=1)
        assert "in use" in busy["message"]
        assert len(in_repository(pbs)) == 8
    finally:
        pbs("umount", "web")
    ended = pbs.json("retain", "web", "--confirm", plan["plan"])
    assert "6 snapshot(s)" in ended["message"]
    assert in_repository(pbs) == {made[0], made[-1]}
    holds(pbs, made[0], "snapshot 0")
    holds(pbs, made[-1], "snapshot 7")
    assert 0 == here(pbs, "unpin", "web", made[0])[0]
    assert "1 snapshot(s)" in pbs.json("retain", "web")["message"]
    assert in_repository(pbs) == {made[-1]}


def test_an_unreadable_file_freezes_until_it_is_no_news(small: Pbs, source: SourceHost, folder: Path) -> None:
    """F23: a pull that could read less than the one before removes nothing; with the same files unreadable it does."""
    pulled(small, source, [9, 8, 7])
    before = in_repository(small)
    # As root everything can be read: so the agent tells of it, as restic does.
    shy = source.root / "restic"
    real = source.root / "profile.toml"
    restic = next(
        line.partition('"')[2].rstrip('"')
        for line in real.read_text().splitlines()
        if line.startswith("restic")
    )
    warning = '{"message_type":"error","error":{"message":"permission denied"},"during":"archival","item":"/closed"}'
    shy.write_text(f"#!/bin/sh\n[ \"$1\" = version ] || echo '{warning}' >&2\n{restic} \"$@\"\nend=$?\n"
                   '[ $end = 0 ] && [ "$1" != version ] && exit 3\nexit $end\n')  # fmt: skip
    shy.chmod(0o755)
    source.profile(restic=str(shy))
    run = small.pull(code=3)
    assert "could read less" in run["message"], run
    assert before < in_repository(small)
    run = small.pull(code=3)
    assert "no rule holds" in run["message"], run


def test_a_removal_that_was_killed_is_settled_by_the_next_run(small: Pbs, source: SourceHost) -> None:
    """F13: killed between restic's removal and the ledger, or between the ledger and restic: the next run tells them apart."""
    first, second = pulled(small, source, [9, 8])
    with contextlib.closing(sqlite3.connect(small.home / "var/lib/ledger.sqlite")) as db, db:
        db.execute("UPDATE receipt SET leaving = 'killed'")
    assert 0 == small.restic("forget", first).returncode
    assert 7 == here(small, "ls", "web", first)[0]
    run = small.pull()
    assert states(small) == {first: "forgotten", second: "admitted", run["snapshot"]: "admitted"}
    holds(small, second, "snapshot 1")

"""The gate in the tunnel, asked by a source that holds the password: what no backup needs never reaches rest-server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import Victim, owned
from liar import fingerprint
from shared import here
from stage import Pbs

pytestmark = [pytest.mark.slow]


@pytest.fixture
def victim(home: Pbs, folder: Path) -> Iterator[Victim]:
    """A source that may read two megabytes in a run, and has one admitted snapshot of three."""
    with owned(home, folder, "--set", "read_budget=2MB", files=3, size=1_000_000) as made:
        yield made


ASKED = """
foreign = Door(PAST_DOOR).put("locks", forger.master.seal(b"{}"))
asked = []
for method, path, body in (
    ("POST", "/keys/" + "a" * 64, b"key"), ("POST", "/sub/?create=true", b""), ("POST", "/sub/config", b"x"), ("POST", "/config", b"{}"),
    ("DELETE", "/config", None), ("DELETE", "/locks/" + foreign, None), ("DELETE", "/snapshots/" + SNAPSHOT, None),
    ("GET", "/data/", None), ("GET", "/../x/config", None), ("PUT", "/data/" + "a" * 64, b"x"),
):
    asked.append([method, path, forger.way.ask(method, path, body)[0]])
chunked = forger.way.ask("POST", "/data/" + "a" * 64, iter([b"x"]))[0]
made = backup(wish)
second = tried(forger.ladder, 1)
second = tried(forger.snapshot, second)
note("told", [asked, chunked, second])
end(snapshot=made)
"""


def test_what_no_backup_asks_for_is_not_let_through(victim: Victim) -> None:
    """T10, T12, T13, T28: keys, sub-repositories, another's lock, a second snapshot are refused before rest-server, and told."""
    (first,) = victim.known
    repository = victim.home.repository(victim.name)
    before = {
        path: digest
        for path, digest in fingerprint(repository).items()
        if path.startswith(("keys", "config"))
    }
    run = victim.attacked(
        f"PAST_DOOR, SNAPSHOT = {str(victim.endpoint)!r}, {first!r}", ASKED, outcomes=("ok",)
    )
    asked, chunked, second = victim.told()
    assert {403} == {status for _, _, status in asked} | {chunked}, asked
    assert "403" in second
    assert "12 request(s) were not let through to the endpoint" in run["message"]
    assert "a backup adds no key" in run["message"]
    after = fingerprint(repository)
    assert before == {path: digest for path, digest in after.items() if path.startswith(("keys", "config"))}
    assert {"config", "data", "index", "keys", "locks", "snapshots"} == set(os.listdir(repository))
    assert [first, run["snapshot"]] == victim.admitted()
    told = json.loads(here(victim.home, "log", run["id"], "--json")[1])
    denied = [each for each in told["events"] if each.get("event") == "denied"]
    assert 12 == len(denied)
    assert "POST /keys/aaaaaaaa…" == denied[0]["request"]
    victim.honest()


def test_reading_has_a_budget(victim: Victim) -> None:
    """A source that reads back more than a backup needs is cut off within its budget; the run is refused and says so."""
    run = victim.attacked(
        "read = [0]",
        "try:\n    for _ in range(9):\n        for name in Door(PAST_DOOR).names('data'):\n"
        "            read[0] += len(forger.way.get('data', name))\n"
        "except Exception as error:\n    note('told', [read[0], repr(error)])".replace(
            "PAST_DOOR", repr(str(victim.endpoint))
        ),
        "end(outcome='failed', exit=1)",
        outcomes=("refused",),
    )
    assert "read more from its repository than `read_budget` allows" in run["message"]
    assert victim.told()[0] < 2_000_000
    assert "read_budget" in run["hint"]
    victim.unharmed()

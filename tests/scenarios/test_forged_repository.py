"""A source that forges its own repository, with the password and through the tunnel: what was admitted stays as it was.

What the gate refuses is played past it, through the endpoint's own socket: nothing behind the gate relies on it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import FAILS, Victim, owned
from liar import fingerprint
from shared import fresh, here, home_in_service, worker_peak
from stage import Pbs

pytestmark = [pytest.mark.slow, pytest.mark.long]
MOST_WORKER_BYTES = 300 << 20
FALSE_HOMES = ["home_in_garbage", "home_sealed", "home_absent", "home_in_old_pack"]


@pytest.fixture(scope="module")
def home() -> Iterator[Pbs]:
    """One served home; each test has a source of its own in it."""
    with home_in_service() as pbs:
        yield pbs
        assert worker_peak(pbs) < MOST_WORKER_BYTES


@pytest.fixture
def victim(home: Pbs, folder: Path) -> Iterator[Victim]:
    """A source with one admitted snapshot."""
    with owned(home, folder) as made:
        yield made


@pytest.mark.parametrize("end", [FAILS, "end(snapshot=backup(wish))"], ids=["failed", "named"])
def test_no_second_home_takes_the_place_of_the_first(victim: Victim, end: str) -> None:
    """T1: packs and indexes that claim every blob of earlier snapshots leave those as they were, pack by pack."""
    before = fingerprint(victim.home.repository(victim.name))
    victim.attacked(
        "attacks.second_home_garbage(forger)",
        "attacks.second_home_unindexed(forger)",
        "attacks.second_home_sealed(forger, 3)",
        "attacks.superseding(forger)",
        end,
        outcomes=("failed", "refused"),
    )
    victim.take()
    victim.unharmed()
    after = fingerprint(victim.home.repository(victim.name))
    assert {path for path in before if path.startswith("data/")} <= after.keys()
    assert "no errors were found" in victim.home.restic("check", "--read-data", name=victim.name).stdout


def test_our_own_prune_takes_nothing_that_is_needed(home: Pbs, folder: Path) -> None:
    """T1: after offers of a second home for everything, removing an old snapshot removes no pack that others need."""
    with owned(home, folder, "--set", "keep=2B", "--set", "keep_least=1") as victim:
        (first,) = victim.known
        for number in range(3):
            victim.attacked(
                "attacks.second_home_garbage(forger)\nattacks.second_home_sealed(forger, 3)",
                FAILS,
                outcomes=("failed", "refused"),
            )
            (victim.source.data / f"file-{number}").write_bytes(os.urandom(3000))
            victim.honest()
        assert first not in victim.admitted()
        for snapshot in victim.admitted():
            victim.restores(snapshot)
        assert "no errors were found" in home.restic("check", "--read-data", name=victim.name).stdout


def test_what_is_promised_elsewhere_is_sent_all_the_same(victim: Victim) -> None:
    """T2, T3: indexes that know the next files' content already do not make the next honest backup empty."""
    contents = {attack: os.urandom(1000) for attack in FALSE_HOMES}
    steps = [f"attacks.{attack}(forger, {content!r})" for attack, content in contents.items()]
    victim.attacked("made = backup(wish)", *steps, "end(snapshot=made)", outcomes=("ok", "refused"))
    victim.take()
    for attack, content in contents.items():
        (victim.source.data / attack).write_bytes(content)
    victim.unharmed()


@pytest.mark.parametrize("attack", FALSE_HOMES)
def test_a_snapshot_that_relies_on_a_promise_is_not_admitted(victim: Victim, attack: str) -> None:
    """T2, T3: a snapshot whose content lies where nothing is, is refused: `ok` means that it can be restored."""
    content = os.urandom(1000)
    (victim.source.data / "next").write_bytes(content)
    run = victim.attacked(
        f"attacks.{attack}(forger, {content!r})", "end(snapshot=backup(wish))", outcomes=("refused",)
    )
    assert run["snapshot"] is None
    victim.unharmed()


def test_a_poisoned_snapshot_is_no_parent(victim: Victim) -> None:
    """T4: a snapshot that looks like the disk and holds something else is not what the next run compares with."""
    (first,) = victim.known
    victim.attacked(
        f"attacks.poisoned_snapshot(forger, forger.restic, {first!r}, b'forged', **right)",
        FAILS,
        outcomes=("failed", "refused"),
    )
    victim.unharmed()


def test_forty_snapshots_change_no_answer(victim: Victim) -> None:
    """T5, T7: snapshots of every time, with our own host and tags, are not listed, not `latest`, not counted."""
    victim.attacked(
        "made = backup(wish)",
        "attacks.many_snapshots(forger, wish['source'], wish['tags'])",
        "attacks.ladder(forger, 1, **dict(right, time=attacks.YEAR_2099))",
        "end(snapshot=made)",
        past=True,
    )
    victim.take()
    code, said, told = here(victim.home, "ls", victim.name)
    assert (0, 4) == (code, len(said.splitlines())), told
    assert {*victim.known} == {
        each["id"]
        for each in victim.home.json("snapshots", victim.name)["snapshots"]
        if each["state"] == "admitted"
    }
    victim.unharmed()


def test_what_is_sealed_and_senseless_stops_nothing(victim: Victim) -> None:
    """T8, T9: files that open with our key and mean nothing stop no restore and no run, not even before the next one."""
    victim.attacked(
        "attacks.nonsense(forger, 'index')\nattacks.nonsense(forger, 'snapshots')\nattacks.odd_places(forger)",
        FAILS,
        past=True,
        outcomes=("failed", "refused"),
    )
    victim.unharmed()


def test_locks_and_keys_stop_nothing_and_end_nobody(victim: Victim) -> None:
    """T10, T12: locks of 2099, a lock in the name of a process here, 200 keys and keys that break restic do nothing."""
    with subprocess.Popen(["sleep", "600"]) as bystander:
        try:
            victim.attacked(
                "made = backup(wish)",
                "for _ in range(5):\n    attacks.keys_valid(forger)\nattacks.keys_odd(forger)",
                f"attacks.locks(forger, {bystander.pid}, {os.uname().nodename!r})",
                "end(snapshot=made)",
                past=True,
            )
            victim.take()
            victim.unharmed()
            assert not list((victim.home.repository(victim.name) / "locks").iterdir())
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_what_is_no_part_of_a_repository_does_not_stay(victim: Victim) -> None:
    """T13: repositories in the repository, a huge config among them, and refused uploads leave nothing behind."""
    repository = victim.home.repository(victim.name)
    before = sum(path.lstat().st_size for path in repository.rglob("*"))
    victim.attacked("attacks.sub_repositories(forger)\nattacks.refused_uploads(forger)", FAILS, past=True)
    victim.unharmed()
    assert {"config", "data", "index", "keys", "locks", "snapshots"} == set(os.listdir(repository))
    assert sum(path.lstat().st_size for path in repository.rglob("*")) < before + 1_000_000
    assert not list(repository.rglob("*temp*"))


BOMBS = {
    "index": f"attacks.index_bomb(forger, 8 << 30)\n{FAILS}",
    "snapshot": "end(snapshot=forger.bomb('snapshots', 8 << 30))",
    "tree": "end(**attacks.tree_blob_bomb(forger, 3 << 30, **right))",
    "data": "end(**attacks.data_blob_bomb(forger, 3 << 30, **right))",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_bursts_nobodys_memory(victim: Victim, bomb: str) -> None:
    """T14: kilobytes that unpack to gigabytes are not admitted; no process of ours grows with them."""
    run = victim.attacked(BOMBS[bomb], outcomes=("refused", "failed"))
    assert run["snapshot"] is None
    victim.unharmed()


def test_a_tree_without_end_is_not_walked(victim: Victim) -> None:
    """T15: folders deeper than any path: refused, in bounded time."""
    run = victim.attacked("end(**attacks.shaft(forger, **right))", outcomes=("refused",))
    assert run["snapshot"] is None
    victim.unharmed()


def test_a_terabyte_of_one_blob_is_counted_and_not_unpacked(victim: Victim) -> None:
    """T15: as sound as a disk image full of holes; everybody is told its size, before anybody restores it."""
    run = victim.attacked("end(**attacks.giant(forger, **right))", outcomes=("ok",))
    newest = victim.home.json("snapshots", victim.name)["snapshots"][-1]
    assert (run["snapshot"], 1 << 40) == (newest["id"], newest["bytes"])
    for snapshot in victim.known:
        victim.restores(snapshot)
    victim.honest()


def test_hostile_names_stay_inside(victim: Victim) -> None:
    """T16: names that lead out of a tree are not admitted, and those that only look bad do no harm."""
    victim.attacked("end(**attacks.names(forger, **right))")
    look_around(victim)
    assert not Path("/etc/pbs-was-here").exists()
    assert not Path("/tmp/pbs-was-here").exists()
    victim.honest()


def test_a_link_leads_no_restore_out(victim: Victim) -> None:
    """T16: a name that is a link out of the tree, and a folder as well, has nothing written behind the link."""
    outside = victim.folder / "outside"
    outside.mkdir()
    victim.attacked(f"end(**attacks.through_a_link(forger, {str(outside)!r}, **right))")
    look_around(victim)
    assert not list(outside.iterdir())
    victim.honest()


def test_special_files_do_not_come_back_unasked(victim: Victim) -> None:
    """T17: devices are left out of a restore unless asked for."""
    victim.attacked("end(**attacks.specials(forger, **right))")
    for out in look_around(victim):
        assert not {"disk", "kmem"} & set(os.listdir(out))
    victim.honest()


def look_around(victim: Victim) -> list[Path]:
    """Everything that a person would do, with every snapshot that was admitted; where they were restored to."""
    for words in (("ls", "--json"), ("ls",), ("log",), ("snapshots",), ("runs",)):
        code, said, told = here(victim.home, words[0], victim.name, *words[1:])
        assert "a fault of pbs" not in told
        assert not [
            sign for sign in said + told if (sign < " " and sign != "\n") or "\x7f" <= sign <= "\x9f"
        ], words
        assert code in (0, 1), told
    places = []
    for snapshot in victim.admitted():
        out = victim.folder / fresh("out")
        code, _, told = here(victim.home, "restore", victim.name, snapshot, "--to", str(out))
        assert "a fault of pbs" not in told
        assert code in (0, 1, 3), told
        places += [out] if out.exists() else []
    return places

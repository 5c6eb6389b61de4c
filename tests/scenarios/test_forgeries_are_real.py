"""What a source with its own password can do to plain restic behind an append-only rest-server: the forger works.

Each of these is a baseline. Where one of them fails one day, the tools have learnt to defend themselves, and a
scenario that plays the same attack against us proves less than it says.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from forge import Door, Folder, Forger, attacks, key_file
from shared import fresh
from stage import eventually, find, short_folder

PASSWORD = "the source holds this"
CONTENT = b"a file that is new today\n" * 40
BOMB_BYTES = 4 << 30
MEMORY_BYTES = 2 << 30


@dataclass
class Plain:
    """A repository behind a plain append-only rest-server, with one honest snapshot of `data`."""

    path: Path
    data: Path
    socket: Path
    first: str
    code: int = 0

    def forger(self) -> Forger:
        """Somebody with the password, at the door."""
        return Forger(Door(str(self.socket), f"/{self.path.name}"), PASSWORD)

    def restic(
        self, *words: str, code: int | None = 0, memory: int | None = None, timeout: float = 60
    ) -> str:
        """restic at the server, on the repository itself; what it prints."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (memory or 0, memory or 0))

        done = subprocess.run(
            [str(find("restic")), "-r", str(self.path), "--no-cache", *words], capture_output=True, text=True,
            env={**os.environ, "RESTIC_PASSWORD": PASSWORD}, check=False, timeout=timeout, cwd=self.data,
            preexec_fn=limit if memory else None,
        )  # fmt: skip
        self.code = done.returncode
        assert code is None or code == done.returncode, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout if done.returncode == 0 else done.stderr

    def backup(self, *words: str) -> str:
        """An honest backup; the snapshot."""
        told = self.restic("backup", "--json", "--host=web", *words, ".")
        return str(json.loads(told.splitlines()[-1])["snapshot_id"])

    def lost(self, snapshot: str) -> list[str]:
        """What does not come back of what lies in `data` now; the name where another content does."""
        target = self.path.with_name(f"{self.path.name}.out-{fresh()}")
        self.restic("restore", snapshot, "--target", str(target), code=None)
        return [
            path.name
            for path in sorted(self.data.iterdir())
            if not (target / path.name).exists() or (target / path.name).read_bytes() != path.read_bytes()
        ]


@pytest.fixture(scope="module")
def template() -> Iterator[tuple[Path, Path]]:
    """A folder with a repository of one snapshot, and the socket of a rest-server that serves what lies in it."""
    with short_folder() as folder:
        served = folder / "served"
        served.mkdir()
        data = folder / "data"
        data.mkdir()
        for number in range(6):
            (data / f"file-{number}").write_bytes(os.urandom(3000 + number))
        made = Plain(served / "template", data, folder / "sock", "")
        made.restic("init")
        way = Folder(made.path)
        (slow,) = way.names("keys")
        way.put("keys", key_file(Forger(way, PASSWORD).master, PASSWORD))
        (made.path / "keys" / slow).unlink()
        made.backup()
        command = [
            find("rest-server"),
            "--append-only",
            "--no-auth",
            "--listen",
            f"unix:{made.socket}",
            "--path",
            served,
        ]
        with subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                eventually(made.socket.exists, what="rest-server")
                yield made.path, folder
            finally:
                server.kill()


@pytest.fixture
def plain(template: tuple[Path, Path]) -> Plain:
    """A copy of the template."""
    path, folder = template
    name = fresh("plain")
    shutil.copytree(path, path.with_name(name))
    shutil.copytree(folder / "data", folder / f"data-{name}")
    first = os.listdir(path / "snapshots")
    return Plain(path.with_name(name), folder / f"data-{name}", folder / "sock", first[0])


@pytest.mark.parametrize("attack", ["second_home_garbage", "second_home_sealed"])
def test_prune_deletes_what_was_good(plain: Plain, attack: str) -> None:
    """T1: after a second home for every blob, `check` is clean and the server's own prune destroys old snapshots."""
    for _ in range(12):  # which of two homes prune keeps is chance
        done = getattr(attacks, attack)(plain.forger())
        assert "no errors were found" in plain.restic("check")
        (plain.data / "new").write_bytes(os.urandom(100))
        plain.backup()
        plain.restic("prune", "--max-unused=0", code=None)
        if plain.lost(plain.first):
            return
        assert done
    pytest.fail("prune kept the honest packs each time")


@pytest.mark.parametrize("attack", ["home_in_garbage", "home_sealed", "home_absent", "home_in_old_pack"])
def test_an_honest_backup_is_empty(plain: Plain, attack: str) -> None:
    """T2, T3: an index that knows the new file's content already makes an honest backup succeed without it."""
    getattr(attacks, attack)(plain.forger(), CONTENT)
    (plain.data / "new").write_bytes(CONTENT)
    assert "new" in plain.lost(plain.backup("--force"))


def test_other_lengths_bend_what_is_restored(plain: Plain) -> None:
    """T1: a pack that holds the very content and lies about its length ruins old snapshots; every check is clean."""
    big = plain.data / "big"
    big.write_bytes(os.urandom(9_000_000))
    snapshot = plain.backup()
    for _ in range(6):  # which of several homes restic takes is up to chance
        attacks.other_lengths(plain.forger())
        plain.restic("check", "--read-data")
        if lost := plain.lost(snapshot):
            break
    assert lost == ["big"]


def test_a_poisoned_parent_replaces_content(plain: Plain) -> None:
    """T4: an honest backup copies the forged content of a snapshot whose files look like those on the disk."""
    honest = plain.backup()
    now = datetime.now(UTC).isoformat()
    attacks.poisoned_snapshot(plain.forger(), plain.restic, honest, b"forged", time=now)
    assert 6 == len(plain.lost(plain.backup()))
    assert not plain.lost(plain.backup("--force"))


def test_forged_times_win(plain: Plain) -> None:
    """T5, T7: keep-rules count what the source claims, and `latest` is a snapshot of 2099."""
    attacks.many_snapshots(plain.forger(), "web", [], 8)
    attacks.many_snapshots(plain.forger(), "web", [], 8)
    attacks.ladder(plain.forger(), 1, hostname="web", time=attacks.YEAR_2099)
    assert '"2099-' in plain.restic("snapshots", "latest", "--json")
    plain.restic("forget", "--keep-yearly=2", "--group-by=")
    assert plain.first[:8] not in plain.restic("snapshots", "--json") or "2099" in plain.restic("snapshots")


@pytest.mark.parametrize("kind", ["index", "snapshots"])
def test_nonsense_stops_everything(plain: Plain, kind: str) -> None:
    """T8, T9: files that are sealed as they should be and mean nothing stop check and prune, in index/ every restore."""
    attacks.nonsense(plain.forger(), kind)
    restore = ("restore", plain.first, "--target", "/nonexistent/x")
    for words in ("check",), ("prune",), *((restore,) if kind == "index" else ()):
        plain.restic(*words, code=None)
        assert plain.code != 0, words


def test_a_lock_of_2099_stops_everything(plain: Plain) -> None:
    """T10: an exclusive lock of the future is never stale for restic, and one with a pid of ours ends that process."""
    with subprocess.Popen(["sleep", "60"]) as victim:
        plain.forger().lock(pid=victim.pid, hostname=os.uname().nodename)
        plain.restic("unlock")
        assert -signal.SIGHUP == victim.wait(10)
    attacks.locks(plain.forger())
    plain.restic("unlock", code=None)
    assert 2 <= len(os.listdir(plain.path / "locks"))
    assert "lock" in plain.restic("prune", code=None)


@pytest.mark.parametrize("attack", ["keys_valid", "keys_odd"])
def test_keys_stop_everything(plain: Plain, attack: str) -> None:
    """T12: keys beside ours, unless restic is told which one to try first."""
    ours = os.listdir(plain.path / "keys")[0]
    forger = plain.forger()
    for _ in range(10):  # which keys come before ours is chance, so each time ours has another name
        getattr(attacks, attack)(forger)
        new = Folder(plain.path).put("keys", key_file(forger.master, PASSWORD))
        (plain.path / "keys" / ours).unlink()
        ours = new
        plain.restic("cat", "config", code=None, memory=8 << 30)
        if plain.code != 0:
            break
    assert plain.code != 0
    os.environ["RESTIC_KEY_HINT"] = ours
    try:
        assert '"chunker_polynomial"' in plain.restic("cat", "config")
    finally:
        del os.environ["RESTIC_KEY_HINT"]


def test_repositories_within_the_repository(plain: Plain) -> None:
    """T13: `?create` is answered below the repository, and a `config` knows no quota."""
    done = attacks.sub_repositories(plain.forger())
    assert {"create": [200, 200, 200], "config": 200} == done
    assert 260 < sum(1 for _ in (plain.path / "sub0").rglob("*"))


def test_an_index_bomb_takes_all_memory(plain: Plain) -> None:
    """T14: some kilobytes of index need more than 2 GiB in `check`; with a limit restic ends with exit 2."""
    attacks.index_bomb(plain.forger(), BOMB_BYTES)
    assert 200_000 > max(path.stat().st_size for path in (plain.path / "index").iterdir())
    assert "out of memory" in plain.restic("check", code=2, memory=MEMORY_BYTES)


def test_a_ladder_has_no_end(plain: Plain) -> None:
    """T15: 2^28 folders in a few kilobytes: `check` is clean at once, `ls` does not come to an end."""
    planted = attacks.ladder(plain.forger())["snapshot"]
    began = time.monotonic()
    plain.restic("check", "--read-data")
    assert time.monotonic() - began < 60
    with pytest.raises(subprocess.TimeoutExpired):
        plain.restic("ls", planted, timeout=3)

"""What a change on the source costs: renames, rotated logs, deletions, two names of one content. Proven by the run's record."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from stage import PBS, Pbs, SourceHost, processes, short_folder

from pbs.restore import compare

pytestmark = pytest.mark.slow
MIB = 1 << 20
SIZE = 192


@pytest.fixture(scope="module")
def room() -> Iterator[tuple[Pbs, SourceHost]]:
    """A served home and a source whose folder is empty."""
    with short_folder() as folder:
        source = SourceHost(folder / "src")
        source.start()
        pbs = Pbs(folder)
        pbs.start()
        pbs.add("web", source)
        yield pbs, source
        pbs.stop()
        source.stop()


def blob(mebibytes: int, seed: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(mebibytes * MIB)


def test_a_renamed_file_that_changed_a_little_costs_little(room: tuple[Pbs, SourceHost]) -> None:
    """A large index under a new name with one contiguous 1 % changed adds and sends less than 10 % of it."""
    pbs, source = room
    # restic cuts pieces of up to 8 MiB; so large that two whole ones at the ends of the change are well below 10 %.
    content = bytearray(blob(SIZE, 1))
    (source.data / "20250101.index").write_bytes(content)
    assert pbs.pull()["outcome"] == "ok"
    start = 20 * MIB
    content[start : start + len(content) // 100] = blob(2, 2)[: len(content) // 100]
    (source.data / "20250101.index").unlink()
    (source.data / "20250102.index").write_bytes(content)
    run = pbs.pull()
    assert run["outcome"] == "ok"
    assert run["added_bytes"] < 0.1 * SIZE * MIB
    assert run["tunnel_bytes"] < 0.1 * SIZE * MIB


def test_a_deleted_file_costs_nothing(room: tuple[Pbs, SourceHost]) -> None:
    """Deleting a 64 MiB file adds and sends less than 1 MiB: nothing is compressed anew."""
    pbs, source = room
    (source.data / "doomed").write_bytes(blob(64, 3))
    pbs.pull()
    (source.data / "doomed").unlink()
    run = pbs.pull()
    assert run["outcome"] == "ok"
    assert run["added_bytes"] < MIB
    assert run["tunnel_bytes"] < MIB


def test_rotated_logs_cost_next_to_nothing(room: tuple[Pbs, SourceHost]) -> None:
    """log.1 → log.2 → log.3, the contents unchanged, adds less than 1 % of them."""
    pbs, source = room
    for number in (1, 2, 3):
        (source.data / f"log.{number}").write_bytes(blob(8, 10 + number))
    pbs.pull()
    for number in (3, 2, 1):
        (source.data / f"log.{number}").rename(source.data / f"log.{number + 1}")
    run = pbs.pull()
    assert run["outcome"] == "ok"
    assert run["added_bytes"] < 0.01 * 24 * MIB


def test_the_same_content_under_two_names_is_stored_once(
    room: tuple[Pbs, SourceHost], tmp_path: Path
) -> None:
    """Two equal files in one tree count once, compression is seen in the record, and the tree restores."""
    pbs, source = room
    same = blob(16, 20)
    (source.data / "one").write_bytes(same)
    (source.data / "two").write_bytes(same)
    (source.data / "text").write_bytes(b"compressible line\n" * 400_000)
    run = pbs.pull()
    assert run["outcome"] == "ok"
    assert run["added_bytes"] < 26 * MIB
    assert run["stored_bytes"] < 18 * MIB < run["added_bytes"]
    pbs("restore", "web", "--to", str(tmp_path / "out"))
    assert not compare(source.data, tmp_path / "out")


def test_sending_and_compressing_go_on_together(room: tuple[Pbs, SourceHost]) -> None:
    """While new compressible data is read, the tunnel carries bytes all the time: nothing waits for the end."""
    pbs, source = room
    pattern = blob(1, 30).hex().encode()
    with (source.data / "dump.sql").open("wb") as file:
        for number in range(96):
            file.write(b"%d" % number + pattern[number:] + pattern[:number])
    # Slowed, so that there is something to sample: about 100 MB leave at 8 MB/s.
    path = pbs.home / "sources.d/web.toml"
    path.write_text(path.read_text() + '\nlimits = { upload = "8MB/s" }\n')
    pbs("reload")
    pbs("pull", "web", "--no-wait")
    data, sizes = pbs.repository() / "data", []
    import time

    while pbs.json("runs", "web")["runs"][0]["state"] != "ended":
        sizes.append(sum(path.stat().st_size for path in data.rglob("*") if path.is_file()))
        time.sleep(1)
    run = pbs.json("runs", "web")["runs"][0]
    assert run["outcome"] == "ok"
    steps = [later > earlier for earlier, later in pairwise(sizes[2:])]
    assert steps, "the run was too short to sample"
    assert sum(steps) >= 0.6 * len(steps), sizes


def test_an_ordinary_pull_never_starts_rdiff_backup(room: tuple[Pbs, SourceHost]) -> None:
    """Without a legacy tree, restic and rest-server work and rdiff-backup is not started."""
    pbs, source = room
    (source.data / "more").write_bytes(os.urandom(60 * MIB))
    seen: set[str] = set()
    with subprocess.Popen([*PBS, "--home", pbs.home, "pull", "web"], stdout=subprocess.DEVNULL) as pull:
        while pull.poll() is None:
            # Whatever works on this home or this source names a path of theirs.
            for argv in (processes(str(pbs.home)) | processes(str(source.root))).values():
                seen |= {Path(word).name for word in argv[:3]}
    assert pull.returncode == 0
    assert "rdiff-backup" not in seen
    assert {"restic"} <= seen

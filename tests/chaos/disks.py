"""A disk that fills up, and one that loses power: real small file systems in the place of parts of a home.

Needs root, for the mounts. Space that was taken is given back, and nothing is repaired by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial

from aftermath import PATIENCE, Stand, random_file, stand
from disk import fill, free, small_disk
from kinds import IDLE, KINDS, MEGABYTE, PULL, SLOW
from scenes import Fault, Ground, Scene
from stage import eventually, processes

from pbs.model import Outcome, RunState

OK, FAILED, INTERRUPTED = Outcome.OK, Outcome.FAILED, Outcome.INTERRUPTED
FULL_SECONDS = (0.5, 6.0)
# ioctl of ext4 and xfs: from now on nothing reaches the disk, the journal's last part included.
SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2


def on_small_disk(part: str, megabytes: int) -> Ground:
    """A served home, one part of which lies on a small disk."""

    @contextlib.contextmanager
    def ground() -> Iterator[Stand]:
        with stand() as made, small_disk(made.pbs.home / part, megabytes):
            try:
                made.prove_first(*SLOW)
                yield made
            finally:
                made.pbs.stop()

    return ground


def fill_for_a_while(scene: Scene, part: str, most: int) -> None:
    """Take all but a random rest while the run goes on, and give it back a little later."""
    disk = scene.stand.pbs.home / part
    fill(disk, scene.dice.choice([0, scene.dice.randrange(4096, most)]))
    deadline = time.monotonic() + scene.dice.uniform(*FULL_SECONDS)
    while time.monotonic() < deadline and not scene.over():
        time.sleep(0.05)
    free(disk)


def backups_full(scene: Scene) -> None:
    """The disk fills up by the transfer itself: a sentence says so, restoring works, and space cures everything."""
    stand = scene.stand
    srv = stand.pbs.home / "srv"
    first, like = next(iter(stand.known.items()))
    big = stand.source.data / "big"
    random_file(big, 72 * MEGABYTE)
    run = stand.pbs.pull(code=1)
    assert run["message"].startswith("the disk of this server is full (")
    assert "free some space" in run["hint"]
    stand.restores(first, like)
    fill(srv)
    assert stand.pbs.pull(code=1)["message"].startswith("the disk of this server is full (0 B free)")
    stand.restores(first, like)
    stand.pbs("get", "web", "/d0/file-0", "--snapshot", first, "-o", str(stand.folder / "out"))
    assert (stand.folder / "out").read_bytes() == (like / "d0/file-0").read_bytes()
    free(srv)
    big.unlink()


def random_spaces(scene: Scene) -> None:
    """Runs into ever another rest of space: each ends well or says that the disk is full, and leaves what it should."""
    stand = scene.stand
    srv = stand.pbs.home / "srv"
    for _ in range(10 if scene.thorough else 2):
        random_file(stand.source.data / "big", scene.dice.randrange(1, 9) * MEGABYTE)
        fill(srv, scene.dice.randrange(4096, 10 * MEGABYTE))
        with stand.pulling() as (process, run):
            process.wait(PATIENCE)
        ended = stand.ended(run.id)
        assert ended.outcome is OK or "disk" in (ended.message or ""), ended
        # Its agent takes a moment to notice that it was cut off, and lets nobody else begin until then.
        eventually(lambda: not stand.pids("agent"), PATIENCE, "the end of the agent")
        free(srv)
    stand.next_pull()


def state_full(scene: Scene) -> None:
    """The service lives on and says why it does nothing; restoring works with it and without it."""
    stand = scene.stand
    var = stand.pbs.home / "var"
    first, like = next(iter(stand.known.items()))
    before = {name: stand.pids(name) for name in ("controller", "worker", "supervisord", "endpoint")}
    runs = stand.runs()
    fill(var)
    refused = stand.pbs("pull", "web", code=1)
    assert "the disk is full" in refused.stderr
    assert "free some space" in refused.stderr
    assert runs == stand.runs()
    assert list(stand.titles()) == [run.id for run in runs]
    stand.restores(first, like)
    assert before == {name: stand.pids(name) for name in before}
    stand.pbs("stop")
    fill(var)
    refused = stand.pbs("serve", "--detach", code=None)
    assert refused.returncode in (1, 2)
    assert "the disk is full" in refused.stderr
    stand.restores(first, like)
    assert stand.pbs.json("snapshots", "web")["snapshots"][-1]["id"] in stand.known
    free(var)
    stand.pbs.start()


def end_cannot_be_written(scene: Scene) -> None:
    """A run whose end cannot be written stays a run, and gets its end, no other, once there is space."""
    stand = scene.stand
    var = stand.pbs.home / "var"
    snapshots = stand.pbs.repository() / "snapshots"
    there = len(list(snapshots.iterdir()))
    fill(var)
    eventually(stand.source_is_quiet, PATIENCE, "the end of the transfer")
    eventually(lambda: len(list(snapshots.iterdir())) > there, PATIENCE, "the snapshot")
    assert scene.run is not None
    assert stand.run(scene.run.id).state is RunState.RUNNING
    free(var)
    ended = stand.ended(scene.run.id)
    if ended.outcome is FAILED:
        assert "the disk is full" in (ended.message or "")


def power_cut(scene: Scene) -> None:
    """Nothing reaches the disk any more, then everybody is dead; then the disk is mounted, and somebody starts the service."""
    stand = scene.stand
    scene.down = True
    promised = {run.id for run in stand.runs() if run.outcome is OK}
    _lose_power(stand)
    kept = {run.id for run in stand.runs() if run.outcome is OK}
    assert promised <= kept, f"was told as ok, and is forgotten: {promised - kept}"
    stand.pbs.start()


def power_cut_after(scene: Scene) -> None:
    """The power goes at the moment when somebody hears that the run is ok: that snapshot is there, and restores."""
    stand = scene.stand
    for _ in range(5 if scene.thorough else 1):
        random_file(stand.source.data / "new", scene.dice.randrange(1, 3 * MEGABYTE))
        run = stand.pbs.pull()
        _lose_power(stand)
        assert stand.run(run["id"]).outcome is OK
        stand.restores(run["snapshot"], stand.source.data)
        stand.pbs.start()


def _lose_power(stand: Stand) -> None:
    home = stand.pbs.home
    handle = os.open(home, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
    finally:
        os.close(handle)
    for pid in processes(str(home)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not processes(str(home)), PATIENCE, "the end of everything")
    # Mounting it anew replays its journal, as after a real one.
    eventually(
        lambda: subprocess.run(["umount", home], capture_output=True, check=False).returncode == 0,
        PATIENCE,
        "the disk",
    )
    subprocess.run(["mount", "-o", "loop", home.with_name(f"{home.name}.img"), home], check=True)
    shutil.rmtree(home / "lost+found", ignore_errors=True)


def _full(name: str, number: str, what: str, part: str, megabytes: int, most: int) -> Fault:
    return Fault(
        f"disk-full-{name}", tuple(number.split()), what, partial(fill_for_a_while, part=part, most=most),
        kinds=("changed", "unchanged", "restore"), stages=(*KINDS["changed"].stages, "restore"),
        ends=frozenset({OK, FAILED, INTERRUPTED}),
        ground=on_small_disk(part, megabytes), usual=("changed/backup",),
    )  # fmt: skip


def _scripted(name: str, number: str, what: str, act: Callable[[Scene], None], ground: Ground) -> Fault:
    return Fault(
        name, tuple(number.split()), what, act, kinds=("unchanged",), stages=(IDLE,), usual=("unchanged/idle",), ground=ground
    )  # fmt: skip


FAULTS = (
    _full("repository", "F8", "the disk of the repositories, for some seconds of a run", "srv/backup/pbs", 96, 10 * MEGABYTE),
    _full("ledger", "F9", "the disk of the ledger, for some seconds of a run", "var/lib", 8, MEGABYTE // 4),
    _full("feeds", "F25", "the disk of the feeds, for some seconds of a run", "srv/feeds", 8, 16384),
    _full("home", "F8 F9", "the one disk of a whole home, for some seconds of a run", "", 128, 10 * MEGABYTE),
    _scripted("disk-full-by-a-transfer", "F8", "more arrives than the disk can hold", backups_full, on_small_disk("srv", 64)),
    _scripted("disk-full-random", "F8", "runs into ever another rest of space", random_spaces, on_small_disk("srv", 96)),
    _scripted("disk-full-state", "F9 F25", "no space below var, at work and at the start", state_full, on_small_disk("var", 16)),
    Fault(
        "disk-full-at-the-end", ("F9",), "no space below var from the transfer to the end of the run", end_cannot_be_written,
        kinds=("changed",), stages=("backup",), ends=frozenset({OK, FAILED}), ground=on_small_disk("var", 16),
    ),
    Fault(
        "power-cut", ("F10",), "the disk of the home keeps only what was synced, and everybody dies", power_cut,
        kinds=("changed", "unchanged", "migrate", "restore"), stages=("import", *PULL, "receipt", "restore"),
        ends=frozenset({OK, INTERRUPTED}),
        ground=on_small_disk("", 256), usual=("changed/admission",),
    ),
    _scripted(
        "power-cut-after-ok", "F10", "the power goes as soon as a run was told as ok", power_cut_after, on_small_disk("", 128)
    ),
)  # fmt: skip

"""Two of something where there should be one, many at one repository, and what the dead leave lying about."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aftermath import PATIENCE, is_dead
from kinds import EVERY, IDLE, PULL
from scenes import Fault, Scene
from shared import here
from stage import PBS, eventually

from pbs.files import lock_folder
from pbs.model import Outcome
from pbs.restore import compare

OK, FAILED = Outcome.OK, Outcome.FAILED


def second_service(scene: Scene) -> None:
    """A second service refuses with a sentence, and the first does not even notice."""
    stand = scene.stand
    watched = ("serve", "supervisord", "controller", "worker")
    before = {name: stand.pids(name) for name in watched}
    for how in (["serve"], ["serve", "--detach"]):
        refused = stand.pbs(*how, code=2, within=stand.pbs.within)
        assert "is already served" in refused.stderr
        assert "`pbs stop` ends it" in refused.stderr
    assert before == {name: stand.pids(name) for name in watched}


def readers(scene: Scene) -> None:
    """While a run goes on, others restore, list, take a file and mount: each gets what was admitted, the run is ok."""
    stand = scene.stand
    snapshot, like = next(iter(stand.known.items()))

    def mount() -> None:
        place = stand.scratch("mnt")
        place.mkdir()
        stand.pbs("mount", stand.name, str(place))
        shown = place / "ids" / snapshot / "d0/file-0"
        assert shown.read_bytes() == (like / "d0/file-0").read_bytes()
        stand.pbs("umount", str(place))

    def take() -> None:
        out = stand.scratch("out")
        stand.pbs("get", stand.name, "/d0/file-0", "--snapshot", snapshot, "-o", str(out))
        assert out.read_bytes() == (like / "d0/file-0").read_bytes()

    def restore() -> None:
        target = stand.scratch("restored")
        stand.pbs("restore", stand.name, "--snapshot", snapshot, "--to", str(target))
        assert not compare(like, target)

    tasks = (
        mount,
        take,
        restore,
        lambda: stand.pbs.json("ls", stand.name, snapshot),
    )
    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(task) for _ in range(3 if scene.thorough else 1) for task in tasks]:
            done.result(PATIENCE)


def kill_mount(scene: Scene) -> None:
    """Whoever serves a mount is killed, then its restic, then the service beside it: the next mount works, and ends."""
    stand = scene.stand
    place = stand.home.mountpoint(stand.name)
    for victim in ("server", "restic"):
        stand.pbs("mount", stand.name)
        assert (place / "latest/d0/file-0").exists()
        served = _mount_processes(str(stand.pbs.home))
        dead = [pid for pid, restic in served.items() if restic == (victim == "restic")]
        assert dead, served
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        eventually(
            lambda dead=dead: not set(dead) & set(_mount_processes(str(stand.pbs.home))),
            PATIENCE,
            "the death",
        )
    stand.pbs("mount", stand.name)
    assert (place / "latest/d0/file-0").exists()
    stand.pbs("umount", stand.name)
    eventually(lambda: not _mount_processes(str(stand.pbs.home)), PATIENCE, "the end of the mount")


def _mount_processes(home: str) -> dict[int, bool]:
    """The processes of mounts of this home, and whether each is restic."""
    from stage import processes

    return {
        pid: Path(argv[0]).name == "restic"
        for pid, argv in processes(home, "mount").items()
        if "mount" in argv
    }


def left_over(path: Path) -> None:
    """A socket that nobody answers any more."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    assert is_dead(path)


def stale_sockets(scene: Scene) -> None:
    """Dead sockets and folders of ours are replaced or removed; what is alive, or not of that kind, stays."""
    stand = scene.stand
    stand.pbs.stop()
    home = stand.home
    for path in (home.supervisor_socket, home.controller_socket, home.endpoint_socket("web")):
        left_over(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as old:
        (home.sockets / "wake/worker-0").unlink(missing_ok=True)
        old.bind(str(home.sockets / "wake/worker-0"))
    dead = [stand.source.sockets / f"{number:012x}.sock" for number in range(5)]
    for path in dead:
        left_over(path)
    work = home.work("web")
    work.mkdir(exist_ok=True)
    for name in ("view-01234567", "view-89abcdef", "import-01234567"):
        (work / name).mkdir()
        (work / name / "much").write_text("of a killed process")
    (home.feeds / ".web.xml.01234567.tmp").write_text("torn")
    held = lock_folder(work / "view-89abcdef")
    assert held is not None
    alive, plain = stand.source.sockets / "alive.sock", stand.source.sockets / "plain.sock"
    plain.write_text("not a socket")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(alive))
        other.listen()
        stand.pbs.start()
        eventually(stand.serving, PATIENCE, "the service")
        stand.next_pull()
        assert [path for path in dead if path.exists()] == []
        assert alive.exists()
    assert plain.read_text() == "not a socket"
    assert ["view-89abcdef"] == [path.name for path in work.iterdir()]
    assert list(home.feeds.glob(".*")) == []
    os.close(held)
    for path in (alive, plain):
        path.unlink()


def no_socket(scene: Scene) -> None:
    """A file in the place of the endpoint's socket is not removed; the run fails and says what to move away."""
    stand = scene.stand
    stand.pbs.stop()
    path = stand.home.endpoint_socket("web")
    path.unlink(missing_ok=True)
    path.write_text("somebody's")
    stand.pbs.start()
    failed = stand.pbs.pull(code=1)
    assert f"{path} is not a socket: move it away" in failed["message"]
    assert path.read_text() == "somebody's"
    path.unlink()
    stand.next_pull()
    eventually(stand.serving, PATIENCE, "the endpoint")


def stop_following(scene: Scene) -> None:
    """The service is stopped as people stop it, while a run goes on and another waits: the one ends, the other is done later."""
    from pbs.cli.client import Service

    stand = scene.stand
    scene.down = True
    waiting = Service(stand.home.controller_socket).post(
        "/api/v1/runs", {"source": stand.name, "kind": "pull"}
    )
    with (
        contextlib.suppress(subprocess.TimeoutExpired),
        subprocess.Popen([*PBS, "--home", str(stand.pbs.home), "stop"], stdin=subprocess.DEVNULL) as stopping,
    ):
        assert stopping.wait(PATIENCE) == 0
    assert stand.source_is_quiet()
    for victim in ("serve", "supervisord", "controller", "worker", "endpoint"):
        assert stand.pids(victim) == []
    stand.pbs.start()
    assert stand.ended(waiting["id"]).outcome is OK


def cancel(scene: Scene) -> None:
    """Somebody wants a run to stop: it ends soon, as cancelled or as what it had become."""
    assert scene.run is not None
    code, _, told = here(scene.stand.pbs, "cancel", scene.run.id)
    assert code == 0 or "has ended already" in told, told


FAULTS = (
    Fault(
        "cancel-run", ("F1",), "somebody cancels the run", cancel, stages=EVERY,
        ends=frozenset({OK, Outcome.CANCELLED}), says="cancelled by", usual=("check/reading",),
    ),
    Fault(
        "second-service", ("F20",), "somebody serves the same home a second time", second_service, kinds=("changed",),
        stages=("backup",), ends=frozenset({OK}),
    ),
    Fault(
        "readers-during-run", ("F20",), "others restore, list and mount while a run goes on", readers,
        kinds=("changed", "unchanged"), stages=PULL, ends=frozenset({OK}),
    ),
    Fault(
        "stop-during-run", ("F1",), "somebody stops the service while one run goes on and another waits", stop_following,
        kinds=("changed",), stages=("backup",), ends=frozenset({OK, Outcome.INTERRUPTED}), says="the service was stopped",
    ),
    Fault(
        "kill-mount", ("F18",), "whoever serves a mount is killed", kill_mount, kinds=("unchanged",), stages=(IDLE,),
        usual=("unchanged/idle",),
    ),
    Fault(
        "stale-sockets", ("F4", "F6", "F17"), "sockets, folders and half-written files of the dead lie about", stale_sockets,
        kinds=("unchanged",), stages=(IDLE,), usual=("unchanged/idle",),
    ),
    Fault(
        "not-a-socket", ("F4",), "a file lies where the endpoint's socket should be", no_socket, kinds=("unchanged",),
        stages=(IDLE,), usual=("unchanged/idle",),
    ),
)  # fmt: skip

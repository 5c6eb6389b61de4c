"""kill -9 of every kind of process at every stage where it lives. What it strikes it strikes once, and without warning."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aftermath import PATIENCE, Stand, stand
from kinds import EVERY, IDLE, PULL, SLOW
from scenes import Fault, Missed, Scene
from stage import PBS, eventually

from pbs.endpoint import Supervisor
from pbs.files import FileLock
from pbs.model import Outcome

OK, FAILED, INTERRUPTED = Outcome.OK, Outcome.FAILED, Outcome.INTERRUPTED


def kill(scene: Scene, victim: str) -> None:
    """SIGKILL to all processes of this kind."""
    if (
        scene.stage == "backup"
        and scene.kind != "unchanged"
        and victim not in ("agent", "restic", "connection")
    ):
        eventually(lambda: scene.stand.transferring() or scene.over(), PATIENCE, "the transfer")
    if victim == "import":
        eventually(lambda: importing(scene) or scene.over(), PATIENCE, "the import")
    for pid in scene.victims(victim):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def importing(scene: Scene) -> bool:
    """Whether the import has written something, and goes on."""
    return bool(scene.stand.pids("import")) and any(
        (scene.stand.pbs.repository(scene.stand.name) / "data").glob("*/*")
    )


def kill_service(scene: Scene, victim: str) -> None:
    """SIGKILL to the top of the service; then somebody starts it again, and does nothing else."""
    scene.down = True
    kill(scene, victim)
    scene.stand.serve_again()


def kill_together(scene: Scene) -> None:
    """Worker, controller and endpoint die in one moment."""
    for victim in ("controller", "endpoint", "worker"):
        kill(scene, victim)


@contextlib.contextmanager
def on_demand() -> Iterator[Stand]:
    """A served home whose endpoint exists for the length of a run."""
    with stand() as made:
        made.prove_first(*SLOW, "--set", "endpoint=on-demand")
        yield made


def kill_on_demand(scene: Scene) -> None:
    """Worker and controller die together: the endpoint that was started for the run is ended and forgotten."""
    place = scene.stand
    for victim in ("controller", "worker"):
        kill(scene, victim)
    supervisor = Supervisor(place.home.supervisor_socket, place.home.etc / "supervisord.d")
    name = f"endpoint-{place.name}"
    eventually(
        lambda: name not in {each["name"] for each in supervisor.all()}, PATIENCE, "forgetting the endpoint"
    )
    assert not place.pids("endpoint")
    assert not supervisor.registered(name)


def keep_endpoint_away(scene: Scene) -> None:
    """The endpoint is killed, and cannot start again until the run has ended."""
    stand = scene.stand
    eventually(lambda: stand.transferring() or scene.over(), PATIENCE, "the transfer")
    lock = FileLock(stand.home.locks / f"{stand.name}.endpoint.lock")
    with ThreadPoolExecutor() as threads:
        # Whoever waits for it has it before the next rest-server asks.
        held = threads.submit(lock.acquire, wait=True)
        for pid in scene.victims("endpoint"):
            os.kill(pid, signal.SIGKILL)
        assert held.result(PATIENCE)
    since = time.monotonic()
    eventually(scene.over, PATIENCE, "the end of a run without endpoint")
    # restic alone would have tried for a quarter of an hour.
    assert time.monotonic() - since < 60
    lock.release()


def kill_endpoint_often(scene: Scene) -> None:
    """An endpoint that is killed again and again is back each time, on the same socket."""
    stand = scene.stand
    for _ in range(20 if scene.thorough else 3):
        # Until it has become rest-server, there is who starts it as well.
        (old,) = eventually(
            lambda: len(found := stand.pids("endpoint")) == 1 and found, PATIENCE, "one endpoint"
        )
        os.kill(old, signal.SIGKILL)
        eventually(lambda old=old: stand.pids("endpoint") not in ([], [old]), PATIENCE, "the endpoint")
        eventually(stand.serving, PATIENCE, "the service")


def kill_rotations(scene: Scene) -> None:
    """Whoever gives a repository a new password is killed again and again: the password that is kept opens it, each time."""
    stand = scene.stand
    for _ in range(15 if scene.thorough else 2):
        with subprocess.Popen(
            [*PBS, "--home", str(stand.pbs.home), "key", "rotate", stand.name],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as rotation:  # fmt: skip
            with contextlib.suppress(subprocess.TimeoutExpired):
                rotation.wait(scene.dice.uniform(0.2, 2.5))
            rotation.kill()
        assert stand.pbs.restic("snapshots", name=stand.name).returncode == 0
    # Nobody waits for the next run with it.
    eventually(lambda: not stand.home.rotation(stand.name).exists(), PATIENCE, "the end of what was begun")
    eventually(lambda: stand.pids("endpoint"), PATIENCE, "the endpoint")
    stand.next_pull()
    assert len(list((stand.pbs.repository(stand.name) / "keys").iterdir())) == 1


def abort_often(scene: Scene) -> None:
    """Runs whose connection dies, one after the other: nothing grows on either side."""
    stand = scene.stand
    for _ in range(50 if scene.thorough else 4):
        with stand.pulling() as (process, run):
            scene.run = run
            with contextlib.suppress(Missed):
                for pid in scene.victims("connection"):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            process.wait(PATIENCE)
        eventually(stand.source_is_quiet, 15, "the end of agent and restic on the source")
    assert len(list(stand.source.sockets.iterdir())) <= 2
    eventually(lambda: not stand.busy(), PATIENCE, "an idle source")


def _kill(
    victim: str,
    number: str,
    what: str,
    stages: tuple[str, ...],
    ends: set[Outcome],
    says: str = "",
    **more: Any,
) -> Fault:
    act = kill_service if victim in ("serve", "supervisord") else kill
    return Fault(
        f"kill-{victim}", tuple(number.split()), what, partial(act, victim=victim), stages=stages, ends=frozenset(ends),
        says=says, **more,
    )  # fmt: skip


FAULTS = (
    _kill(
        "worker", "F1 F11 F12 F13 F21 F27", "the process that carries out the run", EVERY, {OK, INTERRUPTED}, "died",
        usual=("changed/backup", "first/shut", "unchanged/admission", "migrate/import", "retain/retention",
               "prune/prune", "check/reading", "restore/restore"),
    ),
    _kill("controller", "F1", "the process that serves the API and the feeds", EVERY, {OK}),
    _kill("endpoint", "F3", "the source's rest-server, which supervisord starts again", PULL[2:6], {OK, FAILED}),
    _kill("supervisord", "F5", "the keeper of all processes; then the service is started again", EVERY, {OK, INTERRUPTED}, "died"),
    _kill(
        "serve", "F5", "the parent of the service; then it is started again", EVERY, {OK, INTERRUPTED},
    ),
    _kill("agent", "F1", "the agent on the source", ("forward", "backup"), {OK, FAILED}, "signal KILL"),
    _kill("restic", "F2", "restic on the source", ("backup",), {OK, FAILED}, "killed by signal 9"),
    _kill(
        "connection", "F1", "sshd's process of the connection, on the source", PULL[3:6], {OK, FAILED},
        "the connection to the source was lost",
    ),
    _kill(
        "reader", "F11 F12 F13 F27", "restic on the server, while it looks at what arrived, removes what no rule holds, or restores",
        ("admission", "snapshot", "retention", "prune", "structure", "restore"), {OK, FAILED}, latest=0.0,
        usual=("changed/admission", "retain/retention"),
    ),
    _kill(
        "import", "F21", "restic on the server, while it imports a legacy tree", ("import",), {OK}, kinds=("migrate",),
        usual=("migrate/import",),
    ),
    Fault(
        "kill-together", ("F1", "F3"), "worker, controller and endpoint in one moment", kill_together, stages=PULL[2:6],
        ends=frozenset({OK, INTERRUPTED}), says="died",
    ),
    Fault(
        "kill-on-demand",
        ("F1",),
        "worker and controller, where the endpoint exists for the run only",
        kill_on_demand,
        kinds=("changed",),
        stages=PULL[2:6],
        ends=frozenset({INTERRUPTED}),
        says="died",
        ground=on_demand,
    ),
    Fault(
        "endpoint-stays-away", ("F3",), "a killed endpoint cannot start again until the run has ended", keep_endpoint_away,
        kinds=("changed", "first"), stages=("backup",), ends=frozenset({FAILED}), says="did not come back",
    ),
    Fault(
        "kill-endpoint-often", ("F4",), "the endpoint dies again and again", kill_endpoint_often, kinds=("unchanged",),
        stages=(IDLE,), usual=("unchanged/idle",),
    ),
    Fault(
        "kill-rotation", ("F26",), "whoever gives a repository a new password dies at it, again and again", kill_rotations,
        kinds=("unchanged",), stages=(IDLE,), usual=("unchanged/idle",),
    ),
    Fault(
        "abort-often", ("F6",), "the connection of run after run dies", abort_often, kinds=("changed",), stages=(IDLE,),
        usual=("changed/idle",),
    ),
)  # fmt: skip

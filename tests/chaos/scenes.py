"""One play: a run of some kind is begun, a fault strikes at one of its stages, and then everything must hold that is promised.

It knows no fault; those are handed in. It repairs nothing: what a person would have to do by hand is a failure.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aftermath import PATIENCE, Stand, stand
from invariants import all_holds
from kinds import IDLE, KINDS, SLOW
from stage import eventually

from pbs.cli.runs import EXIT_CODES
from pbs.model import Outcome, Run, RunState

TRIES = 3
SERVICE_DOWN = 6
# The longest wait between a stage's line in the log and the blow.
LATEST_SECONDS = {"backup": 2.0, "import": 0.5, "restore": 1.0, IDLE: 0.0}
USUAL_LATEST_SECONDS = 0.15
Ground = Callable[[], contextlib.AbstractContextManager[Stand]]


class Missed(Exception):
    """What was to be struck was not there at that moment."""


@contextlib.contextmanager
def plain() -> Iterator[Stand]:
    """A served home with one admitted snapshot; its line is slow on purpose."""
    with stand() as made:
        made.prove_first(*SLOW)
        yield made


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: what it is, where it can strike, and how a run that it struck may end."""

    name: str
    numbers: tuple[str, ...]
    what: str
    act: Callable[[Scene], None]
    kinds: tuple[str, ...] = tuple(KINDS)
    stages: tuple[str, ...] = KINDS["changed"].stages
    # What is played where each fault has its turn once: kind and stages.
    usual: tuple[str, ...] = ("changed/backup",)
    ground: Ground = plain
    ends: frozenset[Outcome] = frozenset({Outcome.OK, Outcome.FAILED, Outcome.INTERRUPTED})
    # What the message of a run tells that it struck in the middle of its transfer.
    says: str = ""
    # The longest wait between the stage's line in the log and the blow, where the stage's own would be too long.
    latest: float | None = None

    def places(self) -> list[str]:
        """Every kind and stage that it can be played on."""
        return [
            f"{kind}/{stage}"
            for kind in self.kinds
            for stage in (*KINDS[kind].stages, IDLE)
            if stage in self.stages
        ]


@dataclass
class Scene:
    """A play that goes on: where, on which run, at which stage, with which dice."""

    stand: Stand
    kind: str
    stage: str
    dice: random.Random
    # Whether there is time to do it often.
    thorough: bool = False
    run: Run | None = None
    # The service was ended: whoever followed the run may have been told only that.
    down: bool = False
    since: float = field(default_factory=time.monotonic)

    def over(self) -> bool:
        """Whether the run has ended, or there is none."""
        return self.run is None or self.stand.run(self.run.id).state is RunState.ENDED

    def victims(self, victim: str, seconds: float = 5.0) -> list[int]:
        """The processes to strike, as soon as there are any.

        Raises:
            Missed: the run ended without them.
        """
        deadline = time.monotonic() + seconds
        while not (found := self.stand.pids(victim)):
            if time.monotonic() > deadline or self.over():
                raise Missed(victim)
        return found


def play(ground: Stand, fault: Fault, place: str, dice: random.Random, *, thorough: bool = False) -> str:
    """Play one fault at one place and look at everything afterwards. Returns how the run ended.

    Raises:
        AssertionError: something does not hold that is promised.
        Missed: the fault found nothing to strike.
    """
    kind, _, stage = place.partition("/")
    with KINDS[kind].ready(ground, dice) as stand:
        scene = Scene(stand, kind, stage, dice, thorough)
        if stage == IDLE:
            fault.act(scene)
            how = IDLE
        else:
            how = struck(scene, fault)
        all_holds(stand)
        KINDS[kind].proven(stand)
        return how


def struck(scene: Scene, fault: Fault) -> str:
    """Begin the run and strike; where the run was too quick, once more."""
    for _ in range(TRIES):
        with contextlib.suppress(Missed), begun(scene, fault.latest) as process:
            fault.act(scene)
            assert scene.run is not None
            ended = scene.stand.ended(scene.run.id)
            told(scene, fault, ended, process)
            return ended.outcome or ""
    raise Missed(f"{fault.name} found nothing to strike in {TRIES} runs")


@contextlib.contextmanager
def begun(scene: Scene, latest: float | None) -> Iterator[subprocess.Popen[str]]:
    """A run that has come to the scene's stage, and whoever follows it."""
    stand = scene.stand
    eventually(stand.serving, PATIENCE, "the service")
    eventually(lambda: not stand.busy(), PATIENCE, "an idle source")
    logs = stand.home.run_log(stand.name, "x").parent
    known = set(logs.glob("*"))
    verb, *more = KINDS[scene.kind].words
    with stand.pulling(None, verb, *more) as (process, run):
        scene.run = run
        reach(scene, logs, known, latest)
        yield process
        if not scene.over():
            process.wait(PATIENCE)


def reach(scene: Scene, logs: Path, known: set[Path], latest: float | None) -> None:
    """Return when the run's log told of the stage, which it does before it acts, and a moment later."""
    line = f'"stage": "{scene.stage}"'.encode()
    deadline = time.monotonic() + PATIENCE

    def told() -> bool:
        return any(line in path.read_bytes() for path in set(logs.glob("*")) - known)

    while not told():
        # It may come to it, and to its end, between two looks.
        assert not scene.over() or told(), f"it ended without {scene.stage}: {scene.run}"
        assert time.monotonic() < deadline, f"it never came to {scene.stage}"
    latest = LATEST_SECONDS.get(scene.stage, USUAL_LATEST_SECONDS) if latest is None else latest
    time.sleep(max(0.0, scene.dice.uniform(-latest / 3, latest)))


def told(scene: Scene, fault: Fault, ended: Run, process: subprocess.Popen[str]) -> None:
    """The run ended as it may, says why, and whoever followed it heard of it."""
    stand = scene.stand
    assert ended.outcome in fault.ends, ended
    if ended.outcome is not Outcome.OK:
        assert ended.message, ended
        assert ended.hint, ended
        assert "a fault of pbs" not in ended.message, ended
        if scene.stage == "backup":
            assert fault.says in ended.message, ended
    said, _ = process.communicate(timeout=PATIENCE)
    allowed = {EXIT_CODES[ended.outcome or ""]} | ({SERVICE_DOWN, -signal.SIGKILL} if scene.down else set())
    assert process.returncode in allowed, (process.returncode, said, ended)
    if ended.outcome is not Outcome.OK:
        eventually(stand.source_is_quiet, 15, "the end of agent and restic on the source")

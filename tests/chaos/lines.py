"""A line between server and source that is cut, slow or loses packets: two networks of their own, and every packet
between them passes through our hands.

Needs root and /dev/net/tun; the networks of the machine are not touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from aftermath import PATIENCE, Stand, stand
from kinds import PULL, SLOW
from scenes import Fault, Missed, Scene
from stage import eventually

from pbs.model import Outcome

OK, FAILED = Outcome.OK, Outcome.FAILED
SERVER, SOURCE = "10.213.0.1", "10.213.0.2"
# The controller asks every 15 s and gives up after four questions without an answer; the agent waits for 60 s.
CONTROLLER_SECONDS, AGENT_SECONDS = 90, 75
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
_lines: dict[str, Line] = {}


@dataclass
class Line:
    """What carries packets between the two ends, and what it does to them."""

    ends: tuple[int, int]
    cut: bool = False
    loss: float = 0.0
    delay: tuple[float, float] = (0.0, 0.0)
    lost: int = 0
    carried: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Carry packets until `stop`."""
        self._thread = threading.Thread(target=self._carry, name="line", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Carry nothing any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for end in self.ends:
            os.close(end)

    def _carry(self) -> None:
        dice, order = random.Random(1), itertools.count()
        other = dict(zip(self.ends, reversed(self.ends), strict=True))
        under_way: list[tuple[float, int, int, bytes]] = []
        while not self._stop.is_set():
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else 0.2
            for end in select.select(self.ends, (), (), min(wait, 0.2))[0]:
                packet = os.read(end, 65536)
                if self.cut or dice.random() < self.loss:
                    self.lost += 1
                    continue
                due = time.monotonic() + dice.uniform(*self.delay)
                heapq.heappush(under_way, (due, next(order), other[end], packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(under_way)
                with contextlib.suppress(OSError):
                    os.write(end, packet)
                self.carried += 1


@contextlib.contextmanager
def network(address: str, peer: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """A network of its own with one interface: what starts a program in it, and the packets of the interface."""
    own = os.readlink("/proc/self/ns/net")
    keeper = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
    where = f"/proc/{keeper.pid}/ns/net"
    try:
        eventually(lambda: os.readlink(where) != own, what="the network")
        inside = ("nsenter", f"--net={where}")
        end = _interface(where)
        for command in (
            "ip link set lo up", f"ip addr add {address} peer {peer} dev line", "ip link set line mtu 1400 up",
        ):  # fmt: skip
            subprocess.run([*inside, *command.split()], check=True)
        yield inside, end
    finally:
        keeper.kill()
        keeper.wait()


def _interface(where: str) -> int:
    """A new interface `line` in that network. A thread goes there and ends, so that nobody else does."""
    found: list[int] = []

    def make() -> None:
        with open(where) as there:
            if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", b"line", IFF_TUN | IFF_NO_PI))
        found.append(end)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert found, "there is no /dev/net/tun that could be opened"
    return found[0]


@contextlib.contextmanager
def apart() -> Iterator[Stand]:
    """A served home and a source, each in a network of its own."""
    with (
        network(SERVER, SOURCE) as (here, server), network(SOURCE, SERVER) as (there, source),
        stand(address=SOURCE, within=there) as made,
    ):  # fmt: skip
        line = Line((server, source))
        line.start()
        made.pbs.within = here
        _lines[str(made.folder)] = line
        try:
            made.prove_first(*SLOW)
            yield made
        finally:
            made.pbs.stop()
            made.source.stop()
            line.stop()
            del _lines[str(made.folder)]


def line_of(scene: Scene) -> Line:
    """The line of this play."""
    return _lines[str(scene.stand.folder)]


def cut_for_good(scene: Scene) -> None:
    """Nothing arrives any more, and nobody hangs up: both sides let go in time, while the line stays dead."""
    line, stand = line_of(scene), scene.stand
    line.cut = True
    since = time.monotonic()
    eventually(
        lambda: not stand.pids("restic") and not stand.pids("agent"), AGENT_SECONDS, "the end of the agent"
    )
    eventually(scene.over, CONTROLLER_SECONDS - (time.monotonic() - since), "the end of the run")
    line.cut = False


def cut_for_seconds(scene: Scene) -> None:
    """Nothing arrives for some seconds, then everything goes on as if nothing had been."""
    line = line_of(scene)
    line.cut = True
    deadline = time.monotonic() + scene.dice.uniform(2, 20 if scene.thorough else 8)
    while time.monotonic() < deadline and not scene.over():
        time.sleep(0.05)
    line.cut = False


def disturb(scene: Scene) -> None:
    """Packets come late, in another order, or not at all, until the run has ended."""
    line = line_of(scene)
    line.delay, line.loss = (0.005, scene.dice.uniform(0.01, 0.05)), scene.dice.uniform(0.005, 0.03)
    lost = line.lost
    eventually(scene.over, PATIENCE * 2, "the end of a run over a bad line")
    line.delay, line.loss = (0.0, 0.0), 0.0
    if line.lost == lost and scene.stage == "backup":
        raise Missed("not a single packet was lost")


FAULTS = (
    Fault(
        "line-cut-for-good", ("F7",), "the line falls silent and stays so until both sides have let go", cut_for_good,
        kinds=("changed", "first"), stages=("backup",), ends=frozenset({FAILED}), says="the connection to the source was lost",
        ground=apart,
    ),
    Fault(
        "line-cut-for-seconds", ("F7",), "nothing arrives for some seconds", cut_for_seconds, kinds=("changed", "first", "unchanged"),
        stages=PULL[2:7], ends=frozenset({OK, FAILED}), ground=apart,
    ),
    Fault(
        "line-late-and-lossy", ("F7",), "packets come late, in another order, or not at all", disturb,
        kinds=("changed", "first", "unchanged"), stages=PULL[1:6], ends=frozenset({OK}), ground=apart,
    ),
)  # fmt: skip

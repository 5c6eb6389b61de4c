"""A clock that jumps, and a ledger that somebody else holds. The machine's own clock is never touched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from aftermath import PATIENCE, Stand, random_file, stand
from kinds import IDLE, PULL, SLOW
from scenes import Fault, Scene

from pbs.model import Outcome

OK, FAILED, INTERRUPTED = Outcome.OK, Outcome.FAILED, Outcome.INTERRUPTED
# Longer than anybody of ours waits for the ledger.
LONG_SECONDS = 40.0


def library() -> Path:
    """What hands the service another clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "faketime is not installed: ./bootstrap install --tests"
    return found[0]


@contextlib.contextmanager
def with_another_clock() -> Iterator[Stand]:
    """A served home whose processes take the time from a file; what never goes back (monotonic) is the kernel's."""
    with stand() as made:
        jump(made, "+0")
        made.pbs.within = (
            "env", f"LD_PRELOAD={library()}", f"FAKETIME_TIMESTAMP_FILE={made.folder / 'clock'}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1", sys.executable, str(Path(__file__).with_name("other_clock.py")),
        )  # fmt: skip
        made.prove_first(*SLOW)
        yield made


def jump(place: Stand, offset: str) -> None:
    """From now on the service's clock is so far from the machine's."""
    new = place.folder / "clock.new"
    new.write_text(f"{offset}\n")
    os.replace(new, place.folder / "clock")


def jump_during(scene: Scene, offset: str) -> None:
    """The clock jumps in the middle of a run, which takes no notice; the run after it is dated by the new time."""
    jump(scene.stand, offset)
    assert scene.run is not None
    ended = scene.stand.ended(scene.run.id)
    assert ended.ended is not None
    assert ended.started is not None
    forward = offset.startswith("+")
    assert (ended.ended > ended.started) == forward, ended


def jump_to_and_fro(scene: Scene) -> None:
    """Between runs the clock goes to another year and back: the newest snapshot is always the one that came last."""
    place = scene.stand
    for offset in ("+3y", "-2d", "+0"):
        jump(place, offset)
        random_file(place.source.data / "new", 50_000)
        place.next_pull()


def hold_ledger(scene: Scene, seconds: float) -> None:
    """Somebody else has the ledger's write lock."""
    holder = sqlite3.connect(scene.stand.home.ledger, isolation_level=None, timeout=PATIENCE)
    try:
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        holder.execute("ROLLBACK")
    finally:
        holder.close()


def _jump(name: str, what: str, offset: str) -> Fault:
    return Fault(
        name, ("F19",), what, partial(jump_during, offset=offset), kinds=("changed",), stages=PULL[2:6], ends=frozenset({OK}),
        ground=with_another_clock,
    )  # fmt: skip


FAULTS = (
    _jump("clock-jumps-forward", "the server's clock jumps two years ahead during a run", "+2y"),
    _jump("clock-jumps-back", "the server's clock jumps back by a day during a run", "-1d"),
    Fault(
        "clock-jumps-between", ("F19",), "the server's clock jumps years ahead, and back, between runs", jump_to_and_fro,
        kinds=("unchanged",), stages=(IDLE,), usual=("unchanged/idle",), ground=with_another_clock,
    ),
    Fault(
        "ledger-locked-shortly", ("F9",), "another process holds the ledger for five seconds", partial(hold_ledger, seconds=5.0),
        ends=frozenset({OK}),
    ),
    Fault(
        "ledger-locked-long", ("F9",), "another process holds the ledger for longer than anybody waits",
        partial(hold_ledger, seconds=LONG_SECONDS), kinds=("changed", "unchanged"), stages=("endpoint", "backup", "admission"),
        ends=frozenset({OK, FAILED}),
    ),
)  # fmt: skip

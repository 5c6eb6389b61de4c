"""What holds for a child from before its program begins: it ends with us, within its bounds, and leaves no core.

It starts nothing: `process` does, and uses this between fork and exec.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
OOM_SCORE = Path("/proc/self/oom_score_adj")
# Before anything of ours that must go on: but not before what the kernel would rather end.
GOES_FIRST = "900"

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal_number: int = signal.SIGKILL, pidfile: Path | None = None) -> None:
    """Ask the kernel to send this process a signal when the thread that started it ends.

    Where `pidfile` names another process than our parent, that ended while we started, and so do we.
    """
    _libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if pidfile is not None:
        with contextlib.suppress(OSError):
            said = pidfile.read_text().strip()
            if said.isdigit() and int(said) != os.getppid():
                sys.exit("the process that started this one is gone")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a child may use: bytes of address space, seconds of processor time; `nice` makes it give way to others.

    Where memory runs out all the same, the kernel ends a child that is bounded in it before it ends us.
    """

    memory: int | None = None
    cpu: int | None = None
    nice: int = 0


UNBOUNDED = Bounds()


def child_setup(
    parent: int, signal_number: int = signal.SIGKILL, bounds: Bounds = UNBOUNDED
) -> Callable[[], None]:
    """What a child does between fork and exec so that it never outlives `parent` nor takes more than its bounds.

    It leaves no core either: there would be keys in it.
    """
    limits = (
        (resource.RLIMIT_AS, bounds.memory),
        (resource.RLIMIT_CPU, bounds.cpu),
        (resource.RLIMIT_CORE, 0),
    )

    def setup() -> None:
        die_with_parent(signal_number)
        for kind, wanted in limits:
            if wanted is not None:
                # What we may not have ourselves, a child cannot be given.
                most = resource.getrlimit(kind)[1]
                limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
                resource.setrlimit(kind, (limit, limit))
        if bounds.memory is not None:
            with contextlib.suppress(OSError):
                OOM_SCORE.write_text(GOES_FIRST)
        if bounds.nice:
            os.nice(bounds.nice)
        if os.getppid() != parent:
            os._exit(1)

    return setup

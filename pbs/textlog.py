"""One text log of what every run said, for people who grep: var/log/runs.log. A view of the ledger, written by the controller.

Each line begins with the run's end and id. At 10 MB the file becomes runs.log.1, and so on up to runs.log.3.
"""

from __future__ import annotations

import os
from pathlib import Path

from pbs.clock import stamp
from pbs.files import append_line, rotate
from pbs.model import Run

MOST_BYTES = 10_000_000
OLD_FILES = 3
TAIL_BYTES = 1 << 18


def record(path: Path, run: Run) -> None:
    """Add a run that has ended, once: one that stands near the end of the file already is passed over.

    Raises:
        OSError: the log cannot be written.
    """
    if _recorded(path, run.id):
        return
    rotate(path, MOST_BYTES, OLD_FILES)
    head = f"{stamp(run.ended)} {run.id}"
    lines = f"{run.outcome}: {run.message or ''}\n{run.output or ''}".splitlines()
    # One write, so that a full disk leaves whole entries or none.
    append_line(path, "\n".join(f"{head} {line}" for line in lines).encode("utf-8", "replace"))


def _recorded(path: Path, run_id: str) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return f" {run_id} ".encode() in file.read()
    except FileNotFoundError:
        return False

"""The text log of all runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pbs import textlog
from pbs.model import Cause, Kind, Outcome, Run, RunState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = Run(
    "r-1",
    "web",
    Kind.PULL,
    Cause.ASKED,
    RunState.ENDED,
    NOW,
    Outcome.OK,
    NOW,
    NOW,
    message="fine",
    output="a\nb",
)


def test_every_line_names_its_run_and_a_run_stands_there_once(tmp_path: Path) -> None:
    """What a run said is one block, each line with its id, and a second record changes nothing."""
    path = tmp_path / "runs.log"
    textlog.record(path, RUN)
    textlog.record(path, RUN)
    textlog.record(path, replace(RUN, id="r-2", outcome=Outcome.FAILED, message=None, output=None))
    head = "2026-01-02T03:04:05Z"
    assert [
        f"{head} r-1 ok: fine",
        f"{head} r-1 a",
        f"{head} r-1 b",
        f"{head} r-2 failed: ",
    ] == path.read_text().splitlines()


def test_it_is_rotated(tmp_path: Path) -> None:
    """A file that is large enough becomes .1, the oldest goes."""
    path = tmp_path / "runs.log"
    for number in range(6):
        if path.exists():
            path.write_bytes(path.read_bytes() + b"x" * textlog.MOST_BYTES)
        textlog.record(path, replace(RUN, id=f"r-{number}"))
    assert ["runs.log", "runs.log.1", "runs.log.2", "runs.log.3"] == sorted(
        each.name for each in tmp_path.iterdir()
    )
    assert "r-5" in path.read_text()

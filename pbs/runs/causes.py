"""What an agent's unhappy end means: an error with what to do. Nothing that it says is believed where we know better."""

from __future__ import annotations

import re

from pbs.errors import (
    AdmissionRefused,
    AgentBusy,
    AgentMissing,
    AgentRefused,
    HomeError,
    PbsError,
    TunnelBroken,
)
from pbs.runs.ports import Event
from pbs.runs.progress import whole_number
from pbs.runs.report import Report
from pbs.runs.room import ADVICE
from pbs.runs.work import Work
from pbs.text import size

BUSY, NO_TOOL, REFUSED = 75, 69, (64, 77)
DISK_FULL_BYTES = 64 << 20
# How rest-server, repeated by restic, says that a file cannot be written.
NO_SPACE = re.compile(r"\(507\)|Insufficient Storage|\(500\)")


def end_error(end: Event, status: int | None, name: str) -> PbsError:
    """What an agent's unhappy end means, by its exit code."""
    message = Report.words(end.get("message")) or "the agent gives no reason"
    if status in REFUSED or end.get("outcome") == "refused":
        return AgentRefused(
            f"the agent on {name} refuses: {message}", "its profile on the source decides what it does"
        )
    if status == BUSY:
        return AgentBusy(f"the agent on {name} is busy: {message}", "wait for the other run to end")
    if status == NO_TOOL:
        return AgentMissing(
            f"the agent on {name} lacks a tool: {message}",
            "`pbs agent bundle` writes the agent with a restic that works",
        )
    return TunnelBroken(
        f"the agent on {name} failed: {message}",
        "the run's log has what restic said; the next run sends what is missing",
    )


def why_failed(work: Work, end: Event) -> PbsError:
    """Why the agent failed, where we know it better: its restic only says that our endpoint takes nothing more."""
    error = end_error(end, whole_number(end.get("exit")), work.source.name)
    if NO_SPACE.search(error.message) is None:
        return error
    free, quota = work.repository.space().free, work.source.quota
    if free < DISK_FULL_BYTES:
        return HomeError(
            f"the disk of this server is full ({size(free)} free): {error.message}",
            ADVICE,
        )
    if quota is not None:
        return AdmissionRefused(
            f"the quota of {work.source.name} ({size(quota)}) is used up: {error.message}",
            "raise `quota` of the source, or exclude something in the agent's profile",
        )
    return error

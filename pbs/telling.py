"""Events of a run's log in words for people, the same on a terminal and on a page. Pure; every text of others is made safe."""

from __future__ import annotations

import math
from typing import Any

from pbs.runs.stages import STAGES
from pbs.text import clean_line, duration, size

WHOLE = 100.0


def event_text(event: dict[str, Any]) -> str | None:
    """One event as a sentence; None for what only machines want."""
    match event["event"]:
        case "stage":
            text = stage_text(event.get("stage"))
        case "progress":
            text = progress_text(event)
        case "warning":
            text = f"cannot read {event.get('path')}: {event.get('reason')}"
        case "quarantined":
            what = event.get("name") or f"snapshot {str(event.get('snapshot'))[:8]}"
            text = f"{what} was not admitted: {event.get('reason')}"
        case "admitted":
            text = f"the snapshot {str(event.get('snapshot') or event.get('id'))[:8]} is admitted"
        case "unexpected-key":
            text = f"an unexpected repository key arrived: {str(event.get('key'))[:8]}"
        case "denied":
            text = f"not let through to the endpoint: {event.get('request')}: {event.get('reason')}"
        case "log" | "remark":
            text = str(event.get("text"))
        case "hello":
            text = f"agent {event.get('agent')} with restic {event.get('restic')} answers"
        case "ended":
            text = f"{event.get('outcome')}: {event.get('message')}"
        case _:
            return None
    return clean_line(text, 500)


def stage_text(name: object) -> str:
    """A stage as people read it."""
    stage = STAGES.get(str(name))
    return stage.text if stage is not None else clean_line(str(name), 80)


def progress_text(event: dict[str, Any]) -> str:
    """How far a run is: percent (`~` where the total is the last run's), what was read, how fast, what is left."""
    percent, left = event.get("percent"), event.get("seconds_left")
    about = "~" if event.get("estimated") else ""
    # Never rounded up: on a slow line a source has long read everything while most of it is still on its way.
    words = [f"{about}{math.floor(percent)} %"] if isinstance(percent, int | float) else []
    words.append(f"{event.get('files') or 0} files, {_fast(event, 'bytes', 'rate')}")
    if event.get("sent"):
        words.append(f"sent {_fast(event, 'sent', 'sent_rate')}")
        if (
            not about
            and percent != WHOLE
            and 0 < (event.get("total_bytes") or 0) <= (event.get("bytes") or 0)
        ):
            words.append("all is read, the rest is on its way")
    if isinstance(left, int) and left:
        words.append(f"{about}{duration(left)} left")
    current = event.get("current")
    if isinstance(current, list) and current:
        words.append(clean_line(str(current[0]), 120))
    return " · ".join(words)


def _fast(event: dict[str, Any], count: str, rate: str) -> str:
    """A size, and how fast it grows where that is known."""
    speed = event.get(rate)
    return size(event.get(count) or 0) + (f" at {size(speed)}/s" if isinstance(speed, int) and speed else "")

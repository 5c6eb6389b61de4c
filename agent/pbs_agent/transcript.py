"""What one program said: passed on as events while it runs, and what has to be known of it at the end.

Bounded in every direction, because file names and error texts are the source's. It never decides an outcome.
"""

from __future__ import annotations

import collections
import json
import time
from typing import Any, Deque, Dict, Optional, Set

from pbs_agent import restic
from pbs_agent.reply import Reply
from pbs_agent.words import SNAPSHOT_ID, Event

_MOST_WARNINGS = 1000
_MOST_LOGS = 1000
_MOST_REMEMBERED = 100_000
_LOG_CHARACTERS = 2000
_TAIL_LINES = 20
_TAIL_CHARACTERS = 400
_PROGRESS_SECONDS = 1.0


class Tail:
    """The last lines of a program's text, relayed to standard error as they come."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._lines: Deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._trace = False

    def line(self, data: bytes) -> None:
        """Take one line."""
        text = data.decode("utf-8", "replace").rstrip()
        # What follows "goroutine" is the stack of a restic that broke: no news for people.
        self._trace = self._trace or text.startswith("goroutine ")
        if text:
            self._lines.extend([] if self._trace else [text[:_TAIL_CHARACTERS]])
            self._reply.say(text[:_LOG_CHARACTERS])

    def quoted(self, who: str) -> str:
        """The lines as the end of a message, or nothing."""
        return f"\n{who} said:\n" + "\n".join(self._lines) if self._lines else ""


class Transcript:
    """restic's two outputs. Its JSON comes on both: errors on standard error, the rest on standard output."""

    def __init__(self, reply: Reply) -> None:
        self.tail = Tail(reply)
        self.snapshot: Optional[str] = None
        self._reply = reply
        self._unreadable: Set[int] = set()
        self._beyond = 0  # counted without being remembered
        self._warnings = 0
        self._logs = 0
        self._next_progress = 0.0

    @property
    def unreadable(self) -> int:
        """How many different files and folders restic could not read."""
        return len(self._unreadable) + self._beyond

    def out(self, line: bytes) -> None:
        """One line of standard output."""
        message = _message(line)
        if message is not None:
            self._pass_on(message)
        elif line.strip():
            self._log(line)

    def err(self, line: bytes) -> None:
        """One line of standard error."""
        message = _message(line)
        if message is None:
            self.tail.line(line)
        elif message.get("message_type") == "exit_error":
            self.tail.line(str(message.get("message")).encode("utf-8", "replace"))
        else:
            self._pass_on(message)

    def _pass_on(self, message: Dict[str, Any]) -> None:
        kind = restic.kind(message)
        if kind is Event.PROGRESS:
            self._progress(message)
        elif kind is Event.WARNING:
            self._warn(restic.warning(message))
        elif kind is Event.SUMMARY:
            snapshot = message.get("snapshot_id")
            if isinstance(snapshot, str) and SNAPSHOT_ID.fullmatch(snapshot):
                self.snapshot = snapshot
            fields = {key: value for key, value in message.items() if key not in ("message_type", "event")}
            self._reply.send(Event.SUMMARY, fields)

    def _progress(self, message: Dict[str, Any]) -> None:
        now = time.monotonic()
        if now >= self._next_progress:
            # From when it was due: restic's own ticks jitter, and every second one would be lost.
            self._next_progress = max(self._next_progress + _PROGRESS_SECONDS, now + _PROGRESS_SECONDS / 2)
            self._reply.offer(Event.PROGRESS, restic.progress(message))

    def _warn(self, fields: Dict[str, Any]) -> None:
        seen = hash(fields["path"])
        if seen in self._unreadable:
            return
        if len(self._unreadable) >= _MOST_REMEMBERED:
            self._beyond += 1
            return
        self._unreadable.add(seen)
        if self._warnings < _MOST_WARNINGS and self._reply.offer(Event.WARNING, fields):
            self._warnings += 1

    def _log(self, line: bytes) -> None:
        if self._logs < _MOST_LOGS:
            self._logs += 1
            self._reply.offer(Event.LOG, {"text": line.decode("utf-8", "replace")[:_LOG_CHARACTERS]})


def _message(line: bytes) -> Optional[Dict[str, Any]]:
    if not line.startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "message_type" in value else None

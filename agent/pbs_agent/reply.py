"""Standard output and standard error: events for the controller, text for people; neither ever blocks the agent.

A controller that stops reading must not be able to hold the agent, so lines wait in a bounded buffer and are
written when there is room. It never formats what a word means, and never writes a password.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any, Dict

from pbs_agent.words import Event

_CHUNK = 4096  # a pipe or socket that poll calls writable takes so much without blocking
_BACKLOG_BYTES = 256 * 1024  # above it, events that may be lost are dropped
_STDERR_BYTES = 256 * 1024  # all that one agent ever relays to standard error


class Reply:
    """The lines of one reply."""

    def __init__(self, output: int = 1, errors: int = 2) -> None:
        self.output = output
        self._errors = errors
        self._errors_left = _STDERR_BYTES
        self._waiting = bytearray()
        self._moved = time.monotonic()
        self.broken = False  # nobody reads any more

    @property
    def waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._waiting) and not self.broken

    @property
    def stuck_seconds(self) -> float:
        """For how long something has been waiting without a single byte going out."""
        return time.monotonic() - self._moved if self.waiting else 0.0

    def send(self, event: Event, fields: Dict[str, Any]) -> None:
        """Queue an event that must arrive."""
        if not self._waiting:
            self._moved = time.monotonic()
        self._waiting += json.dumps({"event": event.value, **fields}).encode("ascii") + b"\n"
        self.write_some()

    def offer(self, event: Event, fields: Dict[str, Any]) -> bool:
        """Queue an event that may be lost; False if it was, because the controller reads too slowly."""
        if len(self._waiting) > _BACKLOG_BYTES:
            return False
        self.send(event, fields)
        return True

    def write_some(self) -> None:
        """Write what there is room for, without waiting."""
        while self.waiting and _writable(self.output, 0):
            try:
                done = os.write(self.output, self._waiting[:_CHUNK])
            except BlockingIOError:
                return
            except OSError:  # the reader is gone, and with it the reason to go on
                self.broken = True
                return
            del self._waiting[:done]
            self._moved = time.monotonic()

    def flush(self, seconds: float) -> None:
        """Write all that waits, for at most so long."""
        end = time.monotonic() + seconds
        while self.waiting and time.monotonic() < end:
            _writable(self.output, min(0.2, max(0.0, end - time.monotonic())))
            self.write_some()

    def say(self, text: str) -> None:
        """Text for people; bounded, and dropped where nobody takes it."""
        data = (text.rstrip("\n") + "\n").encode("utf-8", "replace")[: self._errors_left]
        self._errors_left -= len(data)
        while data and _writable(self._errors, 0):
            try:
                done = os.write(self._errors, data[:_CHUNK])
            except OSError:
                return
            data = data[done:]


def _writable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))

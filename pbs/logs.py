"""How controller and workers write their logs: each line with its time, level, room, and the run and source it is about.

One formatter on the standard library's logging, so that the lines of every library go through it as well. What came from
elsewhere is cleaned here, once: no message steers a terminal or forges a line. It knows no file: supervisord writes and
rotates them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from pbs.clock import stamp
from pbs.text import clean, clean_line

MOST_MESSAGE = 4000
MOST_TRACE = 20_000
# Whatever is logged in a task of a run, by whichever library, is about that run.
_about: ContextVar[tuple[str, str] | None] = ContextVar("about", default=None)


@contextmanager
def about(source: str, run: str) -> Iterator[None]:
    """What is logged in this block, and in tasks that it starts, is about this run."""
    token = _about.set((source, run))
    try:
        yield
    finally:
        _about.reset(token)


class Lines(logging.Formatter):
    """One record, one line; a trace follows indented, or as a field of the JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        fields = self._fields(record)
        trace = self._trace(record)
        if self._as_json:
            return json.dumps({**fields, **({"trace": trace} if trace else {})}, ensure_ascii=True)
        names = " ".join(f"{name}={fields[name]}" for name in ("source", "run") if name in fields)
        words = [fields["time"], fields["level"].upper(), fields["room"], names, fields["event"]]
        below = "".join(f"\n    {line}" for line in trace.splitlines())
        return " ".join(filter(None, words)) + below

    @staticmethod
    def _fields(record: logging.LogRecord) -> dict[str, str]:
        try:
            said = record.getMessage()
        except (TypeError, ValueError):
            said = str(record.msg)
        found = _about.get()
        return {
            "time": stamp(datetime.fromtimestamp(record.created, UTC)) or "",
            "level": record.levelname.lower(),
            "room": clean_line(record.name, 100),
            "event": clean_line(said, MOST_MESSAGE),
            **({"source": found[0], "run": found[1]} if found is not None else {}),
        }

    def _trace(self, record: logging.LogRecord) -> str:
        return clean(self.formatException(record.exc_info), MOST_TRACE) if record.exc_info else ""


def log_to(stream: TextIO = sys.stderr, *, as_json: bool = False) -> None:
    """Have everything of this process that is worth a line written to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines(as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # One would fill the log with what is no fault of ours, the other with what strangers send that is no HTTP.
    for name, level in (
        ("aiohttp.access", logging.WARNING),
        ("aiohttp.server", logging.CRITICAL),
        ("asyncssh", logging.ERROR),
    ):
        logging.getLogger(name).setLevel(level)

"""Standard input and death: one loop that reads everything and notices when the controller is gone.

End of input, silence, a signal or a closed standard output all mean the same: let go. It never starts a program
and never decides what a word does.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import Callable, Optional

from pbs_agent import words
from pbs_agent.reply import Reply
from pbs_agent.words import Exit, StopWord

SILENCE_SECONDS: float = words.SILENCE_SECONDS
REQUEST_SECONDS: float = words.REQUEST_SECONDS
_READ_BYTES = 64 * 1024
_STOPPING = {signal.SIGHUP: "SIGHUP", signal.SIGTERM: "SIGTERM", signal.SIGINT: "SIGINT"}

Sink = Callable[[bytes], None]  # gets what was read; b"" once, at the end


class GoneError(Exception):
    """Whoever asked is gone, or somebody asked us to stop; the text says how we know."""


class Watch:
    """Everything that a running word waits for. Made once, in the main thread."""

    def __init__(self, reply: Reply, stdin: int = 0) -> None:
        self._reply = reply
        self._stdin = stdin
        self._heard = time.monotonic()
        self._gone: Optional[str] = None
        self._asking = False
        self._line = bytearray()
        # poll, not epoll: standard input may be a plain file or /dev/null
        self._selector = selectors.PollSelector()
        self._selector.register(stdin, selectors.EVENT_READ, self._listen)
        self._selector.register(_signal_pipe(), selectors.EVENT_READ, self._signalled)

    def read(self, descriptor: int, sink: Sink) -> None:
        """Read `descriptor` in every turn until its end and hand on what comes. It is closed after its end."""

        def pump(fd: int) -> None:
            data = _read(fd)
            if not data:
                self._selector.unregister(fd)
                os.close(fd)
            sink(data)

        self._selector.register(descriptor, selectors.EVENT_READ, pump)

    def forget(self, descriptor: int) -> None:
        """Stop reading a descriptor that `read` has not closed yet."""
        try:
            self._selector.unregister(descriptor)
        except KeyError:
            return
        os.close(descriptor)

    def turn(self, seconds: float, *, heedless: bool = False) -> None:
        """Wait at most so long for anything and deal with it.

        Raises:
            GoneError: the controller is gone; never when `heedless`, which is for cleaning up after it.
        """
        if self._gone is None or heedless:
            self._wait(seconds)
        if not heedless:
            self._judge()

    def request(self) -> bytes:
        """The first line of standard input, newline included.

        Raises:
            StopWord: it is too long or did not come in time.
            GoneError: the input ended before it.
        """
        end = time.monotonic() + REQUEST_SECONDS
        self._asking = True
        while b"\n" not in self._line:
            if len(self._line) >= words.REQUEST_BYTES:
                raise StopWord(Exit.BAD_REQUEST, f"the request is longer than {words.REQUEST_BYTES} bytes")
            if time.monotonic() >= end:
                raise StopWord(Exit.BAD_REQUEST, f"no request came within {REQUEST_SECONDS:.0f} seconds")
            self.turn(min(1.0, end - time.monotonic()))
        self._asking = False
        line = bytes(self._line[: self._line.index(b"\n") + 1])
        self._line.clear()
        if len(line) > words.REQUEST_BYTES:
            raise StopWord(Exit.BAD_REQUEST, f"the request is longer than {words.REQUEST_BYTES} bytes")
        return line

    def _wait(self, seconds: float) -> None:
        output = self._reply.output
        if self._reply.waiting:
            self._selector.register(output, selectors.EVENT_WRITE, self._write)
        try:
            ready = self._selector.select(max(0.0, seconds))
        finally:
            if output in self._selector.get_map():
                self._selector.unregister(output)
        for key, _ in ready:
            key.data(key.fd)

    def _judge(self) -> None:
        if self._gone is None and self._reply.broken:
            self._gone = "nobody reads the standard output any more"
        if self._gone is None and self._reply.stuck_seconds > SILENCE_SECONDS:
            self._gone = f"the controller has read nothing for {SILENCE_SECONDS:.0f} seconds"
        if self._gone is None and time.monotonic() - self._heard > SILENCE_SECONDS:
            self._gone = f"the controller has been silent for {SILENCE_SECONDS:.0f} seconds"
        if self._gone is not None:
            raise GoneError(self._gone)

    def _listen(self, fd: int) -> None:
        data = _read(fd)
        if not data:
            self._selector.unregister(fd)
            self._gone = self._gone or "the standard input ended: the controller is gone"
        elif self._asking:
            self._line += data
        self._heard = time.monotonic()

    def _write(self, _fd: int) -> None:
        self._reply.write_some()

    def _signalled(self, fd: int) -> None:
        for number in _read(fd):
            if number in _STOPPING:
                self._gone = self._gone or f"{_STOPPING[signal.Signals(number)]} was sent to the agent"


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _READ_BYTES)
    except BlockingIOError:  # a wake-up for nothing; only the signal pipe is non-blocking
        return b""
    except OSError:  # a reset connection is an end as well
        return b""


def _signal_pipe() -> int:
    """A descriptor on which the number of each signal appears, so that the loop sees them in its own time."""
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (*_STOPPING, signal.SIGCHLD):
        signal.signal(number, _heard_in_the_loop)
    return reader


def _heard_in_the_loop(_number: int, _frame: object) -> None:
    """Only here so that Python writes the signal to the pipe instead of dying of it."""

"""One word said to an agent and what it answers: JSON lines, `hello` first and `end` last, each bounded.

It never trusts an answer further than its shape.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

import asyncssh

from pbs.clock import Clock
from pbs.errors import AgentMissing, AgentRefused, TunnelBroken, TunnelError
from pbs.text import clean_line

LINE_LIMIT = 1 << 16
TOTAL_LIMIT = 1 << 28
# An honest agent sends one event a second, and at most a few thousand warnings and lines of a log.
LINES_AT_ONCE = 20_000
LINES_A_SECOND = 10
# After so many lines in one go, other runs of this process get their turn.
LINES_A_TURN = 200
COMPLAINT_LINES = 20
COMPLAINT_LIMIT = 1 << 24
BLANK = b"[password]"
HEARTBEAT_SECONDS = 15.0
HELLO_SECONDS = 30.0
SILENCE_SECONDS = 900.0
GONE_SECONDS = 12.0
STATUS_SECONDS = 2.0

Event = dict[str, Any]


class Talk:
    """The conversation about one word, as an async context manager; leaving it ends the agent's standard input."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], clock: Clock) -> None:
        self._process = process
        self._clock = clock
        self._complaints: deque[str] = deque(maxlen=COMPLAINT_LINES)
        self._lines = self._read_lines()
        self._tasks: list[asyncio.Task[None]] = []
        self._secret = b""
        self._too_much: str | None = None
        self.hello: Event = {}
        self.end: Event | None = None

    async def __aenter__(self) -> Talk:
        """Read the agent's greeting.

        Raises:
            AgentMissing, AgentRefused: what answers is not the agent, or one that ends at once.
            TunnelBroken: it was killed, or the connection lost, before it said a word.
        """
        self._tasks.append(asyncio.create_task(self._listen_to_complaints(), name="agent stderr"))
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first = await anext(self._lines, None)
        except TimeoutError:
            await self._leave()
            raise AgentMissing(
                f"the agent said nothing within {HELLO_SECONDS:g} s", "see whether that machine is overloaded"
            ) from None
        except BaseException:
            await self._leave()
            raise
        event = _parse(first) if first is not None else None
        if event is None or event.get("event") != "hello":
            await self._leave()
            if event is not None and event["event"] == "end":
                raise _at_once(event)
            if first is None and self._process.exit_status in (None, -1):
                # Nobody said how it ended: this is no matter of a missing agent.
                raise TunnelBroken(await self._cut_short(), "the next run sends what is missing")
            raise self._no_agent(first)
        self.hello = event
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End its standard input and let go."""
        await self._leave()

    async def ask(self, request: Event) -> None:
        """Send the request, and from then on an empty line now and then, so that a silent cut is noticed there.

        Its password is blanked wherever the agent repeats it: what the agent says is shown to people.
        """
        self._secret = str(request.get("password") or "").encode()
        # An agent that has ended already says why; that comes with its events.
        with contextlib.suppress(asyncssh.Error, OSError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._tasks.append(asyncio.create_task(self._beat(), name="agent heartbeat"))

    async def events(self, within: float | None = None) -> AsyncIterator[Event]:
        """What the agent reports until its `end`, which is kept in `self.end`.

        Args:
            within: Seconds for all of it, for a word that is answered at once; None = as long as it speaks.

        Raises:
            TunnelBroken: the connection or the agent ended before its time, it is silent for a quarter of an hour, or
                it prints more than an agent ever would.
        """
        deadline = self._clock.monotonic() + within if within is not None else math.inf
        while True:
            left = max(0.0, deadline - self._clock.monotonic())
            try:
                async with asyncio.timeout(min(SILENCE_SECONDS, left)):
                    line = await anext(self._lines, None)
            except TimeoutError:
                silent = f"has said nothing for {SILENCE_SECONDS:g} s"
                late = f"did not come to its end within {within or 0:g} s"
                raise TunnelBroken(
                    f"the agent {late if left < SILENCE_SECONDS else silent}",
                    "see what that machine is doing",
                ) from None
            if line is None:
                raise TunnelBroken(await self._cut_short(), "the next run sends what is missing")
            event = _parse(line)
            if event is None:
                yield {"event": "log", "text": self._shown(line, 2000)}
                continue
            if event.get("event") == "end":
                self.end = event
                return
            yield event

    async def _read_lines(self) -> AsyncIterator[bytes]:
        buffer = b""
        total = count = 0
        since = self._clock.monotonic()
        try:
            while chunk := await self._process.stdout.read(LINE_LIMIT):
                total += len(chunk)
                *whole, buffer = (buffer + chunk).split(b"\n")
                if total > TOTAL_LIMIT or len(buffer) > LINE_LIMIT:
                    raise self._endless("a line without end" if len(buffer) > LINE_LIMIT else "without end")
                for line in whole:
                    if not line.strip():
                        continue
                    count += 1
                    if count > LINES_AT_ONCE + LINES_A_SECOND * (self._clock.monotonic() - since):
                        raise self._endless("without end")
                    if count % LINES_A_TURN == 0:
                        await self._clock.sleep(0)
                    yield self._blanked(line[:LINE_LIMIT])
        except (asyncssh.Error, OSError):
            return
        if buffer.strip():
            yield self._blanked(buffer)

    async def _listen_to_complaints(self) -> None:
        rest = b""
        total = 0
        with contextlib.suppress(asyncssh.Error, OSError):
            while chunk := await self._process.stderr.read(LINE_LIMIT):
                total += len(chunk)
                *whole, rest = (rest + chunk)[-LINE_LIMIT:].split(b"\n")
                self._complaints.extend(self._shown(line, 500) for line in whole[-COMPLAINT_LINES:])
                if total > COMPLAINT_LIMIT:
                    self._too_much = "the agent prints to standard error without end"
                    self._process.close()
                    return
        if rest:
            self._complaints.append(self._shown(rest, 500))

    def _endless(self, how: str) -> TunnelBroken:
        self._too_much = f"the agent prints {how}"
        return TunnelBroken(self._too_much, "look at that machine: this is no honest agent")

    def _blanked(self, line: bytes) -> bytes:
        return line.replace(self._secret, BLANK) if self._secret else line

    def _shown(self, line: bytes, limit: int) -> str:
        return clean_line(self._blanked(line[:LINE_LIMIT]).decode("utf-8", "replace"), limit)

    async def _beat(self) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            while True:
                await self._clock.sleep(HEARTBEAT_SECONDS)
                self._process.stdin.write(b"\n")
                await self._process.stdin.drain()

    async def _leave(self) -> None:
        for task in self._tasks:
            if task.get_name() != "agent stderr":
                task.cancel()
        with contextlib.suppress(asyncssh.Error, OSError):
            self._process.stdin.write_eof()
        # An honest agent ends within 10 s of the end of its input; for another one nobody waits.
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            async with asyncio.timeout(0 if self._too_much else GONE_SECONDS):
                await self._process.wait_closed()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._process.close()

    @property
    def complaints(self) -> list[str]:
        """The last lines that the agent, or the shell before it, printed to standard error."""
        return list(self._complaints)

    def _no_agent(self, first: bytes | None) -> AgentMissing:
        said = self._shown(first, 200) if first is not None else ""
        words = " · ".join(self._complaints)
        if said:
            return AgentMissing(
                f"the account's shell prints text where the agent should speak: {said!r}",
                "make the shell's start-up files silent for non-interactive logins",
            )
        status = self._process.exit_status
        return AgentMissing(
            f"no agent answers on the source{f' ({words})' if words else ''}{f', exit {status}' if status else ''}",
            "install pbs-agent there, and let the command in authorized_keys name it by its absolute path",
        )

    async def _cut_short(self) -> str:
        if self._too_much:
            return self._too_much
        # Its output ends a moment before sshd tells how it ended.
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            async with asyncio.timeout(STATUS_SECONDS):
                await self._process.wait_closed()
        status, signal = self._process.exit_status, self._process.exit_signal
        words = " · ".join(list(self._complaints)[-3:])
        how = (
            f"was ended by signal {clean_line(str(signal[0]), 20)}" if signal else f"ended with exit {status}"
        )
        if status is None and not signal:
            return "the connection to the source was lost"
        return f"the agent {how} before it had finished{f': {words}' if words else ''}"


def _at_once(end: Event) -> TunnelError:
    """What an agent says that ends before it has greeted: its word was refused, or it is broken."""
    message = end.get("message")
    said = clean_line(message, 1000) if isinstance(message, str) else "it gives no reason"
    if end.get("outcome") == "refused":
        return AgentRefused(
            f"the agent refuses: {said}", "look at its line in authorized_keys and at its profile"
        )
    return AgentMissing(
        f"the agent cannot begin: {said}", "try `pbs-agent --profile NAME --check` on the source"
    )


def _parse(line: bytes) -> Event | None:
    """One JSON object with an `event`; None for anything else, however deep or long."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None

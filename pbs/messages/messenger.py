"""Sends what there is to say, on each channel by itself: one that hangs or is dead holds up neither the others nor anything else.

What was said is written into the ledger after it was taken: a death between the two says it twice, never not at all.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from pbs.clock import Clock
from pbs.config import Channel, Config
from pbs.errors import PbsError
from pbs.home import Home
from pbs.ledger import Ledger, Told
from pbs.messages.plan import DIGEST, PING, Which, digest_due, ping_due, plan, quiet, relevant
from pbs.messages.senders import send
from pbs.messages.wording import Message, digest_of, made, message_of, names
from pbs.promises import Health, State, worst

log = logging.getLogger("pbs.messages")
EVERY_SECONDS = 30.0
FIRST_REST, LONGEST_REST = 60.0, 3600.0
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Said:
    """A message, and what to write down or forget once it was taken."""

    message: Message
    now: Mapping[Which, Told]
    over: frozenset[Which] = frozenset()


@dataclass(slots=True)
class _Line:
    """What is known of a channel: what goes on, when it may be tried again, what was wrong the last time."""

    work: asyncio.Task[None] | None = None
    rest: float = 0.0
    not_before: float = 0.0
    fault: str | None = None


class Messenger:
    """The messages of one home. Held by the controller."""

    def __init__(self, home: Home, ledger: Ledger, clock: Clock) -> None:
        self._home = home
        self._ledger = ledger
        self._clock = clock
        self._told = ledger.telling.all()
        self._lines: dict[str, _Line] = {}
        self._at: float | None = None
        self._seen: Health | None = None

    @property
    def faults(self) -> dict[str, str | None]:
        """What is wrong with each channel; None where it took the last message, or none was sent."""
        return {name: line.fault for name, line in self._lines.items()}

    def turn(self, config: Config, health: Health) -> None:
        """Begin to send what there is to say. Waits for nothing."""
        self._lines = {name: self._lines.get(name, _Line()) for name in config.channels}
        if gone := self._told.keys() - config.channels.keys():
            self._ledger.telling.keep(config.channels.keys())
            for name in gone:
                del self._told[name]
        now = self._clock.monotonic()
        if health is self._seen and self._at is not None and now - self._at < EVERY_SECONDS:
            return
        self._seen, self._at = health, now
        for name, channel in config.channels.items():
            line = self._lines[name]
            if (line.work is None or line.work.done()) and now >= line.not_before:
                self._begin(line, channel, config.server.base_url, health)

    async def end(self) -> None:
        """Stop what goes on: it is said after the next start."""
        for line in self._lines.values():
            if line.work is not None and not line.work.done():
                line.work.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await line.work

    def _begin(self, line: _Line, channel: Channel, base_url: str, health: Health) -> None:
        told, now = self._told.get(channel.name, {}), self._clock.now()
        act = self._ping if channel.kind == "ping" else self._speak
        parts = act(channel, base_url, health, told, now)
        if parts:
            line.work = asyncio.create_task(self._send(line, channel, parts), name=f"message {channel.name}")

    def _ping(
        self, channel: Channel, base_url: str, health: Health, told: Mapping[Which, Told], now: datetime
    ) -> list[Said]:
        given = relevant(channel, health)
        bad = [each for each in given if each.state is State.BROKEN]
        state = worst(each.state for each in given) if given else State.BROKEN
        if not ping_due(channel, state, told, now):
            return []
        text = names(bad) or "all promises are kept, or need no more than a look"
        return [Said(made(text, [text, f"{base_url}/"], state, {}), {PING: Told(state, now)})]

    def _speak(
        self, channel: Channel, base_url: str, health: Health, told: Mapping[Which, Told], now: datetime
    ) -> list[Said]:
        server, parts = socket.gethostname(), []
        found = plan(channel, health, told, now)
        if not found.silent:
            parts.append(Said(message_of(found, server, base_url), found.now, found.over))
        elif found.over:
            self._remember(channel.name, {}, found.over)
        if channel.digest is not None and DIGEST not in told:
            self._remember(channel.name, {DIGEST: Told("", now)}, frozenset())
        if digest_due(channel, told, now) and not quiet(channel, now):
            ended = self._ledger.telling.ended_since(now - DAY)
            parts.append(
                Said(
                    digest_of(
                        Health(health.looked, tuple(relevant(channel, health))), ended, server, base_url
                    ),
                    {DIGEST: Told("", now)},
                )
            )
        return parts

    async def _send(self, line: _Line, channel: Channel, parts: list[Said]) -> None:
        try:
            for part in parts:
                await send(self._home, channel, part.message)
                self._remember(channel.name, part.now, part.over)
        except PbsError as error:
            if line.fault is None:
                log.warning("%s (%s)", error.message, error.hint)
            self._let_rest(line, error.message)
        except Exception:
            # The border of this task: whatever it was, nothing was said, and the promise of the channel tells that.
            log.exception("a fault of pbs itself, while a message was sent on %s", channel.name)
            self._let_rest(line, "a fault of pbs itself; controller.log tells more")
        else:
            line.rest, line.fault = 0.0, None

    def _let_rest(self, line: _Line, fault: str) -> None:
        line.fault = fault
        line.rest = min(max(FIRST_REST, line.rest * 2), LONGEST_REST)
        line.not_before = self._clock.monotonic() + line.rest

    def _remember(self, channel: str, now: Mapping[Which, Told], over: frozenset[Which]) -> None:
        known = self._told.setdefault(channel, {})
        self._told[channel] = {which: each for which, each in {**known, **now}.items() if which not in over}
        self._ledger.telling.tell(channel, now, over)

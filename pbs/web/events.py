"""What a run does, as it happens: its log as server-sent events, which go on where a reader left off.

An event's id is the place in the log behind its line, so nothing is sent twice or left out, whoever restarts in
between. It reads one file and the ledger, and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field

from pbs.errors import NotFound, PbsError, TooMany, UsageError
from pbs.journal import Follower
from pbs.model import Run, RunState
from pbs.views import run_view
from pbs.web.declare import Asked, Media, operation
from pbs.web.face import FACE, Face

LOOK_SECONDS = 0.25
ASK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
# Whoever takes no bytes for so long has gone without saying so.
STUCK_SECONDS = 60.0
MOST_FOLLOWERS = 64
MOST_AT_ONCE = 1 << 18
# The last id of a run: whoever comes back with it has seen everything.
OVER = "over"
PLACE = re.compile(r"[0-9]{1,12}", re.ASCII)
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


@dataclass
class Followers:
    """Who follows runs on one listener; all of them leave when the controller stops."""

    count: int = 0
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def one_more(self) -> AsyncIterator[None]:
        """A place for the length of the block.

        Raises:
            TooMany: all are taken.
        """
        if self.count >= MOST_FOLLOWERS:
            raise TooMany(
                f"{MOST_FOLLOWERS} readers follow runs already",
                "close some of them, or look at the run itself",
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


FOLLOWERS: web.AppKey[Followers] = web.AppKey("followers")


class OneLog(Asked):
    """The log of a run, or the rest of it."""

    run: Annotated[str, Field(description="The id of a run.")]
    after: Annotated[
        str,
        Field(
            description="The last id that was received: only what came after it. The header Last-Event-ID wins.",
            pattern=f"^([0-9]{{1,12}}|{OVER})$",
        ),
    ] = "0"


class SentEvent(BaseModel):
    """One server-sent event; `data` is JSON: a line of the log, or at the end the run."""

    id: str
    event: str
    data: str


def prepare(app: web.Application) -> None:
    """Give an application its followers, and have them leave before it waits for its answers to end."""
    app[FOLLOWERS] = Followers()

    async def leave(stopped: web.Application) -> None:
        stopped[FOLLOWERS].leave.set()

    app.on_shutdown.append(leave)


@operation(
    "GET",
    "/api/v1/runs/{run}/events",
    Media("text/event-stream", "Server-sent events, each with an id.", SentEvent),
    empty={204: "Everything was told."},
)
async def events(request: web.Request, asked: OneLog) -> web.StreamResponse:
    """What a run does, as it happens: each line of its log as an event, then one event `run` with the run as it ended."""
    face, followers = request.app[FACE], request.app[FOLLOWERS]
    run = face.ledger.run(asked.run)
    after = request.headers.get("Last-Event-ID") or asked.after
    if after == OVER:
        # The one answer that makes a browser stop asking again.
        return web.Response(status=204)
    follower = Follower(face.run_log(run), _place(after))
    if not follower.path.exists():
        follower.offset = (
            0  # it has not begun, or its log was cleared away: what became of it is told all the same
        )
    if not follower.fits():
        raise NotFound(
            f"there is no event {after} in the log of this run", "leave Last-Event-ID out to read it all"
        )
    if request.method == "HEAD":
        return web.Response(headers=HEADERS)
    async with followers.one_more():
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        # The reader has gone, or the ledger cannot be read just now: it comes back, and goes on behind its last event.
        with contextlib.suppress(ConnectionError, TimeoutError, PbsError):
            await _send(response, face, run, follower, followers.leave)
        return response


def _place(after: str) -> int:
    if not PLACE.fullmatch(after):
        raise UsageError("that is no id of an event", "send the last `id` that was received, or leave it out")
    return int(after)


async def _send(
    response: web.StreamResponse, face: Face, run: Run, follower: Follower, leave: asyncio.Event
) -> None:
    """Everything that the log tells until the ledger says that the run has ended, and what it became."""
    loop = asyncio.get_running_loop()
    asked = said = loop.time()
    await _write(response, "retry: 2000\n\n")
    while True:
        # Asked before the log is read: what is written before a run's end is told is not missed.
        if loop.time() - asked >= ASK_SECONDS:
            asked = loop.time()
            run = face.ledger.run(run.id)
        lines = [
            _event(str(follower.offset), str(event["event"]), event) for event in follower.new(MOST_AT_ONCE)
        ]
        if lines:
            await _write(response, "".join(lines))
            said = loop.time()
            continue
        if run.state is RunState.ENDED:
            await _write(response, _event(OVER, "run", run_view(run)))
            return
        if loop.time() - said >= HEARTBEAT_SECONDS:
            await _write(response, ": still there\n\n")
            said = loop.time()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await leave.wait()
        except TimeoutError:
            continue
        return


def _event(place: str, name: str, data: dict[str, Any]) -> str:
    # JSON in ASCII holds no line end, and the name is one of ours; a foreign one in a log must not become a field.
    plain = name if name.isascii() and name.replace("-", "").isalnum() else "unknown"
    return f"id: {place}\nevent: {plain}\ndata: {json.dumps(data)}\n\n"


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(STUCK_SECONDS):
        await response.write(text.encode())


OPERATIONS = (events,)

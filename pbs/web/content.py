"""What lies in a snapshot, over HTTP: folders listed page by page, files and folders taken out.

Ids come from receipts, bytes from restic, piece by piece; nothing is kept whole in memory, and nothing that a source named
is ever shown to a browser as a page. It changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import os
import posixpath
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Annotated, Literal
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from pbs.browse import LONGEST_LISTING, Looker, Order, Spot
from pbs.errors import NotFound, PbsError, TooMany
from pbs.repository import Entry, Handle, dump, entry_at
from pbs.text import clean_line
from pbs.views import entry_view, receipt_view
from pbs.web import shapes
from pbs.web.declare import DIGITS, Asked, Media, OfAPage, Role, operation
from pbs.web.face import FACE

AT_A_TIME = 4
WAIT_SECONDS = 10.0
STALL_SECONDS = 60.0
LOOK_SECONDS = 0.5
LONGEST_SECONDS = 6 * 3600.0
CHUNK = 1 << 18
MOST_ENTRIES = 10_000
SLOTS: web.AppKey[asyncio.Semaphore] = web.AppKey("slots")
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
PATH = "^/[^\\x00]*$"
LENIENT = OfAPage.model_config
SNAPSHOT = "^(latest|[0-9a-f]{8,64})$"
# Not even a page that somebody backed up runs here.
UNUSUAL = re.compile("[^A-Za-z0-9 ._-]")
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Accel-Buffering": "no"}


class AtPath(Asked):
    """A path, from the root of a snapshot."""

    path: Annotated[str, Field(description="From the snapshot's root.", pattern=PATH)] = "/"
    path_b64: Annotated[
        str | None,
        Field(
            description="The path's bytes in base64, where it is no UTF-8; it counts then.", pattern=BASE64
        ),
    ] = None

    @property
    def raw(self) -> bytes:
        """The path, byte by byte."""
        return base64.b64decode(self.path_b64) if self.path_b64 is not None else self.path.encode()


class OneSnapshot(Asked):
    """A snapshot of a source."""

    name: Annotated[str, Field(description="The name of a source.")]
    snapshot: Annotated[
        str, Field(description="Its id, 8 digits of it or more, or `latest`.", pattern=SNAPSHOT)
    ]


class InSnapshot(OneSnapshot, AtPath):
    """A place in a snapshot."""


class PageInSnapshot(InSnapshot):
    """The same, for a page."""

    model_config = LENIENT


class Folder(InSnapshot):
    """A part of what a folder holds."""

    limit: Annotated[int, Field(description="How many at most.", ge=1, le=MOST_ENTRIES), DIGITS] = 1000
    after: Annotated[
        int, Field(description="What `next` of the part before said.", ge=0, lt=2**63), DIGITS
    ] = 0
    sort: Annotated[Order, Field(description="By what; `name` has folders first.")] = Order.STORED
    order: Annotated[Literal["up", "down"], Field(description="In which direction.")] = "up"


class Taken(InSnapshot):
    """A file or a folder to take out."""

    archive: Annotated[Literal["tar", "zip"], Field(description="What a folder comes as.")] = "tar"


@operation("GET", "/api/v1/sources/{name}/snapshots/{snapshot}", shapes.Snapshot)
async def snapshot(request: web.Request, asked: OneSnapshot) -> web.StreamResponse:
    """The receipt of one snapshot that can be looked into."""
    ledger = request.app[FACE].ledger
    ledger.require_source(asked.name)
    return web.json_response(receipt_view(ledger.find_receipt(asked.name, asked.snapshot)))


@operation("GET", "/api/v1/sources/{name}/snapshots/{snapshot}/tree", shapes.Tree, role=Role.OPERATOR)
async def tree(request: web.Request, asked: Folder) -> web.StreamResponse:
    """What a folder of a snapshot holds, or the one file at this path."""
    face = request.app[FACE]
    async with place(request):
        with ExitStack() as stack:
            spot = await Looker(face.home, face.ledger, asked.name).at(stack, asked.snapshot, asked.raw)
            entries, end, count = await asyncio.to_thread(part_of, spot, asked)
    return web.json_response(
        {
            "snapshot": spot.receipt.id,
            "entries": [entry_view(entry) for entry in entries],
            "count": count,
            "next": end if entries and end < count else None,
        }
    )


def part_of(spot: Spot, asked: Folder) -> tuple[list[Entry], int, int]:
    """The entries that were asked for, where they end, and how many there are."""
    if spot.listed is None:
        there = [spot.entry] if spot.entry is not None and not asked.after else []
        return there, asked.after + len(there), 1
    entries = spot.listed.part(asked.after, asked.limit, asked.sort, descending=asked.order == "down")
    return entries, asked.after + len(entries), spot.listed.count


@operation(
    "GET",
    "/api/v1/sources/{name}/snapshots/{snapshot}/file",
    Media("application/octet-stream", "A file's bytes; of a folder, all below it as an archive."),
    role=Role.OPERATOR,
    written=True,
)
async def file(request: web.Request, asked: Taken) -> web.StreamResponse:
    """Take out a file, or a folder as an archive."""
    async with place(request), _reading(request, asked) as (handle, identity):
        raw = asked.raw
        entry = await entry_at(handle, identity, raw, most=LONGEST_LISTING)
        if entry is not None and entry.type not in ("file", "dir"):
            raise NotFound(
                f"there is no file at {clean_line(entry.path, 200)}: it is a {entry.type}",
                "files and folders can be taken out; `pbs restore` brings back everything else",
            )
        response = web.StreamResponse(headers=SANDBOX | _called(asked, identity, entry))
        if entry is not None and entry.type == "file":
            response.content_length = entry.size
        else:
            response.enable_chunked_encoding()
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        async with asyncio.timeout(LONGEST_SECONDS):
            await _send(request, response, lambda target: dump(handle, identity, raw, target, asked.archive))
    return response


@asynccontextmanager
async def _reading(request: web.Request, asked: OneSnapshot) -> AsyncIterator[tuple[Handle, str]]:
    """The repository, showing this one snapshot, and its whole id."""
    face = request.app[FACE]
    looker = Looker(face.home, face.ledger, asked.name)
    identity = looker.receipt(asked.snapshot).id
    with looker.reading(identity) as handle:
        yield handle, identity


def _called(asked: Taken, identity: str, entry: Entry | None) -> dict[str, str]:
    """How the download is called: by the last part of its path, without what could mean more than a name."""
    name = posixpath.basename(entry.raw).decode("utf-8", "replace") if entry is not None else ""
    name = clean_line(name.replace("\\", "_"), 200) or f"{asked.name}-{identity[:8]}"
    if entry is None or entry.type == "dir":
        name += f".{asked.archive}"
    # The first one is for programs that do not know the second; whoever does takes that.
    plain = UNUSUAL.sub("_", name)
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
    }


@asynccontextmanager
async def place(request: web.Request) -> AsyncIterator[None]:
    """A place among those who look into snapshots; there are only a few. Whoever goes away loses it, and what is done for it ends.

    Raises:
        TooMany: all are taken.
    """
    slots = request.app[SLOTS]
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await slots.acquire()
    except TimeoutError as error:
        raise TooMany(
            f"{AT_A_TIME} others are looking into snapshots just now", "try again in a minute"
        ) from error
    watch = asyncio.create_task(_gone(request, asyncio.current_task()), name="reader")
    try:
        yield
    finally:
        watch.cancel()
        slots.release()


async def _gone(request: web.Request, work: asyncio.Task[object] | None) -> None:
    """End what is done for a reader who has gone: without this it would go on to its end, for nobody."""
    while request.transport is not None and not request.transport.is_closing():
        await request.app[FACE].time.sleep(LOOK_SECONDS)
    if work is not None:
        work.cancel()


async def _send(
    request: web.Request, response: web.StreamResponse, produce: Callable[[int], Awaitable[None]]
) -> None:
    """Send what `produce` writes into a pipe. Once the head is out, only a cut line can say that something went wrong.

    Raises:
        PbsError: before the first byte.
    """
    reading, writing = os.pipe()
    reader = asyncio.StreamReader(limit=CHUNK)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    producer = asyncio.create_task(_produced(produce, writing), name="dump")
    try:
        chunk = await reader.read(CHUNK)
        if not chunk:
            await producer
        await response.prepare(request)
        try:
            sent = 0
            while chunk:
                async with asyncio.timeout(STALL_SECONDS):
                    await response.write(chunk)
                sent += len(chunk)
                chunk = await reader.read(CHUNK)
            await producer
            if response.content_length in (None, sent):
                await response.write_eof()
                return
        except (PbsError, OSError, TimeoutError):
            pass
        if request.transport is not None:
            request.transport.abort()
    finally:
        transport.close()
        producer.cancel()
        await asyncio.wait([producer])


async def _produced(produce: Callable[[int], Awaitable[None]], writing: int) -> None:
    try:
        await produce(writing)
    finally:
        os.close(writing)


OPERATIONS = (snapshot, tree, file)

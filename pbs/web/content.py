"""What lies in a snapshot, over HTTP: folders listed page by page, files and folders taken out.

Ids come from receipts, bytes from restic, piece by piece; nothing is kept whole in memory, and nothing that a source named
is ever shown to a browser as a page. It changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import os
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from pbs.errors import NotFound, PbsError, TooMany
from pbs.lookup import Found, opened, viewed
from pbs.repository import Entry, dump, entry_at, listing
from pbs.text import clean_line
from pbs.views import entry_view, receipt_view
from pbs.web import shapes
from pbs.web.declare import DIGITS, Asked, Media, Role, operation
from pbs.web.face import FACE

AT_A_TIME = 4
WAIT_SECONDS = 10.0
STALL_SECONDS = 60.0
LONGEST_SECONDS = 6 * 3600.0
CHUNK = 1 << 18
MOST_ENTRIES = 10_000
# What restic may say of one folder: about a hundred thousand names.
LONGEST_LISTING = 32 << 20
SLOTS: web.AppKey[asyncio.Semaphore] = web.AppKey("slots")
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
SNAPSHOT = "^(latest|[0-9a-f]{8,64})$"
# Not even a page that somebody backed up runs here.
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Accel-Buffering": "no"}


class OneSnapshot(Asked):
    """A snapshot of a source."""

    name: Annotated[str, Field(description="The name of a source.")]
    snapshot: Annotated[
        str, Field(description="Its id, 8 digits of it or more, or `latest`.", pattern=SNAPSHOT)
    ]


class Spot(OneSnapshot):
    """A place in a snapshot."""

    path: Annotated[str, Field(description="From the snapshot's root.", pattern="^/[^\\x00]*$")] = "/"
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


class Folder(Spot):
    """A part of what a folder holds."""

    limit: Annotated[int, Field(description="How many at most.", ge=1, le=MOST_ENTRIES), DIGITS] = 1000
    after: Annotated[
        int, Field(description="What `next` of the part before said.", ge=0, lt=2**63), DIGITS
    ] = 0


@operation("GET", "/api/v1/sources/{name}/snapshots/{snapshot}", shapes.Snapshot)
async def snapshot(request: web.Request, asked: OneSnapshot) -> web.StreamResponse:
    """The receipt of one snapshot that can be looked into."""
    ledger = request.app[FACE].ledger
    ledger.require_source(asked.name)
    return web.json_response(receipt_view(ledger.find_receipt(asked.name, asked.snapshot)))


@operation("GET", "/api/v1/sources/{name}/snapshots/{snapshot}/tree", shapes.Tree, role=Role.OPERATOR)
async def tree(request: web.Request, asked: Folder) -> web.StreamResponse:
    """What a folder of a snapshot holds, or the one file at this path."""
    async with _open(request, asked) as found:
        async with asyncio.timeout(LONGEST_SECONDS):
            there = listing(found.handle, found.receipt.id, asked.raw, most=LONGEST_LISTING)
            entries = [entry async for entry in there]
    part = entries[asked.after : asked.after + asked.limit]
    end = asked.after + len(part)
    return web.json_response(
        {
            "snapshot": found.receipt.id,
            "entries": [entry_view(entry) for entry in part],
            "next": end if part and end < len(entries) else None,
        }
    )


@operation(
    "GET",
    "/api/v1/sources/{name}/snapshots/{snapshot}/file",
    Media("application/octet-stream", "A file's bytes; of a folder, all below it as a tar."),
    role=Role.OPERATOR,
    written=True,
)
async def file(request: web.Request, asked: Spot) -> web.StreamResponse:
    """Take out a file, or a folder as a tar."""
    async with _open(request, asked) as found:
        handle, identity, raw = found.handle, found.receipt.id, asked.raw
        entry = await entry_at(handle, identity, raw, most=LONGEST_LISTING)
        if entry is not None and entry.type not in ("file", "dir"):
            raise NotFound(
                f"there is no file at {clean_line(entry.path, 200)}: it is a {entry.type}",
                "files and folders can be taken out; `pbs restore` brings back everything else",
            )
        response = web.StreamResponse(headers=SANDBOX | _called(asked.name, identity, entry))
        if entry is not None and entry.type == "file":
            response.content_length = entry.size
        else:
            response.enable_chunked_encoding()
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        async with asyncio.timeout(LONGEST_SECONDS):
            await _send(request, response, lambda target: dump(handle, identity, raw, target))
    return response


def _called(source: str, identity: str, entry: Entry | None) -> dict[str, str]:
    """How the download is called: by the last part of its path, without what could mean more than a name."""
    name = posixpath.basename(entry.raw).decode("utf-8", "replace") if entry is not None else ""
    name = clean_line(name.replace("\\", "_"), 200) or f"{source}-{identity[:8]}"
    if entry is None or entry.type == "dir":
        name += ".tar"
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }


@asynccontextmanager
async def _open(request: web.Request, asked: OneSnapshot) -> AsyncIterator[Found]:
    """The snapshot, under the shared lock of its repository; only a few at a time."""
    face, slots = request.app[FACE], request.app[SLOTS]
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await slots.acquire()
    except TimeoutError as error:
        raise TooMany(
            f"{AT_A_TIME} others are looking into snapshots just now", "try again in a minute"
        ) from error
    try:
        with (
            opened(face.home, asked.name, asked.snapshot, face.ledger) as found,
            viewed(face.home, found, [found.receipt.id]) as handle,
        ):
            yield replace(found, handle=handle)
    finally:
        slots.release()


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

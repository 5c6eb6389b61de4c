"""The beginning of a file's text, or a picture, for whoever wants to know whether it is the right one.

Text becomes part of a page, escaped. A picture is known by its first bytes, never by its name, and sent as nothing else,
under a policy that lets it run and fetch nothing; SVG and HTML are text. It is bounded, and held in memory no longer than sent.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from aiohttp import web

from pbs.browse import Looker, Spot
from pbs.errors import NotFound
from pbs.repository import head
from pbs.text import clean
from pbs.web.content import InSnapshot, PageInSnapshot
from pbs.web.content import place as a_place
from pbs.web.declare import Media, Role, operation
from pbs.web.face import FACE

MOST_TEXT = 64 << 10
MOST_IMAGE = 8 << 20
# The first bytes of what every browser can draw.
PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
LONGEST_MARK = 16
HARMLESS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Content-Disposition": "inline",
    "Cache-Control": "private, no-store",
}


@dataclass(frozen=True, slots=True)
class Preview:
    """What can be shown of a file: its text, a picture, or neither; `cut`: the text goes on."""

    text: str | None
    picture: bool
    cut: bool


def picture_kind(data: bytes) -> str | None:
    """The type of a picture by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in PICTURES if data.startswith(mark)), None)


def text_of(data: bytes) -> str | None:
    """The beginning of a file as text; None where it is none."""
    if b"\0" in data:
        return None
    for cut in range(4 if len(data) >= MOST_TEXT else 1):  # the last character may be cut
        try:
            return clean(data[: len(data) - cut].decode(), MOST_TEXT)
        except UnicodeDecodeError:
            continue
    found = data.decode("latin-1")
    strange = sum(not each.isprintable() and each not in "\r\n\t\f" for each in found)
    return clean(found, MOST_TEXT) if strange * 50 < len(found) else None


async def preview(request: web.Request, asked: InSnapshot, spot: Spot) -> Preview:
    """What can be shown of the file at this place."""
    entry = spot.entry
    if entry is None or entry.type != "file":
        raise NotFound("there is no content to show", "only files have one")
    data = await _head(request, asked, spot, MOST_TEXT)
    if picture_kind(data) is not None:
        return Preview(None, (entry.size or 0) <= MOST_IMAGE, cut=False)
    return Preview(text_of(data), picture=False, cut=(entry.size or 0) > len(data))


async def _head(request: web.Request, asked: InSnapshot, spot: Spot, most: int) -> bytes:
    face = request.app[FACE]
    with Looker(face.home, face.ledger, asked.name).reading(spot.receipt.id) as handle:
        return await head(handle, spot.receipt.id, spot.path, most)


@operation(
    "GET",
    "/browse/{name}/in/{snapshot}/picture",
    Media("image/png", "A picture."),
    role=Role.OPERATOR,
    written=True,
)
async def picture(request: web.Request, asked: PageInSnapshot) -> web.StreamResponse:
    """A picture of a snapshot, and nothing else that lies there."""
    face = request.app[FACE]
    async with a_place(request):
        with ExitStack() as stack:
            spot = await Looker(face.home, face.ledger, asked.name).at(stack, asked.snapshot, asked.raw)
            entry = spot.entry
            if entry is None or entry.type != "file" or (entry.size or 0) > MOST_IMAGE:
                raise NotFound("there is no picture that could be shown", "take the file out instead")
            data = await _head(request, asked, spot, MOST_IMAGE)
    kind = picture_kind(data)
    if kind is None:
        raise NotFound("that is no picture that could be shown", "take the file out instead")
    return web.Response(body=data, headers={**HARMLESS, "Content-Type": kind})

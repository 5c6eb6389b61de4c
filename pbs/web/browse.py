"""The pages on which a person finds a file: snapshots, folders, one file and its versions, a search, two snapshots compared.

What a source named is escaped by the templates, and becomes part of an address only as a quoted value. They read; the one
thing that leaves the server is what the API gives out.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from aiohttp import web
from pydantic import Field

from pbs.browse import Became, Differences, Looker, Match, Order, Spot, Versions
from pbs.browse.searching import SECONDS
from pbs.errors import UsageError
from pbs.repository import Change, Entry
from pbs.text import clean_line
from pbs.views import receipt_view
from pbs.web import keeping
from pbs.web.content import LENIENT, SNAPSHOT, Folder, InSnapshot, PageInSnapshot, part_of
from pbs.web.content import place as a_place
from pbs.web.declare import DIGITS, OfAPage, Role, operation
from pbs.web.face import FACE, known
from pbs.web.frame import PAGE, page
from pbs.web.preview import Preview, picture, preview
from pbs.web.search import Through, Two, compared, searched, versions_of

A_PAGE = 200
# Where the versions of a file are shown beside it: whoever wants to know more asks for it.
GLANCE_SECONDS = 3.0
# Of a search that somebody has seen break off, and wants to go on all the same.
PATIENT_SECONDS = 120.0


class Snapshots(Through):
    """The snapshots of a source; the path is kept for the way back into one."""

    model_config = LENIENT

    after: Annotated[int, Field(ge=0, lt=2**31), DIGITS] = 0


class Place(Folder):
    """A place in a snapshot, and which part of it where it is a folder."""

    model_config = LENIENT

    sort: Order = Order.NAME
    limit: Annotated[int, Field(ge=1, le=A_PAGE), DIGITS] = A_PAGE


class PageOfVersions(Through):
    """The versions of a path."""

    model_config = LENIENT


class PageOfSearch(OfAPage):
    """A search, or the form for one."""

    name: str
    text: Annotated[str, Field(max_length=500, pattern="^[^\\x00]*$")] = ""
    before: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    patience: Annotated[str, Field(pattern="^(yes)?$")] = ""

    @property
    def seconds(self) -> float:
        """How long it may take: longer for who asked for that after the usual time was over."""
        return PATIENT_SECONDS if self.patience else SECONDS


class PageOfTwo(OfAPage):
    """Two snapshots, or the form to choose them."""

    name: str
    older: Annotated[str, Field(pattern=f"({SNAPSHOT})|^$")] = ""
    newer: Annotated[str, Field(pattern=SNAPSHOT)] = "latest"
    metadata: Literal["no", "yes"] = "no"
    after: Annotated[int, Field(ge=0, lt=2**31), DIGITS] = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A name as a page shows it, and where it leads."""

    name: str
    link: str
    entry: Entry


def spelled(raw: bytes) -> dict[str, str]:
    """A path as it is asked for."""
    entry = Entry(raw, "file", 0, 0, 0)
    return {"path": entry.path} if entry.path_b64 is None else {"path_b64": entry.path_b64}


def leads(source: str, what: str, raw: bytes | None = None, **more: object) -> str:
    """An address below /browse."""
    asked = {**(spelled(raw) if raw is not None else {}), **{key: str(value) for key, value in more.items()}}
    return f"/browse/{quote(source)}{what}" + (f"?{urlencode(asked, quote_via=quote)}" if asked else "")


def crumbs(source: str, snapshot: str, path: bytes) -> list[tuple[str, str]]:
    """The folders from the root down to a path, itself included: what each is called, and where it leads."""
    parts = [part for part in path.split(b"/") if part]
    paths = [b"/" + b"/".join(parts[: end + 1]) for end in range(len(parts))]
    return [(_name(each), leads(source, f"/in/{snapshot}", each)) for each in paths]


def _shown(path: bytes) -> str:
    return clean_line(path.decode("utf-8", "replace"), 1000) or "…"


def _name(path: bytes) -> str:
    return _shown(posixpath.basename(path))


def taken_out(source: str, snapshot: str, raw: bytes, archive: str = "tar") -> str:
    """The address of a download."""
    asked = spelled(raw) | ({"archive": archive} if archive != "tar" else {})
    return f"/api/v1/sources/{quote(source)}/snapshots/{snapshot}/file?{urlencode(asked, quote_via=quote)}"


@dataclass(frozen=True, slots=True)
class Pager:
    """Which part of a list is shown, and where the parts beside it are."""

    first: int
    last: int
    count: int
    before: str | None
    behind: str | None


def pager(after: int, shown: int, count: int, link: Callable[[int], str]) -> Pager:
    """The parts beside the one that begins behind `after`."""
    last = after + shown
    return Pager(
        after + 1,
        last,
        count,
        link(max(after - A_PAGE, 0)) if after and count else None,
        link(last) if shown and last < count else None,
    )


@operation("GET", "/browse/{name}", PAGE)
async def snapshots(request: web.Request, asked: Snapshots) -> web.StreamResponse:
    """The snapshots of a source that can be looked into, newest first."""
    face = request.app[FACE]
    name = known(face, asked.name)
    usable = face.ledger.usable(name)[::-1]
    held, touched = keeping.current(face, name).kept_by, face.ledger.custody.damaged(name)[1]
    part = usable[asked.after : asked.after + A_PAGE]
    return page(
        request,
        "browse.html.j2",
        name=name,
        path=_shown(asked.raw) if asked.raw != b"/" else None,
        rows=[
            (receipt_view(each, held.get(each.id, ()), damaged=each.id in touched),
             leads(name, f"/in/{each.id}", asked.raw))
            for each in part
        ],
        pager=pager(asked.after, len(part), len(usable), lambda after: leads(name, "", asked.raw, after=after)),
    )  # fmt: skip


@operation("GET", "/browse/{name}/in/{snapshot}", PAGE, role=Role.OPERATOR)
async def place(request: web.Request, asked: Place) -> web.StreamResponse:
    """A folder of a snapshot, or one file of it and its versions."""
    face = request.app[FACE]
    with ExitStack() as stack:
        async with a_place(request):
            spot = await Looker(face.home, face.ledger, asked.name).at(stack, asked.snapshot, asked.raw)
            if spot.listed is not None:
                entries, end, count = await asyncio.to_thread(part_of, spot, asked)
        if spot.listed is not None:
            return _folder(
                request,
                asked,
                spot,
                pager(asked.after, end - asked.after, count, _parts(asked, spot)),
                entries,
            )
    return await _file(request, asked, spot)


def _parts(asked: Place, spot: Spot) -> Callable[[int], str]:
    return lambda after: leads(
        asked.name, f"/in/{spot.receipt.id}", spot.path, sort=asked.sort, order=asked.order, after=after
    )


def _around(request: web.Request, asked: InSnapshot, spot: Spot) -> dict[str, Any]:
    """What the pages of folders and files have in common."""
    ledger = request.app[FACE].ledger
    usable = ledger.usable(asked.name)
    at = next((number for number, each in enumerate(usable) if each.id == spot.receipt.id), 0)
    beside = {
        "older": usable[at - 1] if at else None,
        "newer": usable[at + 1] if at + 1 < len(usable) else None,
    }
    return {
        "name": asked.name,
        "receipt": receipt_view(spot.receipt),
        "newest": at == len(usable) - 1,
        "crumbs": crumbs(asked.name, spot.receipt.id, spot.path),
        "root": leads(asked.name, f"/in/{spot.receipt.id}", b"/"),
        "all": leads(asked.name, "", spot.path),
        "restore": leads(asked.name, f"/in/{spot.receipt.id}/restore", spot.path),
        "beside": {
            word: (each.time, leads(asked.name, f"/in/{each.id}", spot.path)) if each else None
            for word, each in beside.items()
        },
        "out": lambda archive: taken_out(asked.name, spot.receipt.id, spot.path, archive),
    }  # fmt: skip


def _folder(
    request: web.Request, asked: Place, spot: Spot, part: Pager, entries: Sequence[Entry]
) -> web.Response:
    def sorting(sort: str) -> str:
        # What is largest or newest is looked for first; the same again turns it round.
        first = "up" if sort == "name" else "down"
        turned = {"up": "down", "down": "up"}[asked.order]
        order = turned if asked.sort == sort else first
        return leads(asked.name, f"/in/{spot.receipt.id}", spot.path, sort=sort, order=order)

    return page(
        request,
        "folder.html.j2",
        rows=[
            Row(_name(each.raw), leads(asked.name, f"/in/{spot.receipt.id}", each.raw), each)
            for each in entries
        ],
        asked=asked,
        sorting=sorting,
        pager=part,
        **_around(request, asked, spot),
    )


async def _file(
    request: web.Request, asked: InSnapshot, spot: Spot, look: Preview | None = None
) -> web.StreamResponse:
    found = None
    if look is None:
        through = Through(name=asked.name, path=asked.path, path_b64=asked.path_b64)
        found = await versions_of(request, through, GLANCE_SECONDS)
    return page(
        request,
        "file.html.j2",
        entry=spot.entry,
        target=_shown((spot.entry.linktarget or "").encode("utf-8", "replace")) if spot.entry else "",
        look_at=look,
        show=leads(asked.name, f"/in/{spot.receipt.id}/show", spot.path),
        picture=leads(asked.name, f"/in/{spot.receipt.id}/picture", spot.path),
        back=leads(asked.name, f"/in/{spot.receipt.id}", spot.path),
        **(_versions(asked.name, spot.path, found) if found is not None else {}),
        **_around(request, asked, spot),
    )


def _versions(name: str, path: bytes, found: Versions) -> dict[str, Any]:
    """What is told of the versions of a path."""
    return {
        "versions": [
            (
                each,
                leads(name, f"/in/{each.receipts[0].id}", path),
                taken_out(name, each.receipts[0].id, path),
            )
            for each in found.versions
        ],
        "found": found,
        "further": leads(name, "/versions", path, before=found.next) if found.next else None,
    }


@operation("GET", "/browse/{name}/in/{snapshot}/show", PAGE, role=Role.OPERATOR, written=True)
async def show(request: web.Request, asked: PageInSnapshot) -> web.StreamResponse:
    """A file of a snapshot, with the beginning of its text, or its picture."""
    with ExitStack() as stack:
        face = request.app[FACE]
        async with a_place(request):
            spot = await Looker(face.home, face.ledger, asked.name).at(stack, asked.snapshot, asked.raw)
            look = await preview(request, asked, spot)
    return await _file(request, asked, spot, look)


@operation("GET", "/browse/{name}/versions", PAGE, role=Role.OPERATOR)
async def versions(request: web.Request, asked: PageOfVersions) -> web.StreamResponse:
    """Every version of a path."""
    found = await versions_of(request, asked)
    return page(
        request, "versions.html.j2", name=asked.name, path=_shown(asked.raw), all=leads(asked.name, "", asked.raw),
        **_versions(asked.name, asked.raw, found),
    )  # fmt: skip


@operation("GET", "/browse/{name}/find", PAGE, role=Role.OPERATOR)
async def find(request: web.Request, asked: PageOfSearch) -> web.StreamResponse:
    """A search through all snapshots."""
    name = known(request.app[FACE], asked.name)
    said, found, status = None, None, 200
    if asked.text:
        try:
            found = await searched(request, name, asked.text, asked.before or None, seconds=asked.seconds)
        except UsageError as error:
            said, status = error, error.http_status
    newest = request.app[FACE].ledger.usable(name)[-1:]
    return page(
        request,
        "find.html.j2",
        status,
        name=name,
        text=asked.text,
        said=said,
        found=found,
        newest=newest[0].id if newest else None,
        rows=[(each, _shown(each.entry.raw), _to(name, each)) for each in found.matches] if found else [],
        further=leads(name, "/find", text=asked.text, before=found.next) if found and found.next else None,
        longer=leads(name, "/find", text=asked.text, before=asked.before, patience="yes"),
        patient=bool(asked.patience),
    )


def _to(name: str, match: Match) -> str:
    """Where a name that was found leads: where its bytes are not known, to the folder above that are."""
    raw = match.entry.raw
    lost = raw.find("\N{REPLACEMENT CHARACTER}".encode()) if not match.exact else -1
    return leads(name, f"/in/{match.newest.id}", raw if lost < 0 else raw[:lost].rpartition(b"/")[0] or b"/")


@operation("GET", "/browse/{name}/compare", PAGE, role=Role.OPERATOR)
async def compare(request: web.Request, asked: PageOfTwo) -> web.StreamResponse:
    """Two snapshots compared."""
    face = request.app[FACE]
    name = known(face, asked.name)
    usable = face.ledger.usable(name)[::-1]
    found = None
    if asked.older:
        two = Two(**asked.model_dump(), limit=A_PAGE)
        found = await compared(request, two)

    def part(after: int) -> str:
        return leads(
            name, "/compare", older=asked.older, newer=asked.newer, metadata=asked.metadata, after=after
        )

    return page(
        request,
        "compare.html.j2",
        name=name,
        usable=usable,
        found=found,
        metadata=asked.metadata == "yes",
        counts=[(each, found.counts.get(each, 0)) for each in Became] if found else [],
        rows=[
            (became, change, _shown(change.entry.raw), _either(name, found, became, change))
            for became, change in found.changes
        ]
        if found
        else [],
        pager=pager(asked.after, len(found.changes), sum(found.counts.values()), part) if found else None,
    )


def _either(name: str, found: Differences, became: Became, change: Change) -> str | None:
    """Where a name that changed leads: to the newer snapshot, unless only the older one has it."""
    if not change.exact:
        return None
    receipt = found.older if became is Became.REMOVED else found.newer
    return leads(name, f"/in/{receipt.id}", change.entry.raw)


OPERATIONS = (snapshots, find, versions, compare, place, show, picture)

"""Restoring into a folder of this server, over HTTP: first what it would be, then a run that does it. For operators.

Nobody names the folder: it is below `srv/restored` of the home and has its run's name, so no file that is there is touched.
"""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from pbs.browse import Amount, Looker, Spot, amount
from pbs.model import Cause, Kind, Run
from pbs.space import kept_free, space_of
from pbs.views import run_view
from pbs.web import shapes
from pbs.web.content import BASE64, InSnapshot, PageInSnapshot, place
from pbs.web.declare import Role, operation
from pbs.web.face import FACE, Face, known
from pbs.web.frame import PAGE, OfAForm, go_to, page


class Measured(BaseModel):
    """What a restore would bring back, and the room for it. Not `whole`: it is more than was counted in the time for it."""

    snapshot: shapes.SnapshotId
    names: int
    files: int
    bytes: shapes.Bytes
    devices: int
    whole: bool
    free_bytes: shapes.Bytes


class FormOfRestore(OfAForm):
    """The button that begins a restore. The path comes as it was counted, byte by byte."""

    name: str
    snapshot: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    path_b64: Annotated[str, Field(pattern=BASE64)]


async def measured(request: web.Request, asked: InSnapshot) -> tuple[Spot, Amount, int]:
    """What lies there, how much it is, and how much room there is for it."""
    face = request.app[FACE]
    looker = Looker(face.home, face.ledger, asked.name)
    async with place(request):
        with ExitStack() as stack:
            spot = await looker.at(stack, asked.snapshot, asked.raw)
        found = await amount(looker, spot.receipt, spot.path)
    return spot, found, _room(face, asked.name)


def _room(face: Face, name: str) -> int:
    """The bytes that a restore may take: none of those that `reserve` keeps."""
    place, source = face.home.restored, face.sources.get(name)
    space = space_of(place if place.exists() else place.parent)
    return max(0, space.free - (kept_free(source.reserve, space) if source is not None else 0))


@operation("GET", "/api/v1/sources/{name}/snapshots/{snapshot}/amount", Measured, role=Role.OPERATOR)
async def measure(request: web.Request, asked: InSnapshot) -> web.StreamResponse:
    """What a restore of this path would bring back, and whether there is room: the dry run of it."""
    spot, found, free = await measured(request, asked)
    return web.json_response(
        {"snapshot": spot.receipt.id, "names": found.names, "files": found.files, "bytes": found.bytes,
         "devices": found.devices, "whole": found.whole, "free_bytes": free}
    )  # fmt: skip


@operation("POST", "/api/v1/sources/{name}/snapshots/{snapshot}/restore", shapes.Run, status=202)
async def restore(request: web.Request, asked: InSnapshot) -> web.StreamResponse:
    """Restore this path into a new folder of the server, `srv/restored/RUN`. Answers with the run that does it."""
    made = await wished(request, asked.name, asked.snapshot, asked.raw)
    return web.json_response(run_view(made), status=202)


async def wished(request: web.Request, name: str, snapshot: str, raw: bytes) -> Run:
    """The run that restores what lies there.

    Raises:
        NotFound: nothing lies there.
    """
    face = request.app[FACE]
    looker = Looker(face.home, face.ledger, known(face, name))
    async with place(request):
        with ExitStack() as stack:
            spot = await looker.at(stack, snapshot, raw)
    options = {"snapshot": spot.receipt.id, "path": base64.b64encode(spot.path).decode()}
    return face.request(name, Kind.RESTORE, Cause.ASKED, json.dumps(options))


@operation("GET", "/browse/{name}/in/{snapshot}/restore", PAGE, role=Role.OPERATOR)
async def counted(request: web.Request, asked: PageInSnapshot) -> web.StreamResponse:
    """What a restore would bring back, and the button that begins it."""
    spot, found, free = await measured(request, asked)
    entry = spot.entry
    return page(
        request,
        "restore.html.j2",
        name=asked.name,
        receipt=spot.receipt,
        path=spot.path.decode("utf-8", "replace"),
        path_b64=base64.b64encode(spot.path).decode(),
        found=found,
        free=free,
        folder=entry is None,
        where=str(request.app[FACE].home.restored),
    )


@operation("POST", "/browse/{name}/in/{snapshot}/restore", PAGE, status=303, form=True)
async def begin(request: web.Request, asked: FormOfRestore) -> web.StreamResponse:
    """Begin a restore, and go to the page of its run."""
    made = await wished(request, asked.name, asked.snapshot, base64.b64decode(asked.path_b64))
    return go_to(f"/runs/{made.id}")


OPERATIONS = (measure, restore)
PAGES = (counted, begin)

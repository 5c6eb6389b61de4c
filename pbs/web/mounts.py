"""Mounts over HTTP: which there are, making one, ending one. A mount is served by a process of its own, as from the command line."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from pbs.clock import stamp
from pbs.errors import NotFound, PbsError, RestoreError
from pbs.home import Home
from pbs.process import run
from pbs.restore import Mount, mounts, unmount
from pbs.web import shapes
from pbs.web.declare import Asked, Nothing, Role, operation
from pbs.web.face import FACE, known

LONGEST_SECONDS = 7 * 86400
WAIT_SECONDS = 180.0
MOST_SAID = 1 << 16


class Wanted(Asked):
    """A mount that is wanted."""

    source: Annotated[str, Field(description="The name of a source.")]
    seconds: Annotated[int, Field(description="How long it stays.", ge=1, le=LONGEST_SECONDS)] = 7200


class OneMount(Asked):
    """The mounts of a source."""

    name: Annotated[str, Field(description="The name of a source.")]


class Place(BaseModel):
    """An open mount, in the file system of the server."""

    source: str
    directory: str
    opened: str
    expires: str | None
    snapshots: int


class Places(BaseModel):
    """Open mounts."""

    mounts: list[Place]


def _view(mount: Mount) -> dict[str, object]:
    return {
        "source": mount.source,
        "directory": str(mount.directory),
        "opened": stamp(mount.opened),
        "expires": stamp(mount.expires),
        "snapshots": mount.snapshots,
    }


@operation("GET", "/api/v1/mounts", Places, role=Role.OPERATOR)
async def shown(request: web.Request, asked: Nothing) -> web.StreamResponse:  # noqa: ARG001
    """What is mounted now."""
    found = await mounts(request.app[FACE].home.mounts)
    return web.json_response({"mounts": [_view(each) for each in found]})


@operation("POST", "/api/v1/mounts", Places, status=201)
async def mount(request: web.Request, asked: Wanted) -> web.StreamResponse:
    """Mount every snapshot of a source in the folder `mnt/NAME` of the home."""
    face = request.app[FACE]
    name = known(face, asked.source)
    await _verb(face.home, "mount", name, "--for", f"{asked.seconds}s", "--json")
    found = [each for each in await mounts(face.home.mounts) if each.source == name]
    return web.json_response({"mounts": [_view(each) for each in found]}, status=201)


@operation("DELETE", "/api/v1/mounts/{name}", shapes.Remarks)
async def ended(request: web.Request, asked: OneMount) -> web.StreamResponse:
    """End the mounts of a source."""
    face = request.app[FACE]
    here = [each for each in await mounts(face.home.mounts) if each.source == asked.name]
    if not here:
        raise NotFound(f"nothing of {asked.name[:80]!r} is mounted", "GET /api/v1/mounts lists what is")
    remarks = []
    for each in here:
        try:
            await unmount(each.directory, face.home.mounts, face.time)
        except PbsError as error:
            remarks.append(f"{error.message} ({error.hint})")
    return web.json_response({"remarks": remarks})


async def _verb(home: Home, *words: str) -> None:
    """Run one verb of the command line: what it leaves running belongs to nobody, so restarting us ends no mount."""
    command = [sys.executable, "-I", "-m", "pbs.cli.main", "--home", str(home.root), *words]
    done = await run(command, timeout=WAIT_SECONDS, most=MOST_SAID)
    if done.code == 0:
        return
    try:
        said = json.loads(done.stdout)["error"]
        message, hint = str(said["message"]), said["hint"]
    except (ValueError, LookupError, TypeError):
        message, hint = "it could not be mounted", "look at var/log/mount.log"
    if done.code == NotFound.exit_code:
        raise NotFound(message, hint)
    problem = RestoreError(message, hint)
    problem.http_status = 409  # it is the place, or this machine, that is not as it would have to be
    raise problem


OPERATIONS = (shown, mount, ended)

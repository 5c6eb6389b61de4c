"""The few files that pages need besides their text: style, scripts, a picture. All are ours and in this package.

They are read once and served under a name that holds their digest, so a browser may keep them for ever. Nothing outside
the list can be asked for, and no page needs anything of another server.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from aiohttp import web
from pydantic import Field

from pbs.errors import NotFound
from pbs.web.declare import Asked, Media, Role, operation

FOLDER = Path(__file__).parent / "files"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    path: str
    kind: str
    body: bytes


class OneAsset(Asked):
    """A file of the pages."""

    digest: Annotated[str, Field(description="Of its content.")]
    file: Annotated[str, Field(description="Its name.")]


@cache
def assets() -> dict[str, Asset]:
    """Every file by its name, with the path that it is served under."""
    found = {}
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in KINDS:
            body = file.read_bytes()
            path = f"/assets/{sha256(body).hexdigest()[:16]}/{file.name}"
            found[file.name] = Asset(path, KINDS[file.suffix], body)
    return found


@operation("GET", "/assets/{digest}/{file}", Media("text/css", "A file of the pages."), role=Role.NOBODY)
async def asset(request: web.Request, asked: OneAsset) -> web.StreamResponse:
    """A file of the pages."""
    found = assets().get(asked.file)
    if found is None or found.path != request.path:
        raise NotFound("the pages have no such file", "load the page again: it names those that it needs")
    return web.Response(
        body=found.body, content_type=found.kind, charset="utf-8", headers={"Cache-Control": FOR_EVER}
    )


OPERATIONS = (asset,)

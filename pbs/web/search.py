"""Looking for something in many snapshots, over HTTP: names, versions of a path, differences. For operators; it changes nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from pbs import browse
from pbs.browse.history import SECONDS
from pbs.browse.searching import LONGEST_TEXT
from pbs.browse.searching import SECONDS as SEARCH_SECONDS
from pbs.web import shapes
from pbs.web.content import SNAPSHOT, AtPath
from pbs.web.content import place as a_place
from pbs.web.declare import DIGITS, Asked, Role, operation
from pbs.web.face import FACE

MOST_MATCHES = 1000
MOST_CHANGES = 10_000
# Something besides what stands for anything.
MEANING = r"^[^\x00]*[^/*? \x00][^\x00]*$"
Before = Annotated[
    str | None,
    Field(description="Only in snapshots older than this one: what `next` said.", pattern="^[0-9a-f]{64}$"),
]


class OfSource(Asked):
    """Something of a source."""

    name: Annotated[str, Field(description="The name of a source.")]


class Search(OfSource):
    """A search."""

    text: Annotated[
        str,
        Field(
            description="Part of a name; * and ? stand for anything, a / begins a path.",
            pattern=MEANING,
            max_length=LONGEST_TEXT,
        ),
    ]
    limit: Annotated[int, Field(description="How many names at most.", ge=1, le=MOST_MATCHES), DIGITS] = 200
    before: Before = None


class Through(OfSource, AtPath):
    """A path in all snapshots."""

    before: Before = None


class Two(OfSource):
    """Two snapshots of a source."""

    older: Annotated[str, Field(description="The older snapshot, like any other.", pattern=SNAPSHOT)]
    newer: Annotated[str, Field(description="The newer one.", pattern=SNAPSHOT)] = "latest"
    metadata: Annotated[
        Literal["no", "yes"], Field(description="Also names of which only owner, mode or time changed.")
    ] = "no"
    limit: Annotated[int, Field(description="How many changes at most.", ge=1, le=MOST_CHANGES), DIGITS] = (
        1000
    )
    after: Annotated[
        int, Field(description="What `next` of the part before said.", ge=0, lt=2**63), DIGITS
    ] = 0


class When(BaseModel):
    """A snapshot, and its time by our clock."""

    id: shapes.SnapshotId
    time: str


class Match(shapes.Entry):
    """A name that was found, as the newest snapshot that has it tells it; `exact` = its path is told byte by byte."""

    exact: bool
    snapshot: shapes.SnapshotId
    time: str
    snapshots: int


class Matches(BaseModel):
    """What was found in the `looked` newest snapshots. `cut`: there is more in them; `next`: older ones were not looked at."""

    matches: list[Match]
    cut: bool
    looked: int
    oldest: str | None
    next: shapes.SnapshotId | None


class FileVersion(shapes.Entry):
    """A version of a file, and the snapshots that hold it, newest first."""

    snapshots: list[When]


class Versions(BaseModel):
    """The versions of a path, newest first; `without`: the snapshots that were looked at and do not have it."""

    versions: list[FileVersion]
    without: list[When]
    looked: int
    oldest: str | None
    next: shapes.SnapshotId | None


class Change(BaseModel):
    """What became of one name."""

    change: browse.Became
    path: str
    exact: bool
    folder: bool


class Differences(BaseModel):
    """Two snapshots compared. Not `whole`: it took too long, and the counts are of what was seen until then."""

    older: When
    newer: When
    changes: list[Change]
    counts: dict[str, int]
    added_bytes: shapes.Bytes | None
    removed_bytes: shapes.Bytes | None
    whole: bool
    next: int | None


@operation("GET", "/api/v1/sources/{name}/find", Matches, role=Role.OPERATOR)
async def find(request: web.Request, asked: Search) -> web.StreamResponse:
    """Look for a name in the snapshots of a source, from the newest back."""
    return web.json_response(
        browse.found_view(await searched(request, asked.name, asked.text, asked.before, asked.limit))
    )


async def searched(
    request: web.Request,
    name: str,
    text: str,
    before: str | None,
    limit: int = 200,
    seconds: float = SEARCH_SECONDS,
) -> browse.Found:
    """What a search finds."""
    face = request.app[FACE]
    async with a_place(request):
        return await browse.search(
            face.home, face.ledger, face.time, name, text, before=before, limit=limit, seconds=seconds
        )


@operation("GET", "/api/v1/sources/{name}/versions", Versions, role=Role.OPERATOR)
async def versions(request: web.Request, asked: Through) -> web.StreamResponse:
    """Every version of a file that the snapshots of a source hold."""
    return web.json_response(browse.versions_view(await versions_of(request, asked)))


async def versions_of(request: web.Request, asked: Through, seconds: float = SECONDS) -> browse.Versions:
    """The versions of a path, as far back as there is time."""
    face = request.app[FACE]
    async with a_place(request):
        return await browse.versions(
            face.home, face.ledger, face.time, asked.name, asked.raw, before=asked.before, seconds=seconds
        )


@operation("GET", "/api/v1/sources/{name}/differences", Differences, role=Role.OPERATOR)
async def differences(request: web.Request, asked: Two) -> web.StreamResponse:
    """What is different between two snapshots of a source."""
    return web.json_response(browse.differences_view(await compared(request, asked), asked.after))


async def compared(request: web.Request, asked: Two) -> browse.Differences:
    """Two snapshots compared."""
    face = request.app[FACE]
    async with a_place(request):
        return await browse.differences(
            face.home, face.ledger, asked.name, asked.older, asked.newer,
            metadata=asked.metadata == "yes", limit=asked.limit, after=asked.after,
        )  # fmt: skip


OPERATIONS = (find, versions, differences)

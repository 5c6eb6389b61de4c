"""What the buttons of pages do: the same as the API, asked by a form, answered with the page that shows what became of it."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from pbs.errors import UsageError
from pbs.model import Cause, Kind, RunState
from pbs.web import api, holding
from pbs.web.cancelling import who
from pbs.web.declare import operation, taken
from pbs.web.face import FACE, known
from pbs.web.frame import PAGE, OfAForm, go_to

# What may be asked for once more as it was; other kinds were wanted with something that holds once.
AGAIN = frozenset({Kind.PULL, Kind.RETAIN, Kind.CHECK, Kind.MIGRATE})


class AskedFor(OfAForm):
    """A run that somebody wants of a source."""

    name: str
    kind: Literal["pull", "retain", "check", "migrate"] = "pull"
    confirm: str = ""
    read: str = ""


class OneRun(OfAForm):
    """A run."""

    run: str


class Pin(OfAForm):
    """A snapshot that no rule shall remove, or that the rules shall decide about again."""

    name: str
    snapshot: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    pinned: Literal["yes", "no"]
    note: Annotated[str, Field(max_length=200)] = ""


class Why(OfAForm):
    """A source, and why no snapshot of it shall be removed."""

    name: str
    why: Annotated[str, Field(max_length=500)] = ""


class OneSource(OfAForm):
    """A source."""

    name: str


@operation("POST", "/sources/{name}/runs", PAGE, status=303, form=True)
async def ask(request: web.Request, asked: AskedFor) -> web.StreamResponse:
    """Ask for a run, and go to its page."""
    face = request.app[FACE]
    given = {key: value for key in ("confirm", "read") if (value := getattr(asked, key))}
    options = taken(api.Options, given).model_dump_json(exclude_none=True) if given else None
    made = face.request(known(face, asked.name), Kind(asked.kind), Cause.ASKED, options)
    return go_to(f"/runs/{made.id}")


@operation("POST", "/runs/{run}/cancel", PAGE, status=303, form=True)
async def cancel(request: web.Request, asked: OneRun) -> web.StreamResponse:
    """Ask a run to stop."""
    found = request.app[FACE].cancel(asked.run, who(request))
    return go_to(f"/runs/{found.id}")


@operation("POST", "/runs/{run}/again", PAGE, status=303, form=True)
async def again(request: web.Request, asked: OneRun) -> web.StreamResponse:
    """Ask for the same once more, with what else was wanted of it then."""
    face = request.app[FACE]
    found = face.ledger.run(asked.run)
    if found.state is not RunState.ENDED or found.kind not in AGAIN:
        raise UsageError(
            "this run cannot be asked for once more", "wait for its end; ask for a restore where it was begun"
        )
    made = face.request(known(face, found.source), found.kind, Cause.ASKED, found.options)
    return go_to(f"/runs/{made.id}")


@operation("POST", "/sources/{name}/pin", PAGE, status=303, form=True)
async def pin(request: web.Request, asked: Pin) -> web.StreamResponse:
    """Have no rule remove a snapshot, or let the rules decide again."""
    face = request.app[FACE]
    found = face.ledger.find_receipt(known(face, asked.name), asked.snapshot)
    pinned = asked.pinned == "yes"
    face.ledger.custody.pin(
        asked.name, found.id, asked.note.strip() or None if pinned else None, face.time.now(), pinned=pinned
    )
    return go_to(f"/sources/{asked.name}#snapshots")


@operation("POST", "/sources/{name}/hold", PAGE, status=303, form=True)
async def hold(request: web.Request, asked: Why) -> web.StreamResponse:
    """Let no snapshot of a source be removed until somebody resumes it."""
    await holding.held(request, asked.name, asked.why)
    return go_to(f"/sources/{asked.name}")


@operation("POST", "/sources/{name}/resume", PAGE, status=303, form=True)
async def resume(request: web.Request, asked: OneSource) -> web.StreamResponse:
    """Lift what a tripwire or a person stopped."""
    await holding.resumed(request, asked.name)
    return go_to(f"/sources/{asked.name}")


OPERATIONS = (ask, cancel, again, pin, hold, resume)

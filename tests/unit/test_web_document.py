"""The OpenAPI document and the routes are one thing: nothing answers that is not in it, and it promises nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request
from pydantic import BaseModel

from pbs import __version__, views
from pbs.errors import NotFound, PbsError, UsageError
from pbs.model import Address, Cause, Kind, Outcome, Quarantined, Receipt, ReceiptState, Run, RunState, Source
from pbs.space import Space
from pbs.web import api, notify, pages, shapes
from pbs.web.app import make_app
from pbs.web.declare import Role, asked, document
from pbs.web.face import Face

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = Run("20260102T030405Z-web-pull-aaaa", "web", Kind.PULL, Cause.ASKED, RunState.QUEUED, NOW)
SOURCE = Source("web", Address("web.example", 22, "backup", "ssh-ed25519 AAAA", "key"))
RECEIPT = Receipt("a" * 64, "web", RUN.id, NOW, NOW, None, ReceiptState.ADMITTED, Outcome.OK)


def made() -> dict[str, Any]:
    """The document."""
    return document(api.OPERATIONS, __version__, shapes.Error)


def test_every_route_is_in_the_document_and_the_other_way_round() -> None:
    """What answers and is no page for people stands in the document, under its method; what stands there answers."""
    app = make_app(cast("Face", None))
    paged = {(each.method, each.path) for each in pages.OPERATIONS}
    answering = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    } - paged
    written = {(method.upper(), path) for path, methods in made()["paths"].items() for method in methods}
    assert written == answering
    assert len(written) > 5


def test_the_document_is_whole() -> None:
    """Each operation has a name of its own, says what it does and for whom; every reference leads somewhere; it is JSON."""
    found = made()
    operations = [each for methods in found["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    assert all(each["summary"].endswith(".") for each in operations)
    assert all(
        "#/components/schemas/Error" in json.dumps(each["responses"]["default"]) for each in operations
    )
    text = json.dumps(found)
    wanted = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted == set(found["components"]["schemas"])


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (views.run_view(RUN), shapes.Run),
        (views.receipt_view(RECEIPT), shapes.Snapshot),
        (views.quarantined_view(Quarantined("web", RUN.id, NOW, "keys", "keys/a", 5, "foreign")), shapes.Quarantined),
        (views.source_view(SOURCE, last=RUN, last_ok=None, snapshots=0, repository_bytes=None), shapes.Source),
        (views.space_view(Space(100, 50), (10, 0), 4), shapes.Disk),
        (views.hold_view("web", None), shapes.Hold),
        (views.error_view(NotFound("no", "do")), shapes.Error),
        (views.error_view(PbsError("no", "do")), shapes.Error),
    ],
)  # fmt: skip
def test_answers_are_what_the_document_says(view: dict[str, Any], shape: type[BaseModel]) -> None:
    """Each noun has in JSON exactly the fields that its schema names, and values that fit."""
    assert set(view) == set(shape.model_fields)
    shape.model_validate_json(json.dumps(view))


def test_what_changes_something_is_for_operators() -> None:
    """Unless it is said otherwise, reading is for viewers and everything else for operators; nothing else hides in a GET."""
    # A source's notice has a token of its own, and may come ten thousand times.
    usual = [each for each in api.OPERATIONS if each not in notify.OPERATIONS]
    roles = {(each.method, each.path): each.role for each in usual}
    assert all(role is Role.OPERATOR for (method, _), role in roles.items() if method != "GET")
    assert Role.VIEWER is roles["GET", "/api/v1/runs"]
    assert all(each.written for each in usual if each.method != "GET")


@pytest.mark.parametrize(
    "query",
    ["limit=", "limit=0", "limit=-1", "limit=+5", "limit=%205", "limit=1_0", "limit=1001", "limit=1e3", "limit=null",
     "limit=5&limit=6", "nothing=1", "limit=" + "9" * 4000, "Limit=5", "run=x"],
)  # fmt: skip
async def test_a_query_takes_what_is_declared_and_nothing_else(query: str) -> None:
    """A number is plain digits in its bounds; what is not known, or said twice, is refused and never passed over."""
    with pytest.raises(UsageError) as refused:
        await asked(api.runs, make_mocked_request("GET", f"/api/v1/runs?{query}"))
    assert refused.value.hint


async def test_what_may_be_left_out_has_its_default() -> None:
    """An empty query asks for what the document says."""
    found = await asked(api.runs, make_mocked_request("GET", "/api/v1/runs"))
    assert (None, 100) == (found.source, found.limit)  # type: ignore[attr-defined]

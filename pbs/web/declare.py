"""What an operation of the API asks and answers, said once: requests are checked by it and the OpenAPI document is made from it.

It knows no operation by itself and no noun of ours.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar, get_type_hints

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from pbs.errors import UsageError
from pbs.text import clean_line

BODY_SECONDS = 30.0
FORM = "application/x-www-form-urlencoded"
SURROGATE = re.compile(r"[\ud800-\udfff]")
PLACES = re.compile(r"\{(\w+)\}")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Work = Callable[..., Awaitable[web.StreamResponse]]
Shape = TypeVar("Shape", bound=BaseModel)


class Role(IntEnum):
    """What somebody may do; each holds what stands before it."""

    NOBODY = 0
    VIEWER = 1
    OPERATOR = 2


class Asked(BaseModel):
    """What an operation asks: what its path names, and besides the query of a GET or the JSON body of a POST."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """An operation that asks nothing."""


class OfAPage(Asked):
    """What a page asks: what feed readers and newsletters hang on a link is passed over."""

    model_config = ConfigDict(extra="ignore")


def _digits(value: object) -> object:
    """Text of a query as a number; only plain digits are one."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise ValueError("this is no number")
        return int(value)
    return value


# Behind the bounds of a number in a query: `Annotated[int, Field(ge=1), DIGITS]`.
DIGITS = BeforeValidator(_digits)


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is no JSON: its type and what it holds, as text or as events of this shape."""

    kind: str
    about: str
    events: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: where it answers, to whom, what it asks, what it answers, and what carries it out.

    `written` = it is written down in the audit. `form` = what it asks comes from a form of a page, not as JSON.
    `area` = what of the configuration's `open` it belongs to, where its path does not say so. `empty` = further statuses that it answers with nothing, and what each means.
    """

    method: str
    path: str
    work: Work
    asks: type[Asked]
    answers: type[BaseModel] | Media | None
    status: int
    role: Role
    written: bool
    form: bool
    empty: Mapping[int, str]
    area: str = ""

    @property
    def name(self) -> str:
        """Its name in the document."""
        return str(getattr(self.work, "__name__", "")).strip("_")

    @property
    def about(self) -> str:
        """What it does, in the words of its docstring."""
        return " ".join((self.work.__doc__ or "").split())

    @property
    def places(self) -> tuple[str, ...]:
        """What its path names."""
        return tuple(PLACES.findall(self.path))

    @property
    def needed(self) -> list[str]:
        """What must be said besides the path."""
        fields = self.asks.model_fields.items()
        return sorted(name for name, field in fields if field.is_required() and name not in self.places)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Check what was asked, then carry it out."""
        request[ASKED] = found = await asked(self, request)
        return await self.work(request, found)


ASKED: web.RequestKey[Asked] = web.RequestKey("asked")


def operation(
    method: str,
    path: str,
    answers: type[BaseModel] | Media | None,
    *,
    status: int = 200,
    role: Role | None = None,
    written: bool | None = None,
    form: bool = False,
    empty: Mapping[int, str] | None = None,
    area: str = "",
) -> Callable[[Work], Operation]:
    """Make an operation of a function `(request, asked)`; what it asks is the type of its second argument.

    Unless it is said otherwise, a GET is for viewers and not written down, anything else for operators and written down.
    """

    def declare(work: Work) -> Operation:
        asks = get_type_hints(work)["asked"]
        needs = role if role is not None else Role.VIEWER if method == "GET" else Role.OPERATOR
        noted = written if written is not None else method != "GET"
        return Operation(method, path, work, asks, answers, status, needs, noted, form, empty or {}, area)

    return declare


def routes_of(operations: tuple[Operation, ...]) -> list[web.RouteDef]:
    """The routes of these operations; a GET answers HEAD as well."""
    return [
        web.get(each.path, each.handle) if each.method == "GET" else web.route(each.method, each.path, each.handle)
        for each in operations
    ]  # fmt: skip


async def asked(operation: Operation, request: web.Request) -> Asked:
    """What a request asks of an operation.

    Raises:
        UsageError: it is not what the operation takes.
    """
    rest: dict[str, object] = {}
    if operation.method in ("GET", "DELETE"):
        lenient = operation.asks.model_config.get("extra") == "ignore"
        for key in request.query:
            if lenient and key not in operation.asks.model_fields:
                continue
            if len(values := request.query.getall(key)) > 1:
                raise UsageError(f"`{clean_line(key, 40)}` is given {len(values)} times", "give it once")
            rest[key] = values[0]
    elif request.query:
        raise UsageError("a POST takes no query", "put it into the JSON body")
    elif operation.form:
        rest = {**await form(request)}
    else:
        rest = await _body(request, needed=bool(operation.needed))
    if both := sorted(set(rest) & set(operation.places)):
        raise UsageError(f"`{both[0]}` stands in the path", "leave it out of the rest")
    given = {**rest, **request.match_info}
    for key, value in given.items():
        if isinstance(value, str) and SURROGATE.search(value):
            raise UsageError(f"`{clean_line(key, 40)}` is no text", "send it as UTF-8")
    return taken(operation.asks, given, strict=operation.method == "POST")


def taken(shape: type[Shape], given: Mapping[str, object], *, strict: bool = False) -> Shape:
    """These values in this shape.

    Raises:
        UsageError: they do not fit.
    """
    try:
        return shape.model_validate(given, strict=strict)
    except ValidationError as error:
        raise UsageError(_said(error), "/api/v1/openapi.json tells what is taken here") from error


async def form(request: web.Request) -> dict[str, str]:
    """The fields of a form; another kind of body has none."""
    if request.content_type != FORM:
        return {}
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(reason="the request did not arrive in time") from error
    except (ValueError, LookupError) as error:  # an unknown charset, or bytes that are none of it
        raise UsageError("the form cannot be read", "send it as UTF-8") from error


async def _body(request: web.Request, *, needed: bool) -> dict[str, object]:
    """The JSON object of a request; one that may be left out counts as empty."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if not needed and not await request.read():
                return {}
            value = await request.json()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(reason="the request did not arrive in time") from error
    except (ValueError, LookupError, RecursionError) as error:  # no JSON, an unknown charset, too deep
        raise UsageError("the request is no JSON", 'send an object, such as {"source": NAME}') from error
    if not isinstance(value, dict):
        raise UsageError("the request is no JSON object", 'send an object, such as {"source": NAME}')
    return value


def _said(error: ValidationError) -> str:
    """The first fault as a sentence."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = clean_line(".".join(str(part) for part in fault["loc"]), 60) or "the request"
    kinds = {"extra_forbidden": "is not known here", "missing": "is missing"}
    said = kinds.get(fault["type"]) or f"cannot be taken: {clean_line(fault['msg'], 200)}"
    return f"`{where}` {said}"


def document(operations: tuple[Operation, ...], version: str, error: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI document of these operations. `error` is the one shape of every refusal."""
    shapes: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    refusal = _content(error, shapes)
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each, shapes, refusal)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pbs", "version": version, "description": ABOUT},
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(shapes.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token; over TCP alone."},
                "session": {"type": "apiKey", "in": "cookie", "name": "pbs_session",
                            "description": "What a login gives; over TCP alone."},
            },
        },
    }  # fmt: skip


ABOUT = (
    "Times are RFC 3339 in UTC, sizes bytes, durations seconds; what is absent is null. On the unix socket nothing is "
    "asked for; over TCP a token or a login. Nothing that changes something answers to GET."
)
ROLES = {Role.NOBODY: "anybody", Role.VIEWER: "viewer", Role.OPERATOR: "operator"}


def _described(each: Operation, shapes: dict[str, Any], refusal: dict[str, Any]) -> dict[str, Any]:
    schema = _schema(each.asks, shapes, "validation")
    fields: dict[str, Any] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    parameters = [
        _parameter(name, "path" if name in each.places else "query", value, name in required)
        for name, value in fields.items()
        if name in each.places or each.method in ("GET", "DELETE")
    ]
    answer: dict[str, Any] = {"description": "What was asked for."}
    if isinstance(each.answers, Media):
        answer = {"description": each.answers.about, **_media(each.answers, shapes)}
    elif each.answers is not None:
        answer |= _content(each.answers, shapes)
    found: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.about,
        "description": f"For: {ROLES[each.role]}.",
        "parameters": parameters,
        "responses": {
            str(each.status): answer,
            **{str(status): {"description": about} for status, about in each.empty.items()},
            **_refusals(each, refusal),
        },
    }
    body = {name: value for name, value in fields.items() if name not in each.places}
    if body and each.method not in ("GET", "DELETE"):
        wanted = {"type": "object", "additionalProperties": False, "properties": body,
                  "required": each.needed}  # fmt: skip
        found["requestBody"] = {
            "required": bool(each.needed),
            "content": {"application/json": {"schema": wanted}},
        }
    if each.role is Role.NOBODY:
        found["security"] = []
    return found


def _parameter(name: str, where: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    schema = dict(schema)
    about = schema.pop("description", "")
    # In a query what may be left out is absent, never null.
    choices = [choice for choice in schema.pop("anyOf", []) if choice.get("type") != "null"]
    if choices:
        schema = {**choices[0], **schema}
        if schema.get("default", 0) is None:
            del schema["default"]
    if where == "path":
        schema.setdefault("minLength", 1)
    return {"name": name, "in": where, "required": required, "description": about, "schema": schema}


def _refusals(each: Operation, refusal: dict[str, Any]) -> dict[str, Any]:
    """The refusals that can be foreseen, and what any other one looks like."""
    said = {"401": "No token or login.", "403": "Not for this role, or asked from another site."}
    if each.asks.model_fields or each.method == "POST":
        said |= {"400": "What was asked makes no sense."}
    if each.places or each.method == "POST":
        said |= {"404": "There is no such thing."}
    said |= {"default": "Any other refusal."}
    return {code: {"description": text, **refusal} for code, text in sorted(said.items())}


def _media(media: Media, shapes: dict[str, Any]) -> dict[str, Any]:
    if media.events is None:
        return {"content": {media.kind: {"schema": {"type": "string"}}}}
    return {"content": {media.kind: _content(media.events, shapes)["content"]["application/json"]}}


def _content(model: type[BaseModel], shapes: dict[str, Any]) -> dict[str, Any]:
    schema = _schema(model, shapes, "serialization")
    _put(shapes, model.__name__, schema)
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}}


def _schema(model: type[BaseModel], shapes: dict[str, Any], mode: Any) -> dict[str, Any]:
    schema = model.model_json_schema(mode=mode, ref_template="#/components/schemas/{model}")
    for name, shape in schema.pop("$defs", {}).items():
        _put(shapes, name, shape)
    return schema


def _put(shapes: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    """Remember a shape by its name, which no other one may have."""
    if shapes.setdefault(name, schema) != schema:
        raise ValueError(f"two shapes are called {name}")

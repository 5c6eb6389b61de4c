"""What is wrong with a document, one line each: where it stands, what is wrong, what would be right. It raises nothing."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pbs.config.channels import ChannelFields, FeedFields
from pbs.config.fields import (
    CloneFields,
    DefaultFields,
    FileFields,
    LimitFields,
    RunLogFields,
    ServerFields,
    SourceFields,
    TripwireFields,
)
from pbs.config.kinds import shown
from pbs.text import clean_line

Location = tuple[str | int, ...]


def check(
    model: type[BaseModel], data: Mapping[str, object], file: str, at: Location
) -> tuple[BaseModel | None, list[str]]:
    """The values of a document, or every fault of it; `at` is where the document stands in the whole."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, [f"{file}: {_fault(detail, at)}" for detail in details]


def key_path(location: Sequence[str | int]) -> str:
    """A place as TOML writes it: `source.web1.port`."""
    words = [clean_line(str(word), 63) for word in location]
    return ".".join(word if re.fullmatch(r"[A-Za-z0-9_-]+", word) else json.dumps(word) for word in words)


def _fault(detail: ErrorDetails, at: Location) -> str:
    location = tuple(word for word in detail["loc"] if word != "[key]")
    where = key_path(location)
    match detail["type"]:
        case "extra_forbidden":
            return f"{where}: {_unknown(str(location[-1]), (*at, *location[:-1]))}"
        case "value_error":
            return f"{where}: {detail['ctx']['error']}"
        case "model_type" | "dict_type" | "model_attributes_type":
            header = key_path((*at, *location))
            return f"{where}: {shown(detail['input'])} stands where a table belongs; write [{header}] and its fields below"
        case _:
            return f"{where}: {clean_line(detail['msg'], 200)}"


def _unknown(key: str, table: Location) -> str:
    """Why a key is not known there, and which one may be meant."""
    known = list(_model_at(table).model_fields)
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known, 1, 0.6)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    if key == "clone" and table == ("defaults",):
        return "clones belong to one source; write [source.NAME.clone.CLONE]"
    if key in ServerFields.model_fields:
        return "unknown key here; it belongs to [server] of pbs.toml"
    if key in DefaultFields.model_fields and table in ((), ("server",)):
        return "unknown key here; it belongs to [defaults] or [source.NAME] of pbs.toml"
    return f"unknown key; known here are {', '.join(known)}"


def _model_at(table: Location) -> type[BaseModel]:
    match table:
        case ("server",):
            return ServerFields
        case ("defaults",):
            return DefaultFields
        case ("server", "feeds"):
            return FeedFields
        case ("notify", _):
            return ChannelFields
        case ("server", "run_logs"):
            return RunLogFields
        case ("defaults", "limits") | ("source", _, "limits"):
            return LimitFields
        case ("defaults", "tripwires") | ("source", _, "tripwires"):
            return TripwireFields
        case ("source", _, "clone", _):
            return CloneFields
        case ("source", _):
            return SourceFields
        case _:
            return FileFields

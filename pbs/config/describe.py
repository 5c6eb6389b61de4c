"""The configuration described for machines (JSON Schema) and for people (tables in Markdown), made from the fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pbs.config.channels import ChannelFields, FeedFields
from pbs.config.fields import (
    CloneFields,
    DefaultFields,
    FileFields,
    LimitFields,
    RunLogFields,
    ServerFields,
    TripwireFields,
)
from pbs.config.toml import toml_value

_TABLES: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("`[server]`", ServerFields, "The server as a whole. Only in `pbs.toml`."),
    ("`run_logs`", RunLogFields, "How long the logs of runs are kept: a table inside `[server]`."),
    ("`feeds`", FeedFields, "What feeds hold: a table inside `[server]`."),
    (
        "`[source.NAME]` and `[defaults]`",
        DefaultFields,
        (
            "What is pulled, from where, when, and how long it is kept. Each of these fields may also stand under "
            "`[defaults]`, for all sources that do not give it themselves."
        ),
    ),
    ("`limits`", LimitFields, "How fast a run may transfer: a table inside a source, or under `[defaults]`."),
    (
        "`tripwires`",
        TripwireFields,
        "What looks like somebody else's work in a run: a table inside a source, or under `[defaults]`. Never in the first run.",
    ),
    (
        "`[source.NAME.clone.CLONE]`",
        CloneFields,
        (
            "A host that follows the source and could take its place. These tables are checked already; pushes to clones "
            "are not carried out yet."
        ),
    ),
    (
        "`[notify.NAME]`",
        ChannelFields,
        "Where messages about promises go: a table for each place. Only in `pbs.toml`, without what is secret.",
    ),
)


def schema() -> dict[str, Any]:
    """The JSON Schema of pbs.toml, for editors and for programs that write it."""
    made = FileFields.model_json_schema()
    _tidy(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "pbs.toml"}


def _tidy(node: object) -> None:
    """Take out what is ours alone: how the reference words a field, and the marks of what has no default."""
    if isinstance(node, dict):
        if "takes" in node and isinstance(node["takes"], str):
            del node["takes"]
            del node["required"]
            if node.get("default", "") in ("", None):
                node.pop("default", None)
            if not node["examples"]:
                del node["examples"]
        if isinstance(node.get("anyOf"), list):  # TOML has no null
            node["anyOf"] = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
            if len(node["anyOf"]) == 1:
                node.update(node.pop("anyOf")[0])
        for below in node.values():
            _tidy(below)
    elif isinstance(node, list):
        for below in node:
            _tidy(below)


def reference() -> str:
    """The tables of docs/configuration.md: every field with what it takes, its default and its meaning."""
    return "\n".join(line for title, model, text in _TABLES for line in _section(title, model, text))


def _section(title: str, model: type[BaseModel], text: str) -> Iterator[str]:
    yield from (
        f"### {title}",
        "",
        text,
        "",
        "| field | takes | default | meaning |",
        "| --- | --- | --- | --- |",
    )
    for key, field in model.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        cells = (
            f"`{key}`",
            str(extra["takes"]),
            _default(field, required=bool(extra["required"])),
            _meaning(field),
        )
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
    yield ""


def _default(field: FieldInfo, *, required: bool) -> str:
    if required:
        return "must be given"
    return "none" if field.default in ("", None, {}) else f"`{toml_value(field.default)}`"


def _meaning(field: FieldInfo) -> str:
    examples = ", ".join(f"`{_shortened(toml_value(example))}`" for example in field.examples or ())
    return f"{field.description} Example: {examples}" if examples else field.description or ""


def _shortened(text: str) -> str:
    return f'{text[:24]}…"' if text.startswith('"ssh-') else text

"""TOML that we write: the commented sample of `pbs init` and the files of sources.d. It returns text and writes no file.

In a module of its own, so that a process that only reads the configuration does not load the template engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pbs.config.fields import CloneFields, DefaultFields, ServerFields
from pbs.config.toml import toml_key, toml_value
from pbs.render import render

_WIDTH = 96
# What a source has no default for stands in the sample under [source.NAME], the rest under [defaults].
_OWN = ("host", "user", "host_key", "quota", "limits")


def render_source_file(values: Mapping[str, object]) -> str:
    """The text of a file of sources.d with these fields, in the order of the reference.

    Raises:
        ConfigError: TOML cannot hold a value.
    """
    order = list(DefaultFields.model_fields)
    keys = sorted(values, key=lambda key: order.index(key) if key in order else len(order))
    lines = [f"{toml_key(key)} = {toml_value(values[key])}" for key in keys if key != "clone"]
    clones = values.get("clone")
    tables = [
        (
            f"clone.{toml_key(str(name))}",
            [f"{toml_key(str(key))} = {toml_value(below)}" for key, below in clone.items()],
        )
        for name, clone in (clones.items() if isinstance(clones, Mapping) else ())
    ]
    return render("source.toml.j2", lines=lines, tables=tables)


def render_sample() -> str:
    """pbs.toml as `pbs init` writes it: every field with its meaning, and nothing set."""
    return render(
        "pbs.toml.j2",
        server=list(_described(ServerFields)),
        defaults=list(_described(DefaultFields, leave_out=_OWN)),
        source=list(_described(DefaultFields, only=_OWN)),
        clone=list(_described(CloneFields)),
    )


def _described(
    model: type[BaseModel], leave_out: tuple[str, ...] = (), only: tuple[str, ...] | None = None
) -> Iterator[dict[str, Any]]:
    for key, field in model.model_fields.items():
        if key not in leave_out and (only is None or key in only):
            yield {
                "comment": wrap(field.description or "", _WIDTH),
                "line": f"{key} = {toml_value(sample_value(field))}",
            }


def sample_value(field: FieldInfo) -> object:
    """What stands behind a field in the sample: its default, else an example."""
    return field.default if field.default not in ("", None, {}) else (field.examples or [""])[0]

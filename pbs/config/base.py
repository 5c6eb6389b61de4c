"""What every table of the configuration is made of. It describes no field by itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def field(
    default: Any, description: str, *, takes: str, examples: tuple[Any, ...] = (), required: bool = False
) -> Any:
    """One field: `takes` says in a few words what may be written. A default is checked like a written value."""
    return Field(
        default=default,
        description=description,
        examples=list(examples),
        json_schema_extra={"takes": takes, "required": required},
        validate_default=default not in ("", None),
    )


class Fields(BaseModel):
    """A table of the configuration: unknown keys are faults, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

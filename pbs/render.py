"""Templates to text; an undefined name is an error. The only door to jinja2. It never writes what it renders."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = Path(__file__).parent


@cache
def _environment() -> Environment:
    from jinja2 import (  # noqa: PLC0415 - many come by this door who render nothing
        Environment,
        FileSystemLoader,
        StrictUndefined,
        select_autoescape,
    )

    # A wheel carries the templates inside the package; a checkout has them at its top.
    folders = [_PACKAGE / "_templates", _PACKAGE.parent / "templates"]
    return Environment(
        loader=FileSystemLoader([folder for folder in folders if folder.is_dir()]),
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html.j2"], default=False),
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: object) -> str:
    """The text of `templates/NAME` with these values; HTML templates escape by themselves."""
    return _environment().get_template(template).render(**values)

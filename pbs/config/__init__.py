"""pbs.toml and sources.d: read, checked whole, handed to the rooms as values. The only door to tomllib and pydantic.

It never changes a file, and no other room sees a table of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping

from pbs.config.channels import Channel
from pbs.config.describe import reference, schema
from pbs.config.inforce import adopt, in_force, wait_for_start
from pbs.config.loading import Clone, Config, Policy, load
from pbs.config.settings import parse_source_settings

__all__ = [
    "Channel",
    "Clone",
    "Config",
    "Policy",
    "adopt",
    "in_force",
    "load",
    "parse_source_settings",
    "reference",
    "render_sample",
    "render_source_file",
    "schema",
    "wait_for_start",
]

# Workers and the controller only read a configuration; the two functions below need the template engine, which
# costs them megabytes and every verb milliseconds. So it is imported where something is written.


def render_sample() -> str:
    """pbs.toml as `pbs init` writes it: every field with its meaning, and nothing set."""
    from pbs.config import written  # noqa: PLC0415 - see above

    return written.render_sample()


def render_source_file(values: Mapping[str, object]) -> str:
    """The text of sources.d/NAME.toml with these fields.

    Raises:
        ConfigError: TOML cannot hold a value.
    """
    from pbs.config import written  # noqa: PLC0415 - see above

    return written.render_source_file(values)

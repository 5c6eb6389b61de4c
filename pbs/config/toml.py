"""Values as TOML writes them, whatever characters they hold. It reads no TOML: the standard library does."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pbs.errors import ConfigError
from pbs.text import clean_line

_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def toml_value(value: object) -> str:
    """A value on one line of TOML, whatever characters it holds.

    Raises:
        ConfigError: TOML cannot hold it.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _quoted(value)
        case Mapping():
            inner = ", ".join(f"{toml_key(str(key))} = {toml_value(below)}" for key, below in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(toml_value(item) for item in value)}]"
        case _:
            raise ConfigError(
                f"{clean_line(str(value), 60)} cannot be written into a configuration", "write it as text"
            )


def toml_key(key: str) -> str:
    """A key, in quotes where it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)


def _quoted(text: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ConfigError(
            f'"{clean_line(text, 60)}" is not UTF-8 and cannot be written into a configuration',
            "write it in UTF-8",
        )
    escaped = re.sub(r'[\x00-\x1f"\\\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]', _escape, text)
    return f'"{escaped}"'


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"

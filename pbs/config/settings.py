"""`source add --set KEY=VALUE`: words of the command line to the fields of a source. It writes nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence

from pbs.config.faults import check
from pbs.config.fields import SourceFields
from pbs.errors import ConfigError
from pbs.text import clean_line


def parse_source_settings(words: Sequence[str]) -> dict[str, object]:
    """The fields that `["port=22", 'limits={upload="1MB/s"}', "limits.upload=1MB/s"]` give, checked, as TOML writes them.

    A value is TOML, or a bare text without quotes.

    Raises:
        ConfigError: with every fault.
    """
    values: dict[str, object] = {}
    faults = [fault for word in words for fault in _put(values, word)]
    faults += check(SourceFields, values, "--set", ("source", "NAME"))[1]
    if faults:
        raise ConfigError(
            "these settings cannot be",
            "write --set KEY=VALUE; docs/configuration.md lists the keys",
            tuple(faults),
        )
    return values


def _put(values: dict[str, object], word: str) -> list[str]:
    key, equals, written = word.partition("=")
    shown = clean_line(word, 80)
    path = key.strip().split(".")
    if not equals or not all(path):
        return [f'--set: "{shown}" is no KEY=VALUE; write it like port=2222']
    try:
        written.encode()
    except UnicodeEncodeError:
        return [f'--set: "{shown}" is not UTF-8; write it in that encoding']
    table = values
    for part in path[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            return [f'--set: "{shown}": {clean_line(part)} was given a value already; give it once']
        table = below
    if path[-1] in table:
        return [f'--set: "{shown}": {clean_line(key)} was given already; give it once']
    table[path[-1]] = _value(written.strip(), text_wanted=_takes_text_alone(path))
    return []


def _value(written: str, *, text_wanted: bool) -> object:
    try:
        parsed = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        return written
    value: object = parsed["value"]
    if len(parsed) > 1 or (text_wanted and not isinstance(value, str)):
        return written
    return value


def _takes_text_alone(path: Sequence[str]) -> bool:
    """Whether `user=1234` must mean the text, because nothing else could be right."""
    schema = SourceFields.model_json_schema()
    place: Mapping[str, object] = schema
    for part in path:
        below = _at(schema, place).get("properties", {})
        inner = below.get(part) if isinstance(below, Mapping) else None
        if inner is None:
            return False
        place = inner
    return _at(schema, place).get("type") == "string"


def _at(schema: Mapping[str, object], place: Mapping[str, object]) -> Mapping[str, object]:
    """A part of a JSON Schema, where it refers to another: that one."""
    reference = place.get("$ref")
    definitions = schema.get("$defs")
    if isinstance(reference, str) and isinstance(definitions, Mapping):
        found = definitions[reference.rpartition("/")[2]]
        return found if isinstance(found, Mapping) else {}
    return place

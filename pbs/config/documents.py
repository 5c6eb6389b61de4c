"""The files of the configuration, read: TOML to plain tables, with what is wrong with a file as a text. It judges no field."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from pbs.home import Home
from pbs.text import clean_line

_PLACE = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)$")
_LARGEST = 8_000_000


@dataclass(slots=True)
class Document:
    """One file: its name as messages show it, its tables where it could be read, else what is wrong with it."""

    file: str
    data: dict[str, object] | None = None
    faults: list[str] = field(default_factory=list)


def read_main(home: Home) -> Document:
    """pbs.toml."""
    return _read(home.config, "pbs.toml")


def read_sources(home: Home) -> dict[str, Document]:
    """The files of sources.d by the names of their sources. Hidden files (an editor's leftovers) do not count."""
    try:
        paths = sorted(home.sources_d.iterdir())
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {
            "": Document(
                "sources.d",
                faults=[f"sources.d: cannot be read: {error.strerror}; correct its owner or mode"],
            )
        }
    wanted = [path for path in paths if path.suffix == ".toml" and not path.name.startswith(".")]
    return {path.stem: _read(path, f"sources.d/{clean_line(path.name, 80)}") for path in wanted}


def _read(path: Path, file: str) -> Document:
    try:
        if path.exists() and not path.is_file():
            return Document(file, faults=[f"{file}: is no file; remove it or give it another name"])
        if path.is_file() and path.stat().st_size > _LARGEST:
            return Document(
                file, faults=[f"{file}: has more than {_LARGEST} bytes; this cannot be a configuration"]
            )
        data = path.read_bytes()
    except FileNotFoundError:
        return Document(file, faults=[f"{file}: is missing; `pbs init` makes one"])
    except OSError as error:
        return Document(file, faults=[f"{file}: cannot be read: {error.strerror}; correct its owner or mode"])
    return parse(data, file)


def parse(data: bytes, file: str) -> Document:
    """The tables that these bytes hold."""
    try:
        return Document(file, tomllib.loads(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Document(file, faults=[f"{file}:{line}: is not UTF-8; save the file in that encoding"])
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        match = _PLACE.search(said)
        line = int(match[1]) if match and match[1] else max(len(data.decode("utf-8-sig").splitlines()), 1)
        reason = clean_line(said[: match.start()] if match else said, 200)
        return Document(
            file, faults=[f"{file}:{line}: is no TOML: {reason}; texts stand in quotes, tables in brackets"]
        )
    except (ValueError, RecursionError):  # a number of thousands of digits, a nest of thousands of lists
        return Document(
            file, faults=[f"{file}: a number is too long, or lists stand too deep in each other; write less"]
        )

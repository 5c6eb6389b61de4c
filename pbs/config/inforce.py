"""The configuration that is in force: what was right when the service started or was last told to reload.

Workers that start later, and a controller that is started anew, read this and not what somebody may be editing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pbs.config.documents import Document, read_main, read_sources
from pbs.config.loading import Config, load, whole
from pbs.errors import ConfigError
from pbs.files import write
from pbs.home import Home
from pbs.model import ServerSettings

# The fields of [server] that processes look at only when they start, and how pbs.toml writes them.
AT_START = {
    **{name: name for name in ("listen", "base_url", "workers", "run_dir", "open", "log_format")},
    "feed_aliases": "feeds.aliases",
}


def adopt(home: Home) -> Config:
    """Read the files, and where they are without fault put them in force.

    Raises:
        ConfigError: with every fault; what was in force stays so.
        HomeError: it cannot be written down.
    """
    main, sources = read_main(home), read_sources(home)
    config = whole(home, main, sources)
    tables = {"main": main.data, "sources": {name: each.data for name, each in sources.items()}}
    write(_place(home), json.dumps(tables).encode())
    return config


def in_force(home: Home) -> Config:
    """What was last adopted; what the files say, where nothing was, or another version of the program did it.

    Raises:
        ConfigError: nothing was adopted, and the files are wrong.
    """
    try:
        there = _place(home).stat()
        return _read(home, (there.st_ino, there.st_mtime_ns, there.st_size))
    except (OSError, ValueError, LookupError, TypeError, ConfigError):
        return load(home)


def wait_for_start(before: ServerSettings, after: ServerSettings) -> list[str]:
    """Which of the fields that were changed count from the next start on, as pbs.toml writes them."""
    return [word for name, word in AT_START.items() if getattr(before, name) != getattr(after, name)]


@lru_cache(maxsize=1)
def _read(home: Home, _identity: tuple[int, ...]) -> Config:
    """What stands in the file of this identity: it is only ever replaced whole, and asked for in each round of a worker."""
    tables = json.loads(_place(home).read_bytes())
    main = Document("pbs.toml", dict(tables["main"]))
    sources: Mapping[str, object] = tables["sources"]
    return whole(home, main, {name: _document(name, data) for name, data in sources.items()})


def _document(name: str, data: object) -> Document:
    if not isinstance(data, dict):
        raise TypeError(name)
    return Document(f"sources.d/{name}.toml", data)


def _place(home: Home) -> Path:
    return home.ledger.with_name("config.json")

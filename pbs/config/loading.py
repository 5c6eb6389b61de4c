"""The configuration of a home as values, or every fault of it at once; never a part of it.

A source's value wins over [defaults], and that over what is built in. Whole values: `keep = { daily = 7 }` of a
source leaves nothing of a `keep` of [defaults].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pbs.config.channels import Channel, channels
from pbs.config.documents import Document, read_main, read_sources
from pbs.config.faults import check, key_path
from pbs.config.fields import REQUIRED, CloneFields, FileFields, ServerFields, SourceFields
from pbs.config.kinds import NAME_RULE
from pbs.errors import ConfigError, HomeError, NotFound
from pbs.home import Home
from pbs.model import (
    Address,
    Keeping,
    Limits,
    RunLogs,
    ServerSettings,
    Source,
    Tripwires,
    Verified,
    valid_name,
)
from pbs.text import clean_line

BUILT_IN = "built-in"
DEFAULTS = "[defaults] in pbs.toml"


@dataclass(frozen=True, slots=True)
class Clone:
    """A host that follows a source. `max_deletions` is in per cent."""

    name: str
    address: Address
    push: str
    max_deletions: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What is decided about the runs of a source. An empty `keep` keeps everything."""

    keep: Mapping[str, int | str]
    clones: tuple[Clone, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without fault, as values for the rooms."""

    server: ServerSettings
    sources: dict[str, Source]
    channels: dict[str, Channel]
    policies: dict[str, Policy]
    _origins: dict[str, list[tuple[str, object, str]]] = field(repr=False)

    def source(self, name: str) -> Source:
        """One source.

        Raises:
            NotFound: no source has this name.
        """
        if name not in self.sources:
            raise NotFound(
                f"there is no source {clean_line(name, 80)}", "`pbs source list` shows those that there are"
            )
        return self.sources[name]

    def retries(self, name: str) -> int:
        """How often a run of this source is tried again; not at all where it is not configured any more."""
        return self.sources[name].retries if name in self.sources else 0

    def resolved(self, name: str) -> list[tuple[str, object, str]]:
        """The fields of a source as (key, value as it is written, where it came from).

        Raises:
            NotFound: no source has this name.
        """
        self.source(name)
        return list(self._origins[name])


@dataclass(slots=True)
class _Entry:
    """One source as it stands in a file, before its values are looked at."""

    name: str
    file: str
    at: tuple[str, ...]
    data: Mapping[str, object]


def load(home: Home, added: Mapping[str, Mapping[str, object]] | None = None) -> Config:
    """The configuration of this home. `added` counts as if sources.d held these sources already.

    Raises:
        ConfigError: with every fault.
    """
    main = read_main(home)
    documents = read_sources(home)
    for name, data in (added or {}).items():
        documents[name] = Document(f"sources.d/{clean_line(name, 80)}.toml", dict(data))
    return whole(home, main, documents)


def whole(home: Home, main: Document, documents: Mapping[str, Document]) -> Config:
    """The configuration that these documents are: pbs.toml, and those of sources.d by their names.

    Raises:
        ConfigError: with every fault.
    """
    faults = [fault for document in (main, *documents.values()) for fault in document.faults]
    checked, found = check(FileFields, main.data or {}, main.file, ())
    faults += found
    entries = list(_entries(main, documents))
    faults += _clashes(entries, documents)
    defaults = _table(main.data or {}, "defaults")
    for entry in entries:
        if entry.file != main.file:
            faults += check(SourceFields, entry.data, entry.file, ("source", entry.name))[1]
        if main.data is not None:
            faults += _missing(entry, defaults)
    server = checked.server if isinstance(checked, FileFields) else None
    told = channels(checked.notify) if isinstance(checked, FileFields) else {}
    if server is not None:
        faults += _too_long(home, server, entries)
    if faults or server is None:
        count = f"{len(faults)} faults" if len(faults) > 1 else "a fault"
        raise ConfigError(
            f"the configuration has {count}",
            "correct it; `pbs config check` looks again",
            tuple(dict.fromkeys(faults)),
        )
    return _config(home, _table(main.data or {}, "server"), server, told, defaults, entries)


def _table(data: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _entries(main: Document, documents: Mapping[str, Document]) -> Iterator[_Entry]:
    for name, data in _table(main.data or {}, "source").items():
        if isinstance(data, Mapping):
            yield _Entry(name, main.file, ("source", name), data)
    for name, document in documents.items():
        if document.data is not None:
            yield _Entry(name, document.file, (), document.data)


def _clashes(entries: list[_Entry], documents: Mapping[str, Document]) -> Iterator[str]:
    """Names that cannot be, or that two have: they would share files on systems that ignore case."""
    for name, document in documents.items():
        if name and not valid_name(name):
            yield f"{document.file}: the name of the file names the source, and it cannot: a name has {NAME_RULE}"
    first: dict[str, _Entry] = {}
    for entry in entries:
        other = first.setdefault(entry.name.lower(), entry)
        if other is not entry:
            place = f"{entry.file}: {key_path(entry.at)}" if entry.at else entry.file
            elsewhere = f"[{key_path(other.at)}] of {other.file}" if other.at else other.file
            yield (
                f"{place}: the name {entry.name} is taken by {elsewhere} (upper and lower case count as the same); "
                "give one of them another name, or remove it"
            )


def _missing(entry: _Entry, defaults: Mapping[str, object]) -> Iterator[str]:
    for key in REQUIRED:
        if key not in entry.data and key not in defaults:
            yield f"{entry.file}: {key_path((*entry.at, key))}: is missing; {_REMEDY[key]}"
    for name, clone in _table(entry.data, "clone").items():
        for key in ("host", "host_key"):
            if isinstance(clone, Mapping) and key not in clone:
                yield f"{entry.file}: {key_path((*entry.at, 'clone', name, key))}: is missing; {_REMEDY[key]}"


_REMEDY = {
    "host": 'write where it answers, such as host = "web1.example.org"',
    "user": 'write the account there, such as user = "backup"',
    "host_key": 'write its public host key, host_key = "ssh-ed25519 AAAA…"; '
    "get it on the source: cat /etc/ssh/ssh_host_ed25519_key.pub",
}


def _too_long(home: Home, server: ServerFields, entries: list[_Entry]) -> Iterator[str]:
    names = tuple(entry.name for entry in entries if valid_name(entry.name))
    try:
        Home.at(home.root, server.run_dir).check_socket_paths(names)
    except HomeError as error:
        yield f"pbs.toml: server.run_dir: {error.message}; {error.hint}"


def _config(
    home: Home,
    written: Mapping[str, object],
    server: ServerFields,
    told: dict[str, Channel],
    defaults: Mapping[str, object],
    entries: list[_Entry],
) -> Config:
    merged = {entry.name: SourceFields.model_validate({**defaults, **entry.data}) for entry in entries}
    return Config(
        _server(server, written),
        {name: _source(home, name, fields, server.reserve) for name, fields in merged.items()},
        told,
        {name: _policy(home, fields) for name, fields in merged.items()},
        {entry.name: list(_origins(entry, defaults)) for entry in entries},
    )


def _server(fields: ServerFields, written: Mapping[str, object]) -> ServerSettings:
    base_url = fields.base_url
    if fields.listen is not None and "base_url" not in written:
        host, port = fields.listen
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - looked at, not listened on
        base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    kept = RunLogs(fields.run_logs.days, fields.run_logs.count, fields.run_logs.size)
    return ServerSettings(
        fields.listen,
        base_url,
        fields.workers,
        fields.max_runs,
        fields.run_dir,
        fields.open,
        fields.copies,
        kept,
        fields.log_format,
        fields.max_runs_per_host,
        fields.stop_grace,
        fields.reserve,
        fields.feeds.items,
        fields.feeds.aliases,
    )


def _source(home: Home, name: str, fields: SourceFields, reserve: tuple[int, int]) -> Source:
    return Source(
        name=name,
        address=Address(
            fields.host, fields.port, fields.user, fields.host_key, str(home.root / fields.ssh_key)
        ),
        encryption=fields.encryption,
        endpoint=fields.endpoint,
        sandbox=fields.sandbox == "auto",
        quota=fields.quota,
        read_budget=fields.read_budget,
        write_budget=fields.write_budget,
        reserve=reserve,
        limits=Limits(fields.limits.upload, fields.limits.download),
        tripwires=_tripwires(fields),
        admission=Verified(fields.admission),
        reread_every=fields.reread_every,
        max_entries=fields.max_entries,
        migrate=fields.migrate,
        schedule=fields.schedule,
        timezone=fields.timezone,
        window=fields.window,
        jitter=fields.jitter,
        retries=fields.retries,
        timeout=fields.timeout,
        max_age=fields.max_age,
        keeping=Keeping(
            keep=fields.keep,
            timezone=fields.timezone,
            keep_least=fields.keep_least,
            max_forget=fields.max_forget,
            prune=fields.prune,
            prune_unused=fields.prune_unused,
            verify=fields.verify,
            legacy=fields.legacy == "remove",
        ),
    )


def _tripwires(fields: SourceFields) -> Tripwires:
    wires = fields.tripwires
    return Tripwires(
        wires.changed,
        wires.vanished,
        wires.new,
        wires.encrypted,
        wires.least_files,
        wires.least_bytes or 0,
        fields.canaries,
    )


def _policy(home: Home, fields: SourceFields) -> Policy:
    key = str(home.root / fields.ssh_key)

    def clone(name: str, wanted: CloneFields) -> Clone:
        address = Address(wanted.host, wanted.port, wanted.user or fields.user, wanted.host_key, key)
        return Clone(name, address, wanted.push, wanted.max_deletions)

    clones = tuple(clone(name, wanted) for name, wanted in fields.clone.items())
    return Policy(fields.keep, clones)


def _origins(entry: _Entry, defaults: Mapping[str, object]) -> Iterator[tuple[str, object, str]]:
    for key, description in SourceFields.model_fields.items():
        if key in entry.data:
            yield key, entry.data[key], entry.file
        elif key in defaults:
            yield key, defaults[key], DEFAULTS
        else:
            yield key, description.default, BUILT_IN

"""The kinds of values that a field takes: each says what is wrong and what would be right, or gives our form of it.

A value of the wrong TOML type is a fault, never converted. Nothing here looks at the network or the disk, but
for the time zones of the system.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import PlainValidator, WithJsonSchema

from pbs.config.hostkey import check_host_key
from pbs.config.keep import parse_keep
from pbs.config.schedules import check_schedule
from pbs.model import NAME_PATTERN, valid_name
from pbs.text import clean_line, parse_duration

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-((?=24:00)24|[01][0-9]|2[0-3]):([0-5][0-9])")
MOST_CANARIES = 20
NAME_RULE = (
    'letters, digits, "-" and "_", at most 63, a letter or digit first, and neither "all" nor "latest"'
)


def shown(value: object) -> str:
    """A value of the operator as a message quotes it, on one line and not too long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{clean_line(value, 60)}"'
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, list) else clean_line(str(value), 60)


def text(value: object, example: str) -> str:
    """A text without control characters.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str):
        # pydantic makes a fault of a ValueError, and lets a TypeError through
        raise ValueError(f'{shown(value)} is no text; write it in quotes, such as "{example}"')  # noqa: TRY004
    if not value or clean_line(value, len(value)) != value:
        raise ValueError(
            f'{shown(value)} is empty or holds control characters or outer blanks; write it like "{example}"'
        )
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not valid_name(value):
        raise ValueError(f"{shown(value)} cannot be a name; a name has {NAME_RULE}")
    return value


def _host(value: object) -> str:
    host = text(value, "web1.example.org")
    if "@" in host:
        raise ValueError(f"{shown(host)} holds an account; write the host alone, and the account as user")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in address:
        return _ipv6(address)
    if address == host and len(host) <= 253 and _HOST_NAME.fullmatch(host):
        if not re.fullmatch(r"[0-9.]+", host):
            return host
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            pass
    raise ValueError(
        f"{shown(host)} is no host; write a host name or an address, such as "
        '"web1.example.org", "192.0.2.7" or "2001:db8::7" (names with other letters in their xn-- form)'
    )


def _ipv6(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address)
        if parsed.scope_id is None or _ZONE.fullmatch(parsed.scope_id):
            return str(parsed)
    except ValueError:
        pass
    head, _, tail = address.rpartition(":")
    if tail.isdecimal() and ":" not in head:
        raise ValueError(
            f'"{clean_line(address)}" holds a port; write the host alone, and the port as port = {tail[:5]}'
        )
    raise ValueError(f'"{clean_line(address, 60)}" is no IPv6 address; write one such as "2001:db8::7"')


def _user(value: object) -> str:
    user = text(value, "backup")
    if user.startswith("-") or len(user) > 255 or re.search(r"[\s:/]", user):
        raise ValueError(
            f'{shown(user)} cannot be an account; write its name on the source, such as "backup", '
            "without blanks, colons and slashes and without a leading dash"
        )
    return user


def _whole(low: int, high: int, what: str) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(
                f"{shown(value)} is no {what}; write a whole number from {low} to {high}, without quotes"
            )
        return value

    return check


def _listen(value: object) -> tuple[str, int] | None:
    listen = text(value, "127.0.0.1:8484")
    if listen == "off":
        return None
    host, _, port = listen.rpartition(":")
    right = 'write "127.0.0.1:8484", "[::1]:8484", or "off" for the unix socket alone'
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535 or not host:
        raise ValueError(f"{shown(listen)} is no address with a port from 1 to 65535; {right}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{shown(listen)}: an IPv6 address stands in brackets before its port; {right}")
    try:
        return _host(host), int(port)
    except ValueError:
        raise ValueError(f"{shown(listen)} holds no host before its port; {right}") from None


def _base_url(value: object) -> str:
    url = text(value, "https://backup.example.org")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or re.search(r"[\s?#\"<>\\]", url) or "@" in parts.netloc:
        raise ValueError(
            f"{shown(url)} is no address that links could start with; "
            'write "https://backup.example.org", without account, "?" or "#"'
        )
    return url.rstrip("/")


def _folder(value: object) -> str:
    folder = text(value, "/run/pbs")
    if ".." in folder.split("/"):
        raise ValueError(f'{shown(folder)} holds ".."; write a folder of the home or an absolute one')
    return folder


def _key_file(value: object) -> str:
    path = text(value, "etc/keys/ssh_ed25519")
    inside = path.startswith("etc/keys/") and not path.endswith("/")
    if ".." in path.split("/") or not (path.startswith("/") or inside):
        raise ValueError(
            f"{shown(path)} does not lie below etc/keys; "
            'write "etc/keys/NAME" (private keys are kept there) or an absolute path'
        )
    return path


def _duration(value: object) -> float:
    seconds = parse_duration(text(value, "12h"))
    if not 1 <= seconds <= 366 * 86400:
        raise ValueError(f'{shown(value)} is out of range; write from "1s" to "366d"')
    return seconds


def _grace(value: object) -> float:
    seconds = parse_duration(text(value, "60s"))
    if not 0 <= seconds <= 7 * 86400:
        raise ValueError(f'{shown(value)} is out of range; write from "0s" to "7d"')
    return seconds


def _verify(value: object) -> float | None:
    if value == "off":
        return None
    seconds = parse_duration(text(value, "30d"))
    if not 86400 <= seconds <= 3660 * 86400:
        raise ValueError(f'{shown(value)} is out of range; write from "1d" to "3660d", or "off"')
    return seconds


def _timezone(value: object) -> str:
    zone = text(value, "Europe/Paris")
    try:
        if zone == "UTC" or zoneinfo.ZoneInfo(zone).key:
            return zone
    except (KeyError, ValueError, OSError):
        pass
    known = difflib.get_close_matches(zone, zoneinfo.available_timezones(), 1)
    right = f'did you mean "{known[0]}"?' if known else 'write one such as "UTC" or "Europe/Paris"'
    raise ValueError(f"{shown(zone)} is no time zone of this system; {right}")


def _schedule(value: object) -> str:
    return check_schedule(text(" ".join(value.split()) if isinstance(value, str) else value, "every 6h"))


def _window(value: object) -> tuple[int, int] | None:
    if value == "none":
        return None
    match = _HOURS.fullmatch(text(value, "22:00-06:00"))
    if match is None:
        raise ValueError(
            f'{shown(value)} is no window; write two times of day, such as "22:00-06:00", or "none"'
        )
    opening, closing = (60 * int(match[hour]) + int(match[hour + 1]) for hour in (1, 3))
    if opening == closing % 1440:
        raise ValueError(f'{shown(value)} is a whole day or nothing; write "none" for runs at any time')
    return opening, closing % 1440


def _jitter(value: object) -> float | None:
    if value in ("auto", "none"):
        return None if value == "auto" else 0.0
    return _duration(value)


def _max_age(value: object) -> float | None:
    if value in ("auto", "off"):
        return None if value == "auto" else 0.0
    return _duration(value)


def _push(value: object) -> str:
    push = text(value, "after-pull")
    return push if push == "after-pull" else check_schedule(push, also=('"after-pull"',), notice=False)


def percent(value: object) -> int:
    """A share.

    Raises:
        ValueError: it is none.
    """
    digits = value[:-1] if isinstance(value, str) and value.endswith("%") else ""
    if not re.fullmatch(r"[0-9]{1,3}", digits) or int(digits) > 100:
        raise ValueError(f'{shown(value)} is no share; write "0%" to "100%"')
    return int(digits)


def _percent_or_off(value: object) -> int | None:
    return None if value == "off" else percent(value)


def _max_entries(value: object) -> int | None:
    return None if value == "auto" else _whole(1000, 10**12, 'number of entries, and not "auto"')(value)


def _canaries(value: object) -> tuple[str, ...]:
    right = 'write a list of paths in the snapshot, such as ["/srv/data/canary.txt"]'
    if not isinstance(value, list) or len(value) > MOST_CANARIES:
        raise ValueError(f"{shown(value)} is no list of at most {MOST_CANARIES} paths; {right}")
    for each in value:
        path = text(each, "/srv/data/canary.txt")
        if not path.startswith("/") or path.endswith("/") or {"", ".", ".."} & set(path[1:].split("/")):
            raise ValueError(f"{shown(each)} is no whole path of a file; {right}")
    return tuple(value)


def _choice(words: tuple[str, ...], later: str | None = None) -> Callable[[object], str]:
    """One of some words; `later` is one that is known and not there yet."""
    right = " or ".join(f'"{word}"' for word in words)

    def check(value: object) -> str:
        if value == later and later is not None:
            raise ValueError(f'"{later}" is not supported yet; write {right}')
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{shown(value)} is not known here; write {right}")
        return value

    return check


def _doors(value: object) -> tuple[str, ...]:
    doors = ("feeds", "metrics", "health")
    if not isinstance(value, list) or any(door not in doors for door in value):
        raise ValueError(
            f'{shown(value)} is wrong here; write a list of "feeds", "metrics", "health", such as ["feeds"]'
        )
    return tuple(door for door in doors if door in value)


_STRING = {"type": "string"}


def _counted(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


def _words(*words: str) -> WithJsonSchema:
    return WithJsonSchema(_STRING | {"enum": list(words)})


Name = Annotated[
    str, PlainValidator(_name), WithJsonSchema(_STRING | {"pattern": f"^{NAME_PATTERN.pattern}$"})
]
Host = Annotated[str, PlainValidator(_host), WithJsonSchema(_STRING)]
User = Annotated[str, PlainValidator(_user), WithJsonSchema(_STRING)]
HostKey = Annotated[str, PlainValidator(check_host_key), WithJsonSchema(_STRING)]
KeyFile = Annotated[str, PlainValidator(_key_file), WithJsonSchema(_STRING)]
Port = Annotated[int, PlainValidator(_whole(1, 65535, "port")), _counted(1, 65535)]
Workers = Annotated[int, PlainValidator(_whole(1, 64, "number of workers")), _counted(1, 64)]
MaxRuns = Annotated[int, PlainValidator(_whole(1, 1000, "number of runs")), _counted(1, 1000)]
Retries = Annotated[int, PlainValidator(_whole(0, 100, "number of retries")), _counted(0, 100)]
Listen = Annotated[tuple[str, int] | None, PlainValidator(_listen), WithJsonSchema(_STRING)]
BaseUrl = Annotated[str, PlainValidator(_base_url), WithJsonSchema(_STRING | {"format": "uri"})]
Folder = Annotated[str, PlainValidator(_folder), WithJsonSchema(_STRING)]
Doors = Annotated[
    tuple[str, ...],
    PlainValidator(_doors),
    WithJsonSchema({"type": "array", "items": _STRING | {"enum": ["feeds", "metrics", "health"]}}),
]
Duration = Annotated[float, PlainValidator(_duration), WithJsonSchema(_STRING)]
Grace = Annotated[float, PlainValidator(_grace), WithJsonSchema(_STRING)]
TimeZone = Annotated[str, PlainValidator(_timezone), WithJsonSchema(_STRING)]
Schedule = Annotated[str, PlainValidator(_schedule), WithJsonSchema(_STRING)]
Window = Annotated[tuple[int, int] | None, PlainValidator(_window), WithJsonSchema(_STRING)]
Jitter = Annotated[float | None, PlainValidator(_jitter), WithJsonSchema(_STRING)]
MaxAge = Annotated[float | None, PlainValidator(_max_age), WithJsonSchema(_STRING)]
Push = Annotated[str, PlainValidator(_push), WithJsonSchema(_STRING)]
Percent = Annotated[int, PlainValidator(percent), WithJsonSchema(_STRING | {"pattern": "^[0-9]{1,3}%$"})]
MaxEntries = Annotated[
    int | None,
    PlainValidator(_max_entries),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1000}, {"enum": ["auto"]}]}),
]
PercentOrOff = Annotated[
    int | None,
    PlainValidator(_percent_or_off),
    WithJsonSchema(_STRING | {"pattern": "^([0-9]{1,3}%|off)$"}),
]
Canaries = Annotated[
    tuple[str, ...], PlainValidator(_canaries), WithJsonSchema({"type": "array", "items": _STRING})
]
LeastFiles = Annotated[int, PlainValidator(_whole(1, 10**9, "number of files")), _counted(1, 10**9)]
KeepLeast = Annotated[int, PlainValidator(_whole(1, 1000, "number of snapshots")), _counted(1, 1000)]
Verify = Annotated[float | None, PlainValidator(_verify), WithJsonSchema(_STRING)]
Legacy = Annotated[str, PlainValidator(_choice(("remove", "keep"))), _words("remove", "keep")]
Keep = Annotated[
    dict[str, int | str], PlainValidator(parse_keep), WithJsonSchema({"type": ["object", "string"]})
]
Agent = Annotated[str, PlainValidator(_choice(("v1",), later="plain")), _words("v1")]
Encryption = Annotated[str, PlainValidator(_choice(("controller", "none"))), _words("controller", "none")]
Endpoint = Annotated[str, PlainValidator(_choice(("always", "on-demand"))), _words("always", "on-demand")]
Admission = Annotated[str, PlainValidator(_choice(("full", "structure"))), _words("full", "structure")]
RereadEvery = Annotated[int, PlainValidator(_whole(0, 100_000, "number of runs")), _counted(0, 100_000)]
Migrate = Annotated[str, PlainValidator(_choice(("latest", "off"), later="all")), _words("latest", "off")]
Sandbox = Annotated[str, PlainValidator(_choice(("auto", "off"))), _words("auto", "off")]
Copy = Annotated[str, PlainValidator(_choice(("daily", "off"))), _words("daily", "off")]
LogFormat = Annotated[str, PlainValidator(_choice(("text", "json"))), _words("text", "json")]
Days = Annotated[int, PlainValidator(_whole(1, 36500, "number of days")), _counted(1, 36500)]
LogCount = Annotated[int, PlainValidator(_whole(20, 1_000_000, "number of logs")), _counted(20, 1_000_000)]

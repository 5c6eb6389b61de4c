"""The fields of `[notify.NAME]` and of `feeds`: where messages about promises go, and what feeds hold. Nothing here reads a file.

No secret stands here: addresses that hold a token, and passwords, lie in etc/keys/NAME.notify.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import PlainValidator, WithJsonSchema, model_validator

from pbs.config import kinds
from pbs.config.base import Fields, field
from pbs.config.kinds import shown, text
from pbs.model import valid_name

KINDS = ("mail", "webhook", "ping", "command", "apprise")
_ADDRESS = re.compile(r"[^\s@<>,;\"]{1,64}@[^\s@<>,;\"]{1,255}")
_ALIAS = re.compile(r"(/[A-Za-z0-9._~-]{1,80}){1,6}")
# What is ours already, whatever stands behind it.
_OURS = frozenset(
    [
        "api",
        "browse",
        "feeds",
        "files",
        "health",
        "login",
        "logout",
        "metrics",
        "mounts",
        "notify",
        "promises",
        "quarantine",
        "runs",
        "search",
        "settings",
        "snapshots",
        "sources",
        "static",
    ]
)
_TEXTS = {"type": "array", "items": {"type": "string"}}


def _list(check: Callable[[str], bool], what: str, example: str) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) and check(each) for each in value):
            raise ValueError(f"{shown(value)} is wrong here; write a list of {what}, such as {example}")
        return tuple(value)

    return read


def _kind(value: object) -> str:
    if value not in KINDS:
        words = ", ".join(f'"{word}"' for word in KINDS)
        raise ValueError(f"{shown(value)} is no kind of channel; write one of {words}")
    return str(value)


def _server(value: object) -> tuple[str, int]:
    host, _, port = text(value, "localhost:25").rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535 or re.search(r"\s", host):
        raise ValueError(f'{shown(value)} is no mail server; write its name and port, such as "localhost:25"')
    return host.strip("[]"), int(port)


def _time_of_day(value: object) -> int | None:
    if value == "off":
        return None
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", text(value, "08:00"))
    if match is None:
        raise ValueError(f'{shown(value)} is no time of day; write one such as "08:00", or "off"')
    return int(match[1]) * 60 + int(match[2])


def _yes(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is wrong here; write true or false, without quotes")  # noqa: TRY004 - pydantic's way
    return value


def _choice(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            right = " or ".join(f'"{word}"' for word in words)
            raise ValueError(f"{shown(value)} is not known here; write {right}")
        return str(value)

    return read


def _items(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 10 <= value <= 1000:
        raise ValueError(
            f"{shown(value)} is no number of items; write a whole number from 10 to 1000, without quotes"
        )
    return value


def _aliases(value: object) -> dict[str, str]:
    right = 'write a table such as { "/get/web1-pull" = "web1" }'
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is wrong here; {right}")  # noqa: TRY004 - pydantic's way
    for path, name in value.items():
        if not _ALIAS.fullmatch(path) or path.split("/")[1] in _OURS:
            raise ValueError(
                f"{shown(path)} can be no other address of a feed: it is none, or means something else; {right}"
            )
        if name != "all" and not (isinstance(name, str) and valid_name(name)):
            raise ValueError(f'{shown(name)} is no source and not "all"; {right}')
    return dict(value)


def _word(value: object) -> str:
    if not isinstance(value, str) or re.search(r"[\s\x00-\x1f]", value) or len(value) > 255:
        raise ValueError(f"{shown(value)} is wrong here; write it without blanks")
    return value


_STRING = {"type": "string"}
Word = Annotated[str, PlainValidator(_word), WithJsonSchema(_STRING)]
To = Annotated[
    tuple[str, ...],
    PlainValidator(
        _list(lambda each: _ADDRESS.fullmatch(each) is not None, "addresses", '["ops@example.org"]')
    ),
    WithJsonSchema(_TEXTS),
]
Sources = Annotated[
    tuple[str, ...], PlainValidator(_list(valid_name, "sources", '["web1", "db"]')), WithJsonSchema(_TEXTS)
]
Command = Annotated[
    tuple[str, ...],
    PlainValidator(
        _list(lambda each: "\0" not in each, "a program and its arguments", '["/usr/local/bin/tell"]')
    ),
    WithJsonSchema(_TEXTS),
]
KindOfChannel = Annotated[str, PlainValidator(_kind), WithJsonSchema(_STRING | {"enum": list(KINDS)})]
Server = Annotated[tuple[str, int], PlainValidator(_server), WithJsonSchema(_STRING)]
TimeOfDay = Annotated[int | None, PlainValidator(_time_of_day), WithJsonSchema(_STRING)]
Yes = Annotated[bool, PlainValidator(_yes), WithJsonSchema({"type": "boolean"})]
Security = Annotated[
    str,
    PlainValidator(_choice("none", "starttls", "tls")),
    WithJsonSchema(_STRING | {"enum": ["none", "starttls", "tls"]}),
]
Level = Annotated[
    str,
    PlainValidator(_choice("broken", "warning")),
    WithJsonSchema(_STRING | {"enum": ["broken", "warning"]}),
]
Items = Annotated[
    int, PlainValidator(_items), WithJsonSchema({"type": "integer", "minimum": 10, "maximum": 1000})
]
Aliases = Annotated[
    dict[str, str],
    PlainValidator(_aliases),
    WithJsonSchema({"type": "object", "additionalProperties": _STRING}),
]


class FeedFields(Fields):
    """What feeds hold."""

    items: Items = field(
        100,
        "So many of the newest runs stand in a feed; the oldest go first.",
        takes="10 to 1000",
        examples=(500,),
    )
    aliases: Aliases = field(
        {}, 'Older addresses of feeds, which go on working: a path, and the source whose feed answers there (or "all").',
        takes="table", examples=({"/get/web1-pull": "web1"},),
    )  # fmt: skip


class ChannelFields(Fields):
    """One place where messages go."""

    kind: KindOfChannel = field(
        "", 'How: "mail"; "webhook" posts JSON, which Slack and Mattermost understand as well; "ping" asks an address of a service that '
        'notices silence (healthchecks.io and its like); "command" starts a program; "apprise" is for a hundred kinds of chat, '
        "with the extra `notify`. `pbs notify set NAME` takes what is secret: an address, or the password of the mail account.",
        takes='"mail", "webhook", "ping", "command" or "apprise"', examples=("mail",), required=True,
    )  # fmt: skip
    sources: Sources = field(
        [], "Only the promises of these sources; else those of all, and of the server.", takes="list of sources",
        examples=(["web1"],),
    )  # fmt: skip
    level: Level = field(
        "broken",
        "From when on: when a promise is broken, or at a warning already.",
        takes='"broken" or "warning"',
        examples=("warning",),
    )
    delay: kinds.Grace = field(
        "10m", "A promise is told when it has stood so for that long, so that what mends itself wakes nobody.",
        takes="duration", examples=("1h", "0s"),
    )  # fmt: skip
    repeat: kinds.Verify = field(
        "1d",
        "How often what is still not kept is told again.",
        takes='duration or "off"',
        examples=("7d", "off"),
    )
    mended: Yes = field(
        True, "Whether it is told when a promise is kept again.", takes="true or false", examples=(False,)
    )
    quiet: kinds.Window = field(
        None, "Hours in which nothing is sent; what there is to say comes after them. A ping goes on.",
        takes='"HH:MM-HH:MM" or "none"', examples=("22:00-06:00",),
    )  # fmt: skip
    digest: TimeOfDay = field(
        "off",
        "When a summary of the last day is sent, every day, whatever it holds.",
        takes='"HH:MM" or "off"',
        examples=("08:00",),
    )
    timezone: kinds.TimeZone = field(
        "UTC", "What the hours of quiet and digest mean.", takes="time zone", examples=("Europe/Paris",)
    )
    every: kinds.Duration = field(
        "5m", "(ping) How often all is told to be well.", takes="duration", examples=("1h",)
    )
    to: To = field([], "(mail) Whom to write to.", takes="list of addresses", examples=(["ops@example.org"],))
    sender: Word = field(
        "",
        "(mail) Who writes. Without it, pbs@ and the name of this machine.",
        takes="address",
        examples=("pbs@example.org",),
    )
    server: Server = field(
        "localhost:25",
        "(mail) The mail server that takes it.",
        takes='"HOST:PORT"',
        examples=("mail.example.org:587",),
    )
    security: Security = field(
        "none", "(mail) Whether the line to it is encrypted. Its certificate must be right.",
        takes='"none", "starttls" or "tls"', examples=("starttls",),
    )  # fmt: skip
    account: Word = field(
        "",
        "(mail) The account to log in with; its password is asked for by `pbs notify set`.",
        takes="account",
        examples=("pbs",),
    )
    command: Command = field(
        [], "(command) The program and its arguments. It gets the message as JSON on its standard input, and a minute.",
        takes="list", examples=(["/usr/local/bin/tell", "--urgent"],),
    )  # fmt: skip

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.kind:
            raise ValueError('kind is missing; write kind = "mail", or one of the others')
        if self.kind == "mail" and not self.to:
            raise ValueError('a mail goes to somebody; write to = ["ops@example.org"]')
        if self.kind == "command" and not self.command:
            raise ValueError('command is missing; write command = ["/usr/local/bin/tell"]')
        if self.account and self.security == "none":
            raise ValueError(
                'a password is sent over an encrypted line only; write security = "starttls" or "tls"'
            )
        return self


@dataclass(frozen=True, slots=True)
class Channel:
    """One place where messages go. Times in seconds, `digest` in minutes of the day."""

    name: str
    kind: str
    sources: tuple[str, ...] = ()
    level: str = "broken"
    delay: float = 600.0
    repeat: float | None = 86400.0
    mended: bool = True
    quiet: tuple[int, int] | None = None
    digest: int | None = None
    timezone: str = "UTC"
    every: float = 300.0
    to: tuple[str, ...] = ()
    sender: str = ""
    server: tuple[str, int] = ("localhost", 25)
    security: str = "none"
    account: str = ""
    command: tuple[str, ...] = ()


def channels(fields: dict[str, ChannelFields]) -> dict[str, Channel]:
    """The channels as values."""
    return {
        name: Channel(name, **{key: getattr(each, key) for key in ChannelFields.model_fields})
        for name, each in fields.items()
    }

"""The protocol: words, exit codes, events and the backup request, checked at the border and trusted afterwards.

The side that must refuse owns the words, so the server imports this module and the two cannot drift apart.
It never reads a file, a clock or the environment and never starts anything.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Dict, Optional, Tuple

PROTOCOL = 1
KEEPALIVE_SECONDS = 15  # the controller sends an empty line this often while a word runs
SILENCE_SECONDS = 60  # the agent takes so much silence for the end of its standard input
REQUEST_SECONDS = 20  # the request must be there by then
REQUEST_BYTES = 64 * 1024  # and no longer than this, its newline included
OLDEST_RESTIC = (0, 17)  # the first that speaks HTTP over a unix socket
SOCKET_PATH_BYTES = 107  # what a unix socket address holds
SOCKET_NAME_BYTES = 20  # the agent's folder leaves so much room, "/" included

PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
SOCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SNAPSHOT_ID = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_IGNORABLE = ("inode", "ctime")
_MOST_BYTES_A_SECOND = 2**53


class Word(str, Enum):
    """What may stand in SSH_ORIGINAL_COMMAND, whole."""

    PING = "ping"
    BACKUP = "backup"
    RESTORE = "restore"
    PROOF = "proof"
    CLEAR = "clear"


OFFERED = (Word.PING, Word.BACKUP, Word.CLEAR)  # the others are known and refused


class Event(str, Enum):
    """The field `event` of a line of the reply."""

    HELLO = "hello"
    PROGRESS = "progress"
    WARNING = "warning"
    SUMMARY = "summary"
    LOG = "log"
    END = "end"


class Outcome(str, Enum):
    """How a word ended."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUSED = "refused"


class Exit(IntEnum):
    """The agent's exit status; `end` carries it too."""

    OK = 0
    FAILED = 1
    PARTIAL = 3
    WORD_REFUSED = 64
    BAD_REQUEST = 65
    TOOL_MISSING = 69
    BUSY = 75
    NOT_ALLOWED = 77


_OUTCOMES = {
    Exit.OK: Outcome.OK,
    Exit.PARTIAL: Outcome.PARTIAL,
    Exit.WORD_REFUSED: Outcome.REFUSED,
    Exit.NOT_ALLOWED: Outcome.REFUSED,
}


def outcome_of(code: Exit) -> Outcome:
    """The one outcome that belongs to an exit status."""
    return _OUTCOMES.get(code, Outcome.FAILED)


class StopWord(Exception):
    """A word cannot go on. It carries the exit status and one message that says what to do."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Request:
    """A checked backup request. The password is kept out of its repr, and so out of every traceback and log."""

    run: str
    socket: str
    source: str
    tags: Tuple[str, ...]
    password: Optional[str] = field(default=None, repr=False)
    key: Optional[str] = None  # the repository key that opens with the password
    parent: Optional[str] = None
    force: bool = False
    scan: bool = True
    ignore: Tuple[str, ...] = ()
    upload: Optional[int] = None  # bytes a second
    download: Optional[int] = None  # bytes a second


def parse_word(command: Optional[bytes]) -> Word:
    """The word that `command` is, whole and exactly. Anything else stops with WORD_REFUSED."""
    if not command:
        raise StopWord(
            Exit.WORD_REFUSED, "no word was given: this key opens no shell, it only runs words of a backup"
        )
    for word in Word:
        if command == word.value.encode():
            return word
    raise StopWord(Exit.WORD_REFUSED, "this is none of the words of the backup agent; nothing was run")


def parse_request(line: bytes) -> Request:
    """The request in one line of JSON. Unknown fields are ignored; a fault stops with BAD_REQUEST and names the field."""
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):  # a deep nest of brackets exhausts the parser
        raise _bad("the request is not one JSON object on one line") from None
    if not isinstance(value, dict):
        raise _bad("the request is not a JSON object")
    _check_protocol(value.get("protocol"))
    limits = value.get("limits")
    if limits is not None and not isinstance(limits, dict):
        raise _bad("limits must be an object with upload and download")
    return Request(
        run=_matching(value, "run", RUN_ID),
        socket=_socket(value),
        source=_matching(value, "source", PROFILE_NAME),
        tags=_tags(value),
        password=_password(value),
        key=None if value.get("key") is None else _matching(value, "key", SNAPSHOT_ID),
        parent=None if value.get("parent") is None else _matching(value, "parent", SNAPSHOT_ID),
        force=_flag(value, "force", default=False),
        scan=_flag(value, "scan", default=True),
        ignore=_ignore(value),
        upload=_rate(limits, "upload"),
        download=_rate(limits, "download"),
    )


def request_line(request: Request) -> bytes:
    """The line that `parse_request` reads back as the same request, newline included."""
    value: Dict[str, Any] = {
        "protocol": PROTOCOL,
        "run": request.run,
        "socket": request.socket,
        "password": request.password,
        "key": request.key,
        "source": request.source,
        "tags": list(request.tags),
        "parent": request.parent,
        "force": request.force,
        "scan": request.scan,
        "ignore": list(request.ignore),
        "limits": {"upload": request.upload, "download": request.download},
    }
    return json.dumps(value).encode() + b"\n"


def _bad(message: str) -> StopWord:
    return StopWord(Exit.BAD_REQUEST, message)


def _check_protocol(version: Any) -> None:
    if type(version) is int and version == PROTOCOL:
        return
    asked = str(version) if type(version) is int and abs(version) < 10**6 else "an unknown one"
    raise _bad(
        f"protocol: the server asks for version {asked}, this agent speaks version {PROTOCOL}: update the older"
    )


def _text(value: Any, name: str, most: int) -> str:
    """A string that can be an argument of a program: encodable, bounded, without control characters."""
    if not isinstance(value, str):
        raise _bad(f"{name} must be a string")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:  # a lone surrogate is legal JSON and no text
        raise _bad(f"{name} is not valid text") from None
    if not 0 < size <= most:
        raise _bad(f"{name} must have 1 to {most} bytes")
    if _CONTROL.search(value):
        raise _bad(f"{name} must not hold control characters")
    return value


def _matching(value: Dict[str, Any], name: str, grammar: re.Pattern[str]) -> str:
    text = _text(value.get(name), name, 1024)
    if not grammar.fullmatch(text):
        raise _bad(f"{name} must match {grammar.pattern}")
    return text


def _socket(value: Dict[str, Any]) -> str:
    text = _text(value.get("socket"), "socket", SOCKET_PATH_BYTES)
    name = text.rpartition("/")[2]
    if not text.startswith("/") or not SOCKET_NAME.fullmatch(name):
        raise _bad("socket must be an absolute path to a file in the folder that ping names")
    return text


def _password(value: Dict[str, Any]) -> Optional[str]:
    # A forgotten password must not turn into "no password": null has to be said.
    if "password" not in value:
        raise _bad("password is missing; null means a repository without a password")
    if value["password"] is None:
        return None
    text = _text(value["password"], "password", 1024)
    if text != text.strip() or text.startswith("\ufeff"):  # restic strips what it reads from a file
        raise _bad("password must not begin or end with blanks")
    return text


def _tags(value: Dict[str, Any]) -> Tuple[str, ...]:
    tags = value.get("tags")
    if not isinstance(tags, list) or len(tags) > 32:
        raise _bad("tags must be a list of at most 32 strings")
    for tag in tags:
        text = _text(tag, "tags", 256)
        if "," in text or text != text.strip():  # restic splits a tag at commas
            raise _bad("tags must hold no comma and no blanks at their ends")
    return tuple(tags)


def _flag(value: Dict[str, Any], name: str, *, default: bool) -> bool:
    flag = value.get(name, default)
    if not isinstance(flag, bool):
        raise _bad(f"{name} must be true or false")
    return flag


def _ignore(value: Dict[str, Any]) -> Tuple[str, ...]:
    names = value.get("ignore", [])
    if not isinstance(names, list) or not all(isinstance(n, str) and n in _IGNORABLE for n in names):
        raise _bad('ignore must be a list of "inode" and "ctime"')
    return tuple(name for name in _IGNORABLE if name in names)


def _rate(limits: Optional[Dict[str, Any]], name: str) -> Optional[int]:
    rate = None if limits is None else limits.get(name)
    if rate is None:
        return None
    if type(rate) is not int or not 0 < rate <= _MOST_BYTES_A_SECOND:
        raise _bad(f"limits.{name} must be null or a positive number of bytes a second")
    return rate

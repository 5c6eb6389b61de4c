"""restic's JSON to values. Pure: it reads no file, and hostile input never raises: it gives None or a cleaned text.

A path is bytes; its text is only for showing. restic's own JSON replaces each byte that is no UTF-8 by U+FFFD, so
`restic ls` is no source of names for work: `restic cat tree` is, where names are quoted.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pbs.errors import NotFound
from pbs.model import SNAPSHOT_ID, Snapshot
from pbs.text import clean_line

REPLACED = "\N{REPLACEMENT CHARACTER}"
MOST_PATHS = 1000
ELSEWHERE = (
    "`pbs find NAME WORD` looks for a part of the name in all snapshots; `pbs ls NAME PATH` shows a folder"
)
MOST_TAGS = 100
LONGEST_TEXT = 4096
LONGEST_NAME = 255
# Go's FileMode keeps these three elsewhere than Unix does.
GO_SPECIAL_BITS = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))
DEVICES = frozenset({"dev", "chardev"})
TYPES = frozenset({"file", "dir", "symlink", "fifo", "socket", "irregular"}) | DEVICES
_FRAME = re.compile(r"\t\S|(?:github\.com/|golang\.org/|main\.|runtime\.)\S+$")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(
    rb'\\(?:([abfnrtv\\"\'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.|\Z))',
    re.DOTALL,
)
_SIMPLE = dict(zip(b"abfnrtv\\\"'", b"\a\b\f\n\r\t\v\\\"'", strict=True))


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a snapshot. `raw` is the path from the snapshot's root and the one to work with."""

    raw: bytes
    type: str
    mode: int
    uid: int
    gid: int
    size: int | None = None
    mtime: datetime | None = None
    linktarget: str | None = None
    inode: int = 0

    def at(self, raw: bytes) -> Entry:
        """The same under this path."""
        return replace(self, raw=raw)

    @property
    def path(self) -> str:
        """The path as text, for showing; bytes that are no UTF-8 appear as U+FFFD."""
        return lossy(self.raw)

    @property
    def path_b64(self) -> str | None:
        """The path in base64 where its text does not tell it exactly; else None."""
        try:
            self.raw.decode()
        except UnicodeDecodeError:
            return base64.b64encode(self.raw).decode()
        return None


def lossy(raw: bytes) -> str:
    """Bytes as restic shows them in JSON: one U+FFFD for each byte that is no UTF-8."""
    return _SURROGATE.sub(REPLACED, raw.decode("utf-8", "surrogateescape"))


def nothing_at(raw: bytes) -> NotFound:
    """The error of a path that a snapshot does not hold."""
    return NotFound(f"the snapshot holds nothing at {cleaned(lossy(raw))}", ELSEWHERE)


def record(line: bytes) -> dict[str, Any] | None:
    """One JSON object; None where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def moment(value: object) -> datetime | None:
    """A time as restic writes it (nine digits of a second, any zone), in UTC; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value[:64]))
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


def count(value: object) -> int | None:
    """A number of things or bytes; None where it is none that could be."""
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def snapshot(identity: str, values: dict[str, Any]) -> Snapshot:
    """What a snapshot says of itself: all of it is its maker's claim, cleaned and bounded."""
    summary = values.get("summary")
    if not isinstance(summary, dict):
        summary = {}
    tree_id = values.get("tree")
    return Snapshot(
        id=identity,
        claimed=moment(values.get("time")),
        host=_exact(values.get("hostname")),
        paths=_texts(values.get("paths"), MOST_PATHS, LONGEST_TEXT),
        tags=_tags(values.get("tags")),
        files=count(summary.get("total_files_processed")),
        bytes=count(summary.get("total_bytes_processed")),
        added_bytes=count(summary.get("data_added")),
        stored_bytes=count(summary.get("data_added_packed")),
        tree=tree_id if isinstance(tree_id, str) and SNAPSHOT_ID.fullmatch(tree_id) else None,
    )


def _exact(value: object) -> str:
    """A name that is compared: one that had to be cleaned is another one, and looks so."""
    text = cleaned(value, LONGEST_NAME)
    return text if text == value else text + REPLACED


def _tags(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        return ()
    more = (REPLACED,) if len(values) > MOST_TAGS else ()
    return tuple(_exact(value) for value in values[:MOST_TAGS]) + more


def _texts(values: object, most: int, longest: int) -> tuple[str, ...]:
    found: Iterable[object] = values[:most] if isinstance(values, list) else ()
    return tuple(cleaned(value, longest) for value in found if isinstance(value, str))


def node(values: dict[str, Any], raw: bytes) -> Entry | None:
    """One node of a tree under its exact path; None where it is no node."""
    kind, mode = values.get("type"), values.get("mode", 0)
    if not isinstance(kind, str) or kind not in TYPES or type(mode) is not int:
        return None
    return Entry(
        raw=raw,
        type=kind,
        mode=(mode & 0o777) | sum(unix for go, unix in GO_SPECIAL_BITS if mode & go),
        uid=count(values.get("uid", 0)) or 0,
        gid=count(values.get("gid", 0)) or 0,
        size=(count(values.get("size", 0)) or 0) if kind == "file" else None,
        mtime=moment(values.get("mtime")),
        linktarget=_link(values),
        inode=count(values.get("inode", 0)) or 0,
    )


def _link(values: dict[str, Any]) -> str | None:
    target = values.get("linktarget")
    return target if isinstance(target, str) else None


def child(values: dict[str, Any], folder: bytes) -> Entry | None:
    """The entry of a folder that a node of its tree tells; None where no file can have its name."""
    name = unquoted(values.get("name"))
    return node(values, folder.rstrip(b"/") + b"/" + name) if name is not None else None


def possible_name(name: bytes) -> bool:
    """Whether a file can have this name: not empty, `.` or `..`, no slash, no NUL."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def unquoted(name: object) -> bytes | None:
    """The bytes of a name as a tree holds it, in Go's quoting; None where it is no possible name."""
    if not isinstance(name, str):
        return None
    try:
        raw = _ESCAPE.sub(_unescaped, name.encode())
    except (ValueError, OverflowError):
        return None
    return raw if possible_name(raw) else None


def _unescaped(found: re.Match[bytes]) -> bytes:
    simple, byte, short, long, octal, wrong = found.groups()
    if wrong is not None:
        raise ValueError("an escape that Go does not know")
    if simple is not None:
        return bytes([_SIMPLE[simple[0]]])
    if byte is not None or octal is not None:
        return bytes([int(byte, 16) if byte is not None else int(octal, 8)])
    return chr(int(short if short is not None else long, 16)).encode()


def cleaned(text: object, limit: int = LONGEST_TEXT) -> str:
    """One line that cannot steer a terminal, `limit` characters at most; anything but text is empty."""
    return clean_line(text[: limit * 2], limit) if isinstance(text, str) else ""


def without_stack(text: str) -> str:
    """What restic says, without where in its source it was, and without the state of one that broke: no news for people."""
    said = text.partition("\ngoroutine ")[0]
    return "\n".join(line for line in said.splitlines() if not _FRAME.match(line))


def complaint(line: str) -> str:
    """What one line of restic's standard error says to people, without its JSON and its control characters."""
    values = record(line.encode("utf-8", "replace"))
    if values is None:
        return cleaned(line, 500)
    error = values.get("error")
    text = values.get("message") or (error.get("message") if isinstance(error, dict) else None)
    item = cleaned(values.get("item"), 200)
    said = without_stack(text) if isinstance(text, str) else ""
    return cleaned(said, 500) + (f" ({item})" if item else "")

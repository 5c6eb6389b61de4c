"""Names looked for in many snapshots, two snapshots compared, the beginning of a file: what restic finds, as values. It writes nothing.

restic tells paths as text, in which bytes that are no UTF-8 are lost: what it names so is shown, and never worked with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, TypeVar

from pbs.repository import messages
from pbs.repository.messages import REPLACED, Entry
from pbs.repository.pieces import Pieces, hits, piped, read_while, records
from pbs.repository.restic import ANSWER_SECONDS, Handle, present

T = TypeVar("T")
MOST_TOLD = 1 << 30


@dataclass(frozen=True, slots=True)
class Hit:
    """A name that was found. `exact`: its path is told byte by byte. `changed`: when the source last touched what is behind it."""

    entry: Entry
    exact: bool
    changed: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one name: restic's letters, `+` new, `-` gone, `M` content, `T` another kind of thing, `U` metadata."""

    entry: Entry
    exact: bool
    letters: str


async def find(
    handle: Handle,
    snapshots: Sequence[str],
    pattern: bytes,
    take: Callable[[Iterator[tuple[Hit | None, str]]], T],
    *,
    seconds: float,
    ignore_case: bool = False,
) -> T:
    """What `take`, in a thread, makes of the names that a pattern of restic's fits, and of all that lies below them.

    It is given each hit, and behind those of a snapshot None with the snapshot's id.

    Raises:
        ToolTimeout: the seconds have passed; what was given before holds.
        NotFound: the repository holds no such snapshot.
        ResticError: it cannot be read.
    """
    chosen = [word for each in snapshots for word in ("--snapshot", present(handle, each))]
    options = ["--ignore-case"] if ignore_case else []

    def given(pieces: Pieces) -> T:
        return take(pair for values, where in hits(pieces) if (pair := _hit(values, where)) is not None)

    return await read_while(
        handle.program(), "find", "--json", *options, *chosen, "--", pattern,
        take=given, seconds=seconds, most=MOST_TOLD,
    )  # fmt: skip


def _hit(values: dict[str, Any] | None, snapshot: str) -> tuple[Hit | None, str] | None:
    if values is None:
        return None, snapshot
    told = _told(values, values.get("path"))
    return (Hit(*told, messages.moment(values.get("ctime"))), "") if told is not None else None


def _told(values: dict[str, Any], path: object) -> tuple[Entry, bool] | None:
    """An entry under a path that restic told as text, and whether that is the path itself."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        return None
    entry = messages.node(values, path.encode("utf-8", "replace"))
    return (entry, REPLACED not in path) if entry is not None else None


async def changes(
    handle: Handle,
    older: str,
    newer: str,
    take: Callable[[Iterator[Change | dict[str, Any]]], T],
    *,
    metadata: bool = False,
    seconds: float,
) -> T:
    """What `take`, in a thread, makes of each change between two snapshots; last comes restic's own sum as a dict.

    Raises:
        ToolTimeout: the seconds have passed; what was given before holds.
        NotFound: the repository holds no such snapshot.
        ResticError: it cannot be read.
    """
    options = ["--metadata"] if metadata else []

    def given(pieces: Pieces) -> T:
        return take(each for values in records(pieces) if (each := _change(values)) is not None)

    return await read_while(
        handle.program(), "diff", "--json", *options, present(handle, older), present(handle, newer),
        take=given, seconds=seconds, most=MOST_TOLD,
    )  # fmt: skip


def _change(values: dict[str, Any]) -> Change | dict[str, Any] | None:
    if values.get("message_type") == "statistics":
        return values
    path, letters = values.get("path"), values.get("modifier")
    if values.get("message_type") != "change" or not isinstance(path, str) or not isinstance(letters, str):
        return None
    # A folder's path ends with a slash; of anything else nothing is told but that it is none.
    kind = "dir" if path.endswith("/") else "file"
    told = _told({"type": kind}, path.rstrip("/") or "/")
    return Change(*told, letters) if told is not None else None


async def below(
    handle: Handle, snapshot_id: str, path: bytes, take: Callable[[Iterator[Entry]], T], *, seconds: float
) -> T:
    """What `take`, in a thread, makes of everything at and below a path; what is named so is counted, never worked with.

    Raises:
        ToolTimeout: the seconds have passed; what was given before holds.
        NotFound: there is no such snapshot.
        ResticError: it cannot be read.
    """

    def given(pieces: Pieces) -> T:
        said = (each for each in records(pieces) if each.get("message_type") == "node")
        return take(told[0] for each in said if (told := _told(each, each.get("path"))) is not None)

    return await read_while(
        handle.program(), "ls", "--json", "--recursive", present(handle, snapshot_id), path,
        take=given, seconds=seconds, most=MOST_TOLD,
    )  # fmt: skip


async def head(handle: Handle, snapshot_id: str, path: bytes, most: int) -> bytes:
    """The first bytes of a file, `most` of them where it has so many; restic is not asked for the rest.

    Raises:
        NotFound: there is no such snapshot.
        ResticError: it cannot be read.
    """

    def first(file: BinaryIO) -> tuple[bytes, bool]:
        parts, left = [], most
        while left > 0 and (data := file.read(left)):
            parts.append(data)
            left -= len(data)
        return b"".join(parts), left > 0

    return await piped(
        handle.program(), "dump", present(handle, snapshot_id), path, take=first, seconds=ANSWER_SECONDS
    )

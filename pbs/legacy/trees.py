"""What an rdiff-backup tree on our own disk says of itself, read from names alone. It never follows a link.

For years a source decided what lies in such a tree: only the folder `rdiff-backup-data` directly inside marks one,
and one deeper down is data like any other.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pbs.errors import ToolError
from pbs.model import RootMeta

DATA = "rdiff-backup-data"
MIRROR = re.compile(
    r"current_mirror\.(\d{4}-\d\d-\d\d)T(\d\d)[:-](\d\d)[:-](\d\d)(Z|[+-]\d\d[:-]\d\d)\.data(?:\.gz)?"
)
QUOTED = re.compile(r";(0\d\d|1[01]\d|12[0-7])")


@dataclass(frozen=True, slots=True)
class LegacyTree:
    """A folder that rdiff-backup wrote."""

    path: Path

    @property
    def data(self) -> Path:
        """rdiff-backup's own folder in it."""
        return self.path / DATA


@dataclass(frozen=True, slots=True)
class State:
    """How a tree stands.

    Attributes:
        newest: When its newest complete session ran, in UTC.
        interrupted: Whether a later session began and never ended: the mirror may then be half-way.
        quoted: Whether names on disk are not the names that were backed up.
    """

    newest: datetime
    interrupted: bool
    quoted: bool


def find(path: Path) -> LegacyTree | None:
    """The legacy tree in this folder, whole or damaged; None where it is none, or a link."""
    return LegacyTree(path) if _folder(path) and _folder(path / DATA) else None


def examine(tree: LegacyTree) -> State:
    """How the tree stands.

    Raises:
        ToolError: it does not say what its newest session is, or its path means a remote host to rdiff-backup.
    """
    if "::" in os.fspath(tree.path):
        raise ToolError(
            f"{tree.path} holds `::`, which names a remote host to rdiff-backup", "rename the folder"
        )
    sessions = _sessions(tree.data)
    if len(sessions) not in (1, 2):
        raise ToolError(
            f"{tree.path} names {len(sessions)} newest sessions where rdiff-backup leaves one",
            'look at it with `rdiff-backup list increments`; to do without its content, set migrate = "off"',
        )
    return State(sessions[0], len(sessions) == 2, _quoted(tree.data))


def newest_increment(path: Path) -> datetime:
    """When the newest complete session of the tree at `path` ran, in UTC.

    Raises:
        ToolError: this is no legacy tree, or a damaged one.
    """
    tree = find(path)
    if tree is None:
        raise ToolError(f"{path} is no rdiff-backup tree", "nothing has to be imported")
    return examine(tree).newest


def root_meta(tree: LegacyTree) -> RootMeta:
    """Metadata of the tree's own folder, which stands for the folder that was backed up."""
    status = tree.path.lstat()
    return RootMeta(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)


def session_time(name: str) -> datetime | None:
    """The time in the name of a current_mirror file, in UTC; None where it is none."""
    # Where the disk was taken to know no capitals, T and Z are written as ;084 and ;090.
    found = MIRROR.fullmatch(QUOTED.sub(lambda quoted: chr(int(quoted[1])), name))
    if found is None:
        return None
    date, hour, minute, second, zone = found.groups()
    zone = "+00:00" if zone == "Z" else f"{zone[:3]}:{zone[4:]}"
    try:
        return datetime.fromisoformat(f"{date}T{hour}:{minute}:{second}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _sessions(data: Path) -> list[datetime]:
    """Times of the sessions whose mirror this may be, oldest first: one, or two after an interruption."""
    found = (session_time(entry.name) for entry in data.iterdir())
    return sorted(moment for moment in found if moment is not None)


def _quoted(data: Path) -> bool:
    """Whether rdiff-backup wrote some name otherwise than it was: as `;065`, or into a folder for long names."""
    characters, long_names = data / "chars_to_quote", data / "long_filename_data"
    if stat.S_ISREG(_mode(characters)) and characters.lstat().st_size > 0:
        return True
    return _folder(long_names) and any(long_names.iterdir())


def _folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0

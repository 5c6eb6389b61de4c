"""What lies in a repository against what was admitted of it: by names, sizes and times alone, nothing is read.

It believes nothing but the disk and the manifest that it is handed. A pack folder whose time has not changed since it
was last looked through is passed over: adding, removing and renaming in it would have changed that.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pbs import files
from pbs.repository.contents import FOLDERS, PACK_FOLDER, TORN, named_file
from pbs.repository.contents import entries as entries_of

# A time that is younger than this may belong to a change that is still to come.
RACY_NS = 2_000_000_000
SMALL = ("index", "keys", "snapshots")
# Kind and pack folder ("" = all) to the admitted names with their sizes.
Known = Callable[[str, str], Mapping[str, int]]


@dataclass(slots=True)
class Survey:
    """The difference between a disk and a manifest.

    Attributes:
        config: The SHA-256 of the config; empty where there is none.
        new: By kind (`data`, `index`, `keys`, `snapshots`): what was not admitted, with its size.
        strays: Paths from the repository of whatever no repository holds; a folder stands for all in it.
        lost: What was admitted and is gone, or has another size.
        folders: The pack folders as they were just before they were looked through.
    """

    config: str = ""
    new: dict[str, dict[str, int]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Whether the repository is exactly what was admitted."""
        return not (any(self.new.values()) or self.strays or self.lost)


def survey(path: Path, known: Known, folders: Mapping[str, int], *, sizes: bool = False) -> Survey:
    """Compare the repository at `path` with what was admitted of it.

    Args:
        path: The repository's folder.
        known: What was admitted.
        folders: Pack folders with their times, as an earlier survey left them.
        sizes: Compare the size of each pack too, in every folder: that looks at each file of the repository.
    """
    found = Survey(config=config_digest(path))
    for entry in entries_of(path):
        folder = entry.name in FOLDERS and entry.is_dir(follow_symlinks=False)
        if not folder and not (entry.name == "config" and entry.is_file(follow_symlinks=False)):
            found.strays.append(entry.name)
    for kind in SMALL:
        here = _sorted_out(path / kind, kind, found)
        _compare(found, kind, here, known(kind, ""))
    _packs(path / "data", known, {} if sizes else folders, found, sizes=sizes)
    return found


def new_packs(path: Path, known: Known, folders: dict[str, int]) -> dict[str, int]:
    """The packs that were not admitted, with their sizes; `folders` is brought up to date for the next call."""
    found = Survey()
    _packs(path / "data", known, folders, found, sizes=False)
    dirty = {name[:2] for name in found.new["data"]}
    folders.clear()
    folders |= {folder: time for folder, time in found.folders.items() if folder not in dirty}
    return found.new["data"]


def config_digest(path: Path) -> str:
    """The SHA-256 of a repository's config; empty where there is none."""
    try:
        return hashlib.sha256((path / "config").read_bytes()).hexdigest()
    except OSError:
        return ""


def _packs(data: Path, known: Known, folders: Mapping[str, int], found: Survey, *, sizes: bool) -> None:
    there: dict[str, Path] = {}
    for entry in entries_of(data):
        if PACK_FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            there[entry.name] = Path(entry.path)
        else:
            found.strays.append(f"data/{entry.name}")
    found.new["data"] = {}
    for folder in sorted({*there, *(f"{number:02x}" for number in range(256))}):
        time = _time(there[folder]) if folder in there else None
        if time is not None:
            found.folders[folder] = time
            if folders.get(folder) == time:
                continue
        admitted = known("data", folder)
        here = _listed(there[folder], folder, admitted, found, sizes=sizes) if folder in there else {}
        _compare(found, "data", here, admitted, sizes=sizes)


def _listed(
    place: Path, folder: str, admitted: Mapping[str, int], found: Survey, *, sizes: bool
) -> dict[str, int]:
    """The packs of one folder. Only of those that are new, or where asked for, is the size looked up."""
    here = {}
    for entry in entries_of(place):
        if TORN.fullmatch(entry.name):
            continue
        if not named_file(entry) or not entry.name.startswith(folder):
            found.strays.append(f"data/{folder}/{entry.name}")
        elif sizes or entry.name not in admitted:
            with suppress(OSError):
                here[entry.name] = entry.stat(follow_symlinks=False).st_size
        else:
            here[entry.name] = admitted[entry.name]
    return here


def _sorted_out(place: Path, kind: str, found: Survey) -> dict[str, int]:
    here = {}
    for entry in entries_of(place):
        if TORN.fullmatch(entry.name):
            continue
        if named_file(entry):
            with suppress(OSError):
                here[entry.name] = entry.stat(follow_symlinks=False).st_size
        else:
            found.strays.append(f"{kind}/{entry.name}")
    return here


def _compare(
    found: Survey, kind: str, here: Mapping[str, int], admitted: Mapping[str, int], *, sizes: bool = True
) -> None:
    found.new.setdefault(kind, {}).update({name: size for name, size in here.items() if name not in admitted})
    found.lost += sorted(
        f"{kind}/{name}"
        for name, size in admitted.items()
        if name not in here or (sizes and here[name] != size)
    )


def _time(folder: Path) -> int | None:
    try:
        return folder.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return None


def steady(folders: Mapping[str, int], now: float, dirty: Iterable[str]) -> dict[str, int]:
    """The folders whose time may be relied on: not of a moment ago (`now`, seconds), nothing left to look at."""
    unclear = frozenset(dirty)
    limit = int(now * 1e9) - RACY_NS
    return {name: time for name, time in folders.items() if time < limit and name not in unclear}


def everything(path: Path) -> dict[str, dict[str, int]]:
    """Every file of the repository by kind, with its size: for after work of our own on it."""
    found = survey(path, lambda _kind, _folder: {}, {}, sizes=True)
    return found.new


def size_of(path: Path) -> int:
    """The bytes of a file, or of everything below a folder; 0 where there is nothing."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return files.tree_bytes(path) if stat.S_ISDIR(status.st_mode) else status.st_size

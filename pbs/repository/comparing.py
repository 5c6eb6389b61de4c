"""What changed from one snapshot to the next, counted, and whether certain files are as they were.

Both trees were found sound before; all the same restic reads them with bounds. It names nothing to people.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbs.errors import NotFound
from pbs.repository import messages
from pbs.repository.entries import entry_at
from pbs.repository.finding import Change, changes
from pbs.repository.inspection import bounded
from pbs.repository.restic import Handle
from pbs.repository.trees import bounds_of
from pbs.repository.views import view

# Of the folder that a canary lies in, no more is held than this: nobody needs a larger one for it.
MOST_OF_A_FOLDER = 64 << 20
GONE, CHANGED = "is not there", "was changed"
# restic's letters for what is not as it was: other content, another kind of thing, gone.
LOST = frozenset("MT-")


@dataclass(slots=True)
class Comparison:
    """How many files have other content, how many are gone and their content with them; `canaries`: what became of those
    that are not as they were.
    """

    changed: int = 0
    vanished: int = 0
    canaries: dict[str, str] = field(default_factory=dict)


async def compared(
    handle: Handle,
    work: Path,
    before: str | None,
    after: str,
    index: Mapping[str, int],
    seconds: float,
    canaries: Sequence[str],
) -> Comparison:
    """Compare two snapshots.

    Args:
        handle: The repository; nothing but admitted packs may lie in it.
        work: A folder of ours on the same file system.
        before: The whole id of the older; None where only canaries are to be looked for.
        after: The whole id of the newer.
        index: The admitted index files with their sizes.
        seconds: How long it may take.
        canaries: Paths of files that must be in the newer, with the content that they have in the older.

    Raises:
        ToolTimeout: it took longer.
        PbsError: it could not be found out.
    """
    both = [after] if before is None else [before, after]
    with view(handle.path, work, both, handle.key, index) as shown:
        limited = bounded(handle, shown.path, shown.descriptor, bounds_of(index))
        found = Comparison()
        if before is not None:
            wanted = {os.fsencode(path) for path in canaries}
            found = await changes(limited, before, after, lambda told: _summed(told, wanted), seconds=seconds)
        for path in canaries:
            if not await _there(limited, after, path):
                found.canaries[path] = GONE
    return found


def _summed(told: Iterator[Change | dict[str, Any]], canaries: set[bytes]) -> Comparison:
    found = Comparison()
    for each in told:
        if isinstance(each, dict):
            gone = each.get("removed")
            counts = gone if isinstance(gone, dict) else {}
            found.changed = messages.count(each.get("changed_files")) or 0
            # Of a file that was only moved, every blob is still there.
            found.vanished = min(messages.count(counts.get(key)) or 0 for key in ("files", "data_blobs"))
        elif each.entry.raw in canaries and LOST & set(each.letters):
            found.canaries[os.fsdecode(each.entry.raw)] = CHANGED
    return found


async def _there(handle: Handle, snapshot_id: str, path: str) -> bool:
    try:
        found = await entry_at(handle, snapshot_id, os.fsencode(path), most=MOST_OF_A_FOLDER)
    except NotFound:
        return False
    return found is not None and found.type == "file"

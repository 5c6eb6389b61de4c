"""What a damaged pack takes with it: which files of which snapshots, and which of their folders. It changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pbs.errors import ResticError
from pbs.model import SNAPSHOT_ID
from pbs.repository import messages
from pbs.repository.contents import inventory
from pbs.repository.restic import Handle, present

MOST_ANSWER = 256 << 20
MOST_PATHS = 1000
FIND_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Touched:
    """What of one snapshot lies in a pack. `whole` = its folders themselves cannot be read any more."""

    paths: tuple[str, ...]
    blobs: frozenset[str]
    whole: bool = False


async def touched(handle: Handle, snapshot_id: str, pack: str) -> Touched | None:
    """What of this snapshot lies in this pack; None where nothing does."""
    try:
        done = await handle.program().run(
            "find", "--json", "--snapshot", present(handle, snapshot_id), "--pack", pack,
            timeout=FIND_SECONDS, most=MOST_ANSWER,
        )  # fmt: skip
    except ResticError:
        return Touched((), frozenset(), whole=True)
    try:
        values = json.loads(done.stdout or b"[]")
    except (ValueError, RecursionError):
        return Touched((), frozenset(), whole=True)
    found = [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []
    blobs = frozenset(
        str(each["id"])
        for each in found
        if isinstance(each.get("id"), str) and SNAPSHOT_ID.fullmatch(each["id"])
    )
    paths = {messages.cleaned(each.get("path")) for each in found} - {""}
    return Touched(tuple(sorted(paths)[:MOST_PATHS]), blobs) if found else None


async def tree_blobs(handle: Handle, pack: str) -> frozenset[str]:
    """The folders that lie in this pack, as the index says."""
    found: set[str] = set()
    for name in sorted(inventory(handle.path).index):
        done = await handle.program().run("cat", "index", name, timeout=FIND_SECONDS, most=MOST_ANSWER)
        values = messages.record(done.stdout) or {}
        packs = values.get("packs")
        for each in packs if isinstance(packs, list) else ():
            if isinstance(each, dict) and each.get("id") == pack and isinstance(each.get("blobs"), list):
                found |= {str(blob.get("id")) for blob in each["blobs"] if blob.get("type") == "tree"}
    return frozenset(found)

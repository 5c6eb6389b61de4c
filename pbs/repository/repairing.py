"""What a damaged pack takes with it, and how a repository does without it: all that is left of it is saved first.

For repositories whose every other file was admitted, and only while nobody else can reach them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

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


async def present_blobs(handle: Handle, wanted: Collection[str]) -> frozenset[str]:
    """Which of these blobs the index names."""
    left, found = frozenset(wanted), set()

    def take(line: bytes) -> None:
        blob = line.rpartition(b" ")[2].strip().decode("ascii", "replace")
        if blob in left:
            found.add(blob)

    await handle.program().run("list", "blobs", on_line=take, timeout=FIND_SECONDS)
    return frozenset(found)


async def salvage(handle: Handle, packs: Sequence[str], aside: Path) -> None:
    """Save what is left of damaged packs in new ones, and do without them; `aside` receives a copy of each."""
    await handle.program(writing=True).run("repair", "packs", *packs, cwd=aside, timeout=FIND_SECONDS)


async def rebuild_index(handle: Handle) -> None:
    """Have the index name only what is there."""
    await handle.program(writing=True).run("repair", "index", timeout=FIND_SECONDS)


async def prune(handle: Handle, unused: int, most: int) -> str:
    """Remove what no snapshot needs; what restic says of it.

    Args:
        handle: The repository.
        unused: In per cent: how much data that nothing needs may stay.
        most: Bytes of data that may be written anew for it.
    """
    words = ("prune", f"--max-unused={unused}%", f"--max-repack-size={most}")
    done = await handle.program(writing=True).run(*words)
    return done.stdout.decode("utf-8", "replace")

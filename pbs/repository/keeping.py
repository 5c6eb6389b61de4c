"""Write into a repository of our own and thin it out: for what no source can reach. Ids are always named, never guessed.

Nothing here may be used on a repository that a source writes to: it believes what the repository says of itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pbs.errors import ResticError
from pbs.repository import messages
from pbs.repository.restic import ANSWER_SECONDS, Handle, full_id, present

WORK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot that we made ourselves, by our own clock."""

    id: str
    time: datetime


async def store(handle: Handle, folder: Path, host: str, tags: Sequence[str] = ()) -> str:
    """Make a snapshot of a folder's contents, all of it or none; its id.

    Raises:
        ResticError: a file could not be read, or nothing could be written.
    """
    found: list[str] = []

    def take(line: bytes) -> None:
        said = messages.record(line) or {}
        if said.get("message_type") == "summary" and isinstance(said.get("snapshot_id"), str):
            found.append(said["snapshot_id"])

    named = [word for tag in tags for word in ("--tag", tag)]
    await handle.program(writing=True).run(
        "backup", "--json", "--force", "--no-scan", "--host", host, *named, "--", ".",
        cwd=folder, on_line=take, timeout=WORK_SECONDS,
    )  # fmt: skip
    if not found:
        raise ResticError("restic made a snapshot and did not name it", "try again")
    return full_id(found[-1])


async def kept(handle: Handle) -> list[Kept]:
    """Every snapshot of a repository of our own, oldest first."""
    done = await handle.program().run("snapshots", "--json", timeout=ANSWER_SECONDS)
    try:
        values = json.loads(done.stdout)
    except ValueError as error:
        raise ResticError("restic does not say which snapshots there are", "try again") from error
    found = [
        Kept(str(each["id"]), moment)
        for each in values or ()
        if isinstance(each, dict) and (moment := messages.moment(each.get("time"))) is not None
    ]
    return sorted(found, key=lambda each: (each.time, each.id))


async def forget(handle: Handle, ids: Collection[str]) -> None:
    """Forget these snapshots and free what only they needed."""
    if ids:
        await handle.program(writing=True).run(
            "forget", "--prune", *sorted(map(full_id, ids)), timeout=WORK_SECONDS
        )


async def fetch(handle: Handle, snapshot_id: str, target: Path) -> None:
    """Write the whole contents of one of our snapshots into a folder."""
    await handle.program().run(
        "restore", present(handle, snapshot_id), "--target", str(target), timeout=WORK_SECONDS
    )

"""A restore into a new folder of this server, as a run: it is seen, can be cancelled, and stands in the feed.

It never writes into a folder that somebody named: each has its run's name, below one folder of the home, and is there only
once it is whole. It never makes devices, never chooses the snapshot, and never takes the room that `reserve` keeps.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pbs.errors import NoRoom, NotFound, UsageError
from pbs.model import Ending, Outcome, Receipt
from pbs.runs.progress import Progress
from pbs.runs.work import Work
from pbs.space import kept_free, shortage
from pbs.text import size

ADVICE = "free some space, then ask for it again; `pbs restore NAME --to DIR` restores to another disk"
RESTORES_NOTHING = "nothing of what it had restored is kept; ask for the restore again"


async def restore(work: Work) -> Ending:
    """Carry out a restore.

    Raises:
        PbsError: it cannot be done; nothing of it is left.
    """
    receipt, path = _receipt(work), _path(work)
    work.stages.enter("repository")
    await work.repository.verify()
    work.stages.enter("restore", snapshot=receipt.id)
    far = Progress(None, work.clock)
    spare = _spare(work)

    def tell(seen: Any) -> None:
        _spare(work)
        told = far.take(
            {
                "files": seen.files,
                "bytes": seen.bytes,
                "total_files": seen.total_files,
                "total_bytes": seen.total_bytes,
            },
            0,
        )
        if told is not None:
            work.journal.write("progress", **told)

    place, done = await work.repository.bring_back(receipt, path, work.run.id, spare, tell)
    said = [f"{done.files} names, {size(done.bytes)}, restored into {place}"]
    if done.specials:
        said.append(f"{done.specials} device file(s) were left out")
    if receipt.outcome is not Outcome.OK:
        said.append("the snapshot is incomplete")
    if done.failed:
        said.append(f"{done.failed} name(s) could not be written")
    return Ending(
        Outcome.PARTIAL if done.failed else Outcome.OK,
        "; ".join(said),
        "take out of that folder what you need, then remove it",
        snapshot=receipt.id,
        files=done.files,
        bytes=done.bytes,
        warnings=done.failed,
        output="\n".join([*said, *done.warnings]),
    )


def _spare(work: Work) -> int:
    """The bytes that must stay free where it restores to.

    Raises:
        NoRoom: fewer are.
    """
    reserve, space = work.source.reserve, work.repository.space_for_restores()
    short = shortage(reserve, space)
    if short is not None:
        raise NoRoom(short, ADVICE)
    return kept_free(reserve, space)


def _receipt(work: Work) -> Receipt:
    wanted = work.options.get("snapshot")
    for receipt in work.records.usable(work.source.name):
        if receipt.id == wanted:
            return receipt
    raise NotFound(
        f"{work.source.name} does not have the snapshot any more that was to be restored",
        f"`pbs snapshots {work.source.name}` lists those that there are",
    )


def _path(work: Work) -> bytes:
    try:
        return base64.b64decode(str(work.options.get("path", "")), validate=True) or b"/"
    except binascii.Error as error:
        raise UsageError("what is to be restored is not told", "ask for the restore again") from error

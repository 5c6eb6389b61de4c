"""A check: the structure of the repository, and a part of its data read again, so that all of it is in a given time.

What it finds it says with the snapshots and files that are touched; the repair of it stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from pbs.errors import UsageError
from pbs.model import Damage, DamageState, Ending, Outcome
from pbs.retention import folders_to_read, oldest_unread, share_to_read
from pbs.runs.repairing import examine, repair
from pbs.runs.work import Work
from pbs.text import duration, size

STRUCTURE_DAYS = timedelta(days=7)
CHECKED = "structure-checked"
DISK = "look at the disk of this server"
LIES = 'no disk did this: the source sent it so, while `admission` was "structure"'


async def check(work: Work) -> Ending:
    """Carry out a check.

    Raises:
        PbsError: it cannot be done, or the structure is damaged.
    """
    name, custody = work.source.name, work.records.custody
    work.stages.enter("repository")
    await work.repository.verify()
    now = work.clock.now()
    made = custody.made(name) or now
    folders = _folders(work, made, now)
    before = [each for each in custody.damages(name) if each.state is DamageState.FOUND]
    folders += sorted({each.pack[:2] for each in before} - {*folders})
    work.stages.enter("reading")
    count, total, found, lying = await _read(work, folders)
    work.journal.write("read", files=count, bytes=total, damaged=sorted(found))
    bad = _still_bad(work, before, found)
    if found:
        work.stages.enter("damage")
        await examine(work, found)
    elif not bad and _structure_due(work, now):
        # After the packs: of what is missing there, this would only say that something is.
        await structure(work)
    said = await repair(work) if bad else ""
    return _ending(work, count, total, len(bad), said, made, lies=bad == lying)


def _folders(work: Work, made: datetime, now: datetime) -> list[str]:
    """What is to be read: as much as was asked for, or as is due."""
    read = work.records.custody.readings(work.source.name)
    wanted = work.options.get("read")
    if wanted is None:
        within = timedelta(seconds=work.source.keeping.verify or 2592000.0)
        return folders_to_read(made, read, now, within)
    percent = str(wanted).removesuffix("%")
    if not percent.isdecimal() or not 0 < int(percent) <= 100:
        raise UsageError("the share to read is none", 'give "1%" to "100%"')
    return share_to_read(made, read, int(percent))


def _structure_due(work: Work, now: datetime) -> bool:
    last = work.records.custody.last(CHECKED, about=work.source.name)
    return work.run.cause == "asked" or last is None or not timedelta(0) <= now - last.time < STRUCTURE_DAYS


async def structure(work: Work) -> None:
    """Have restic look at everything but the data itself.

    Raises:
        ResticError: with what is wrong.
    """
    work.stages.enter("structure")
    await work.repository.check()
    work.records.note(work.clock.now(), CHECKED, {}, about=work.source.name, by=work.run.id)


def _still_bad(work: Work, before: list[Damage], found: Collection[str]) -> set[str]:
    """The packs that are damaged now; what was found before and reads well again (its disk is back) is over."""
    bad = {*found}
    for each in before:
        if each.pack not in found and work.repository.holds(each.pack):
            work.journal.write("damage", pack=each.pack, state=DamageState.REPAIRED, snapshots=[])
            ended = replace(each, state=DamageState.REPAIRED, ended=work.clock.now())
            work.records.custody.record_damage(work.source.name, ended)
        else:
            bad.add(each.pack)
    return bad


async def _read(work: Work, folders: list[str]) -> tuple[int, int, dict[str, str], set[str]]:
    count, total = 0, 0
    bad: dict[str, str] = {}
    lying = set[str]()
    for number, folder in enumerate(folders):
        found = await work.repository.read_again(folder)
        work.records.custody.record_reading(work.source.name, folder, work.clock.now(), found.bytes)
        count, total = count + found.files, total + found.bytes
        bad |= found.bad
        lying |= found.lying
        work.journal.write(
            "progress", percent=round(100 * (number + 1) / len(folders), 1), bytes=total, files=count
        )
    return count, total, bad, lying


def _ending(
    work: Work, count: int, total: int, damaged: int, said: str, made: datetime, *, lies: bool
) -> Ending:
    oldest = oldest_unread(made, work.records.custody.readings(work.source.name))
    age = duration(max(0.0, (work.clock.now() - oldest).total_seconds()))
    what = f"{count} pack(s), {size(total)}, were read again; nothing was left unread for longer than {age}"
    if not damaged:
        return Ending(Outcome.OK, f"{what}; no damage")
    return Ending(
        Outcome.FAILED,
        "; ".join([f"{damaged} damaged pack(s)", *work.report.remarks, *([said] if said else []), what]),
        f"{LIES if lies else DISK}; `pbs snapshots {work.source.name}` shows what is touched, "
        f"`pbs pull {work.source.name}` repairs what the source still has",
    )

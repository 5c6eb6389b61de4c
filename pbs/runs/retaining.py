"""Retention carried out: at the end of each good pull, and as a run of its own when somebody asks for it.

The plan is made elsewhere, by a pure function. Here it is written down, done by id while nobody else can touch the
repository, and settled by what is there afterwards: killed at any moment, the next run finds out what became of it.
"""

from __future__ import annotations

from dataclasses import replace

from pbs.clock import stamp
from pbs.errors import PbsError, ResticError, RetentionHeld
from pbs.model import Ending, Kind, Outcome
from pbs.retention import CONFIRMED, UNREADABLE, Facts, Plan, Upkeep, facts_of, grew, plan_now, prune_due
from pbs.runs.pruning import PRUNED, prune
from pbs.runs.repairing import mend
from pbs.runs.tree import remove_tree
from pbs.runs.work import Work

FORGOTTEN = "forgotten"
GOOD = (Outcome.OK, Outcome.PARTIAL)


def settle(work: Work) -> None:
    """Find out what became of a removal whose run was killed."""
    name = work.source.name
    gone = work.records.custody.settle(name, work.repository.inventory().snapshots, work.clock.now())
    if gone:
        work.journal.write("settled", snapshots=gone)


async def follow(work: Work, ending: Ending) -> Ending:
    """Apply the rules after a pull. What goes wrong here is told, tried again after the next pull, and no fault of this one."""
    if ending.outcome not in GOOD:
        return ending
    work.stages.enter("retention")
    mended = await mend(work, ending)
    facts = replace(facts_of(work.records, work.source.name), last=ending.outcome, grew=_unreadable(work))
    try:
        said = await _apply(work, facts)
    except PbsError as error:
        said = f"retention could not be applied: {error.message} ({error.hint})"
    return replace(ending, message=_joined([ending.message, mended, said or ""]))


async def _apply(work: Work, facts: Facts) -> str | None:
    plan = plan_now(work.records, work.source, work.clock.now(), facts)
    _tell(work, plan)
    if not plan.goes:
        return None
    held = plan.stopped()
    note = work.records.custody.held(work.source.name)
    if note is not None and note.run == work.run.id:
        return "no snapshot was removed"  # why, this very run has said
    if held is not None:
        return f"no snapshot was removed: {held} (`pbs retain {work.source.name} --dry-run` shows the plan)"
    gone = await forget(work, plan)
    return f"{len(gone)} snapshot(s) that no rule holds were removed"


async def retain(work: Work) -> Ending:
    """Apply the rules, because somebody asked for it.

    Raises:
        RetentionHeld: something stands against it that a person should look at.
        PbsError: the repository cannot be used now; the rules hold as before.
    """
    work.stages.enter("repository")
    await work.repository.verify()
    settle(work)
    work.stages.enter("retention")
    plan = plan_now(work.records, work.source, work.clock.now())
    _tell(work, plan)
    if plan.goes:
        _permitted(work, plan)
    gone = await forget(work, plan) if plan.goes else []
    stay = len(plan.verdicts) - len(gone)
    what = f"{len(gone)} snapshot(s) that no rule holds were removed" if gone else "no snapshot had to go"
    said = [f"{what}; {stay} stay", *work.report.remarks]
    try:
        said.append("" if plan.frozen else await remove_tree(work))
        if work.options.get("prune") or _prune_due(work):
            said.append(await prune(work))
    except PbsError as error:
        # What was done is done: the rest is told, and tried again.
        said.append(error.message)
        return Ending(error.outcome, _joined(said), error.hint, output=_listing(plan), retry=error.retryable)
    return Ending(Outcome.OK, _joined(said), output=_listing(plan))


def _joined(said: list[str]) -> str:
    return "; ".join(filter(None, said))


def _prune_due(work: Work) -> bool:
    """Whether pruning is due by its own time."""
    name, custody = work.source.name, work.records.custody
    forgotten, pruned = (custody.last(word, about=name) for word in (FORGOTTEN, PRUNED))
    state = Upkeep(
        made=custody.made(name) or work.clock.now(),
        forgotten=forgotten.time if forgotten else None,
        pruned=pruned.time if pruned else None,
    )
    return prune_due(work.source.keeping, state, work.clock.now())


def _permitted(work: Work, plan: Plan) -> None:
    """Raise where the plan may not be carried out; note what a person has confirmed."""
    name, confirmed = work.source.name, work.options.get("confirm")
    held = plan.stopped(confirmed)
    if plan.frozen:
        raise RetentionHeld(
            f"no snapshot was removed: {plan.frozen}",
            f"`pbs source resume {name}`, once you have looked at that machine"
            if work.records.custody.held(name) is not None
            else f"`pbs runs {name}` shows the last runs; a good pull lifts this by itself",
        )
    if held and confirmed:
        raise RetentionHeld(
            f"the plan {str(confirmed)[:40]!r} is not the one of now, which is {plan.id}: {held}",
            f"look at it with `pbs retain {name} --dry-run`",
        )
    if held:
        raise RetentionHeld(
            f"no snapshot was removed: {held}",
            f"look at it with `pbs retain {name} --dry-run`, then `pbs retain {name} --confirm {plan.id}`",
        )
    if confirmed and plan.doubt:
        newest = plan.verdicts[-1].snapshot
        work.records.note(
            work.clock.now(), CONFIRMED, {"plan": plan.id, "snapshot": newest}, about=name, by=work.run.id
        )


async def forget(work: Work, plan: Plan) -> list[str]:
    """Remove what the plan lets go, by id, while nobody else can touch the repository; returns the ids.

    Raises:
        LeaseHeld: somebody reads in the repository just now.
        PbsError: restic refuses; what it did not remove stays as it was.
    """
    name, custody = work.source.name, work.records.custody
    with work.to_itself():
        await work.endpoint.shut()
        there = work.repository.inventory().snapshots
        custody.settle(name, there, work.clock.now())
        goes = [each for each in plan.goes if each in there]
        missing = len(plan.goes) - len(goes)
        if missing:
            work.report.remark(f"{missing} snapshot(s) of the ledger are not in the repository")
        if not goes:
            return []
        custody.intend(name, goes, work.run.id)
        try:
            work.repository.clear_locks()
            await work.repository.forget(goes)
        finally:
            # By what is there now, however it went: the same happens after a kill, before the next run.
            gone = custody.settle(name, work.repository.inventory().snapshots, work.clock.now())
            for snapshot in gone:
                work.journal.write("forgotten", snapshot=snapshot)
    if len(gone) < len(goes):
        raise ResticError(
            f"restic removed {len(gone)} of {len(goes)} snapshots", "the next pull tries the rest again"
        )
    return gone


def _unreadable(work: Work) -> bool:
    """Note what this pull could not read; True where that is more than the pull before it could not."""
    name, custody = work.source.name, work.records.custody
    if not work.report.unreadable:
        return False
    before = work.records.newest_run(name, *GOOD, kind=Kind.PULL)
    noted = custody.last(UNREADABLE, about=name)
    known = noted.detail if noted is not None and before is not None and noted.run == before.id else {}
    names, count = sorted(work.report.unreadable_names), work.report.unreadable
    more = grew(known.get("names", ()), names) or count > known.get("count", 0)
    detail: dict[str, object] = {"names": names, "count": count, "grew": more}
    work.records.note(work.clock.now(), UNREADABLE, detail, about=name, by=work.run.id)
    return more


def _tell(work: Work, plan: Plan) -> None:
    """The plan into the run's log: what goes and how much stays."""
    work.journal.write(
        "plan", plan=plan.id, stay=len(plan.verdicts) - len(plan.goes), go=list(plan.goes),
        frozen=plan.frozen, doubt=plan.doubt,
    )  # fmt: skip


def _listing(plan: Plan) -> str:
    """What went, for people: one line each."""
    return "\n".join(
        f"removed {each.snapshot[:16]}, received {stamp(each.time)}"
        for each in plan.verdicts
        if not each.kept_by
    )

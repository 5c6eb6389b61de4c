"""What is due in which repository: pruning, re-reading, a legacy tree. It asks the ledger and the disk, and does nothing."""

from __future__ import annotations

from datetime import datetime

from pbs import legacy
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.model import DamageState, Kind, Source
from pbs.retention import Upkeep, due
from pbs.runs.pruning import PRUNED
from pbs.runs.retaining import FORGOTTEN
from pbs.runs.tree import stays


def chores(home: Home, ledger: Ledger, source: Source, now: datetime) -> list[Kind]:
    """The kinds of runs that should be asked for now."""
    state = _state(home, ledger, source)
    return due(source.keeping, state, now) if state is not None else []


def tree_fate(home: Home, ledger: Ledger, source: Source) -> tuple[bool, str | None]:
    """Whether there is a legacy tree, and why it stays; None where it goes with the next retention."""
    path = home.legacy(source.name)
    if legacy.half_gone(home.work(source.name)):
        return True, None
    if legacy.find(path) is None:
        return False, None
    return True, stays(ledger, source) or legacy.obstacle(path, home.backups)


def _state(home: Home, ledger: Ledger, source: Source) -> Upkeep | None:
    """What is known of the upkeep of a source's repository; None where it has none."""
    name, custody = source.name, ledger.custody
    made = custody.made(name)
    if made is None:
        return None
    last = [ledger.newest_run(name, kind=kind) for kind in (Kind.RETAIN, Kind.CHECK)]
    tree, reason = tree_fate(home, ledger, source)
    forgotten, pruned = (custody.last(word, about=name) for word in (FORGOTTEN, PRUNED))
    return Upkeep(
        made=made,
        forgotten=forgotten.time if forgotten else None,
        pruned=pruned.time if pruned else None,
        read=custody.readings(name),
        tried={run.kind: run.ended or run.queued for run in last if run is not None},
        tree=tree and reason is None,
        damaged=max(
            (each.found for each in custody.damages(name) if each.state is DamageState.FOUND), default=None
        ),
    )

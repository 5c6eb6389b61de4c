"""When the upkeep of a repository is due, and whether a legacy tree may go: pure, from what the ledger knows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pbs.model import Keeping, Kind, Outcome, Receipt, ReceiptState, Verified

DAY = timedelta(days=1)
# What went wrong is not tried again at once: the disk may be full, a mount may be open.
AGAIN = timedelta(hours=6)
# Packs lie in so many folders, by the first byte of their names: each holds about the same share of them.
FOLDERS = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is known of the upkeep of one repository.

    Attributes:
        made: When the repository was made.
        forgotten: When a snapshot was forgotten for the last time.
        pruned: When it was pruned for the last time.
        read: When each folder of packs was re-read for the last time.
        tried: When a run of each kind ended for the last time, however it went.
        tree: Whether a legacy tree may go, or is half gone.
        damaged: When the newest damaged pack was found about which nothing was done yet; None where there is none.
    """

    made: datetime
    forgotten: datetime | None = None
    pruned: datetime | None = None
    read: Mapping[str, datetime] = field(default_factory=dict)
    tried: Mapping[Kind, datetime] = field(default_factory=dict)
    tree: bool = False
    damaged: datetime | None = None


def due(keeping: Keeping, state: Upkeep, now: datetime) -> list[Kind]:
    """The kinds of runs that should be asked for now."""
    wanted = [Kind.RETAIN] if state.tree or prune_due(keeping, state, now) else []
    if check_due(keeping, state, now) or state.damaged is not None:
        wanted.append(Kind.CHECK)
    return [kind for kind in wanted if not _tried(kind, state, now)]


def _tried(kind: Kind, state: Upkeep, now: datetime) -> bool:
    """Whether it was tried so lately that it waits; not for damage that came to light since."""
    last = state.tried.get(kind)
    news = kind is Kind.CHECK and last is not None and state.damaged is not None and state.damaged > last
    return last is not None and now - last < AGAIN and not news


def prune_due(keeping: Keeping, state: Upkeep, now: datetime) -> bool:
    """Whether there is something to prune, and its time has come."""
    if keeping.prune is None or state.forgotten is None:
        return False
    if state.pruned is not None and state.forgotten < state.pruned:
        return False
    return now - (state.pruned or state.made) >= timedelta(seconds=keeping.prune)


def check_due(keeping: Keeping, state: Upkeep, now: datetime) -> bool:
    """Whether it is a day since something was re-read."""
    return keeping.verify is not None and now - max(state.read.values(), default=state.made) >= DAY


def oldest_unread(made: datetime, read: Mapping[str, datetime]) -> datetime:
    """Since when there may be a byte that was not re-read."""
    return min(read.get(folder, made) for folder in FOLDERS)


def folders_to_read(
    made: datetime, read: Mapping[str, datetime], now: datetime, within: timedelta
) -> list[str]:
    """The folders that are to be read now, the longest unread first, so that each is read once `within`.

    As many as the time since the last reading takes of it, and whatever would be late before the next day.
    """
    ordered = sorted(FOLDERS, key=lambda folder: (read.get(folder, made), folder))
    passed = now - max(read.values(), default=made)
    share = math.ceil(len(FOLDERS) * min(1.0, max(passed, DAY) / within))
    late = sum(now + DAY - read.get(folder, made) > within for folder in FOLDERS)
    return ordered[: max(share, late)]


def share_to_read(made: datetime, read: Mapping[str, datetime], percent: int) -> list[str]:
    """So much of the folders as somebody asked for, the longest unread first."""
    ordered = sorted(FOLDERS, key=lambda folder: (read.get(folder, made), folder))
    return ordered[: math.ceil(len(FOLDERS) * percent / 100)]


def tree_stays(
    receipts: Sequence[Receipt],
    damaged: Collection[str],
    last_check: Outcome | None,
    least: int,
    *,
    wanted: bool,
) -> str | None:
    """Why a legacy tree must not be removed yet; None where it may go.

    Args:
        receipts: All of the source.
        damaged: Snapshots that cannot be restored whole.
        last_check: How the last check ended; None where there was none.
        least: So many good snapshots must be newer than its import.
        wanted: Whether the configuration lets it go at all.
    """
    if not wanted:
        return 'the configuration says legacy = "keep"'
    if not any(each.state is ReceiptState.FORGOTTEN for each in receipts):
        return "retention has removed no snapshot yet"
    imports = [each for each in receipts if f"-{Kind.MIGRATE}-" in each.run]
    if not imports:
        return "it was never imported"
    imported = imports[-1]
    if imported.outcome is not Outcome.OK or imported.verified is not Verified.FULL:
        return "its import was not whole, or was not verified"
    if last_check not in (None, Outcome.OK):
        return "the last check did not end well"
    good = [
        each
        for each in receipts
        if each.state is ReceiptState.ADMITTED and each.outcome is Outcome.OK
        and each.received > imported.received and each.id not in damaged
    ]  # fmt: skip
    if len(good) < least:
        return f"only {len(good)} of {least} newer good snapshots exist"
    return None

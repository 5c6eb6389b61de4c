"""The plan: for each snapshot the rules that hold it, or why it goes. A value; nothing happens by making one.

Times are those of our receipts. A span reaches back from the newest good snapshot, never from now: a source that is
silent for a month, or a clock that jumps, loses nothing by that alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from pbs.model import Keeping, Outcome, Receipt, ReceiptState
from pbs.retention.buckets import BUCKETS, back, bucket

COUNTED = frozenset({ReceiptState.ADMITTED, ReceiptState.LEGACY})
# So many may always go at once: a share of a handful is nothing.
ALWAYS = 5
EVERYTHING, PINNED, FLOOR, AHEAD = "all", "pinned", "floor", "ahead"
NO_RULE = "no rule holds it"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one snapshot: the rules that hold it; none = it goes."""

    snapshot: str
    time: datetime
    kept_by: tuple[str, ...]

    @property
    def reason(self) -> str:
        """In a few words, for people."""
        return ", ".join(self.kept_by) or NO_RULE


@dataclass(frozen=True, slots=True)
class Plan:
    """What retention would do to one source now.

    Attributes:
        source: Its name.
        verdicts: Every snapshot that counts, oldest first.
        frozen: Why nothing may be removed at all; None where nothing stands against it.
        doubt: Why nothing may be removed before a person has confirmed this very plan by its id.
    """

    source: str
    verdicts: tuple[Verdict, ...]
    frozen: str | None = None
    doubt: str | None = None

    @property
    def goes(self) -> tuple[str, ...]:
        """The snapshots that no rule holds, oldest first."""
        return tuple(each.snapshot for each in self.verdicts if not each.kept_by)

    @property
    def id(self) -> str:
        """Names exactly this removal: a person who confirms it confirms nothing else."""
        return hashlib.sha256("\n".join((self.source, *sorted(self.goes))).encode()).hexdigest()[:12]

    def stopped(self, confirmed: str | None = None) -> str | None:
        """Why nothing of it may be carried out, where a person has confirmed the plan of this id; None = it may."""
        return self.frozen or (self.doubt if confirmed != self.id else None)

    @property
    def kept_by(self) -> dict[str, tuple[str, ...]]:
        """The rules that hold each snapshot."""
        return {each.snapshot: each.kept_by for each in self.verdicts}


def make_plan(
    source: str,
    receipts: Iterable[Receipt],
    keeping: Keeping,
    now: datetime,
    *,
    damaged: Collection[str] = (),
    frozen: str | None = None,
    doubt: str | None = None,
) -> Plan:
    """Which snapshots of a source stay, and why.

    Args:
        source: Its name.
        receipts: All of it; only admitted and imported ones count, whatever else there is.
        keeping: Its rules.
        now: Our clock.
        damaged: Snapshots that cannot be restored whole: they take no place on the floor.
        frozen: Why nothing may be removed now, as `holds` says it.
        doubt: What a person should look at first, as `holds` says it.
    """
    known = sorted(
        (each for each in receipts if each.state in COUNTED), key=lambda each: (each.time, each.id)
    )
    held: dict[str, list[str]] = {each.id: [PINNED] if each.pinned else [] for each in known}
    there = [each for each in reversed(known) if each.time <= now]
    for each in known:
        if each.time > now:
            held[each.id].append(AHEAD)
    if keeping.keep:
        good = {each.id for each in there if each.outcome is Outcome.OK and each.id not in damaged}
        _apply(there, good, keeping, held)
    else:
        for each in there:
            held[each.id].append(EVERYTHING)
    verdicts = tuple(Verdict(each.id, each.time, tuple(held[each.id])) for each in known)
    going = sum(not each.kept_by for each in verdicts)
    if going > max(ALWAYS, len(known) * keeping.max_forget // 100):
        doubt = f"{going} of {len(known)} snapshots would go at once, more than max_forget ({keeping.max_forget}%)"
    return Plan(source, verdicts, frozen, doubt)


def _apply(
    newest_first: Sequence[Receipt], good: set[str], keeping: Keeping, held: dict[str, list[str]]
) -> None:
    """Add to `held` what each rule holds."""
    zone = ZoneInfo(keeping.timezone)
    for rule in ("last", *BUCKETS, "within"):
        limit = keeping.keep.get(rule)
        if isinstance(limit, str):
            found = _within(newest_first, good, limit)
        elif limit is not None and rule == "last":
            found = [each.id for each in newest_first[:limit]]
        elif limit is not None:
            found = _newest_of_each(newest_first, good, rule, limit, zone)
        else:
            continue
        for snapshot in found:
            held[snapshot].append(rule)
    for snapshot in _floor(newest_first, good, keeping.keep_least):
        held[snapshot].append(FLOOR)


def _newest_of_each(
    newest_first: Sequence[Receipt], good: set[str], rule: str, limit: int, zone: tzinfo
) -> list[str]:
    """Of each of the newest `limit` hours, days …: the newest good snapshot, or the newest where none is good."""
    chosen: dict[object, str] = {}
    for each in newest_first:
        key = bucket(rule, each.time, zone)
        if key not in chosen and len(chosen) == limit:
            break
        if key not in chosen or (chosen[key] not in good and each.id in good):
            chosen[key] = each.id
    return list(chosen.values())


def _within(newest_first: Sequence[Receipt], good: set[str], span: str) -> list[str]:
    newest = next(
        (each for each in newest_first if each.id in good), newest_first[0] if newest_first else None
    )
    since = back(newest.time, span) if newest else None
    return [each.id for each in newest_first if since is not None and each.time >= since]


def _floor(newest_first: Sequence[Receipt], good: set[str], least: int) -> list[str]:
    """The newest good ones, and where these are fewer, the newest others as well."""
    ranked = sorted(newest_first, key=lambda each: each.id not in good)
    return [each.id for each in ranked[:least]]

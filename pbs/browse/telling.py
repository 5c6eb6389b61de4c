"""What was looked for as JSON: the one place where the fields of searches, versions and differences are spelled. Pure."""

from __future__ import annotations

from typing import Any

from pbs.browse.comparing import Became, Differences
from pbs.browse.history import Versions
from pbs.browse.searching import Found
from pbs.clock import stamp
from pbs.model import Receipt
from pbs.views import entry_view


def found_view(found: Found) -> dict[str, Any]:
    """A search. `exact` is false where bytes of a path are lost in its text: its folder tells them."""
    return {
        "matches": [
            {
                **entry_view(each.entry),
                "exact": each.exact,
                "snapshot": each.newest.id,
                "time": stamp(each.newest.time),
                "snapshots": each.snapshots,
            }
            for each in found.matches
        ],
        "cut": found.cut,
        **_span(found.looked, found.next),
    }


def versions_view(found: Versions) -> dict[str, Any]:
    """The versions of a path, each with the snapshots that hold it, newest first."""
    return {
        "versions": [
            {**entry_view(each.entry), "snapshots": [_when(receipt) for receipt in each.receipts]}
            for each in found.versions
        ],
        "without": [_when(receipt) for receipt in found.without],
        **_span(found.looked, found.next),
    }


def differences_view(found: Differences, after: int = 0) -> dict[str, Any]:
    """Two snapshots compared; `next` is where to go on with the list, null at its end."""
    end = after + len(found.changes)
    total = sum(found.counts.values())
    return {
        "older": _when(found.older),
        "newer": _when(found.newer),
        "changes": [
            {
                "change": became.value,
                "path": change.entry.path,
                "exact": change.exact,
                "folder": change.entry.type == "dir",
            }
            for became, change in found.changes
        ],
        "counts": {became.value: found.counts.get(became, 0) for became in Became},
        "added_bytes": found.added_bytes,
        "removed_bytes": found.removed_bytes,
        "whole": found.whole,
        "next": end if found.changes and end < total else None,
    }


def _when(receipt: Receipt) -> dict[str, Any]:
    return {"id": receipt.id, "time": stamp(receipt.time)}


def _span(looked: tuple[Receipt, ...], following: str | None) -> dict[str, Any]:
    """How far it came: how many snapshots, the time of the oldest, and where to go on."""
    return {
        "looked": len(looked),
        "oldest": stamp(looked[-1].time) if looked else None,
        "next": following,
    }

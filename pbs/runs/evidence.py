"""What the log of a run says of a snapshot that was admitted: enough to write its receipt again should the ledger be lost.

Pure: facts to values and back. Lines of a log are taken as damaged or foreign until they prove otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pbs.clock import parse_stamp, stamp
from pbs.model import SNAPSHOT_ID, Outcome, Receipt, ReceiptState, RootMeta, Verified

_COUNTS = ("files", "bytes", "added_bytes")


def admitted_facts(receipt: Receipt) -> dict[str, Any]:
    """The fields of an `admitted` line."""
    return {
        "snapshot": receipt.id,
        "received": stamp(receipt.received),
        "dated": stamp(receipt.time),
        "claimed": stamp(receipt.claimed),
        "state": receipt.state.value,
        "outcome": receipt.outcome.value,
        "verified": receipt.verified.value,
        "paths": list(receipt.paths),
        **{name: getattr(receipt, name) for name in _COUNTS},
        "root": asdict(receipt.root) if receipt.root else None,
    }


def admitted_receipt(line: Mapping[str, Any], source: str, run: str) -> Receipt | None:
    """The receipt that an `admitted` line was written of; None where it makes no sense."""
    try:
        root = line["root"]
        if SNAPSHOT_ID.fullmatch(line["snapshot"]) is None:
            return None
        return Receipt(
            id=line["snapshot"],
            source=source,
            run=run,
            received=parse_stamp(line["received"]),
            time=parse_stamp(line["dated"]),
            claimed=moment(line["claimed"]),
            state=ReceiptState(line["state"]),
            outcome=Outcome(line["outcome"]),
            verified=Verified(line["verified"]),
            paths=tuple(str(path) for path in line["paths"]),
            root=RootMeta(**{name: int(value) for name, value in root.items()}) if root else None,
            files=_count(line["files"]),
            bytes=_count(line["bytes"]),
            added_bytes=_count(line["added_bytes"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def moment(text: object) -> datetime | None:
    """The time that a field names; None where it names none."""
    try:
        return parse_stamp(text) if isinstance(text, str) else None
    except ValueError:
        return None

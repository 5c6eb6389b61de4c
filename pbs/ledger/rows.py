"""Rows to nouns and back. Pure: it never asks the database anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from pbs.model import (
    Cause,
    Kind,
    Outcome,
    Receipt,
    ReceiptState,
    Repository,
    RootMeta,
    Run,
    RunState,
    Verified,
)

AT_ONCE = 5000


# In their order: a look at a thousand sources makes thousands of runs, and asks each row once.
_of_run = attrgetter(*(each.name for each in fields(Run)))


def run(row: Row[Any]) -> Run:
    """A run as its row tells it."""
    name, source, kind, cause, state, queued, outcome, *rest = _of_run(row)
    ended = Outcome(outcome) if outcome else None
    return Run(name, source, Kind(kind), Cause(cause), RunState(state), queued, ended, *rest)


def run_values(value: Run) -> dict[str, Any]:
    """The columns of a run."""
    return {each.name: getattr(value, each.name) for each in fields(Run)}


def receipt(row: Row[Any], source: str) -> Receipt:
    """A receipt as its row tells it."""
    return Receipt(
        id=row.reference,
        source=source,
        run=row.run,
        received=row.received,
        time=row.time,
        claimed=row.claimed,
        state=ReceiptState(row.state),
        outcome=Outcome(row.outcome),
        verified=Verified(row.verified),
        paths=tuple(json.loads(row.paths)),
        files=row.files,
        bytes=row.bytes,
        added_bytes=row.added_bytes,
        root=RootMeta(**json.loads(row.root)) if row.root else None,
        pinned=row.pinned,
        reason=row.reason,
        note=row.note,
        leaving=row.leaving,
        tree=row.tree,
    )


def receipt_values(value: Receipt, repository: str) -> dict[str, Any]:
    """The columns of a receipt."""
    plain = {
        each.name: getattr(value, each.name) for each in fields(Receipt) if each.name not in {"id", "source"}
    }
    return plain | {
        "repository": repository,
        "reference": value.id,
        "paths": json.dumps(value.paths),
        "root": json.dumps(asdict(value.root)) if value.root else None,
    }


def repository(row: Row[Any]) -> Repository:
    """A repository as its row (joined with its source's name) tells it."""
    return Repository(id=row.id, source=row.name, path=row.path, key=row.key)


def parts(values: Iterable[Any]) -> Iterator[list[Any]]:
    """These values in parts that one statement takes."""
    everything = list(values)
    for begin in range(0, len(everything), AT_ONCE):
        yield everything[begin : begin + AT_ONCE]

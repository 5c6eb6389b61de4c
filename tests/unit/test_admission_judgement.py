"""Whether a snapshot is the one that a run was to make, and what is known of a tree that was admitted before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pbs.admission.judgement import counted, fits
from pbs.model import Outcome, Receipt, ReceiptState, Snapshot, Verified

NOW = datetime(2026, 5, 1, tzinfo=UTC)
TAGS = ("source=web", "run=r1")
RIGHT = Snapshot("a" * 64, NOW, "web", ("/",), TAGS, tree="b" * 64)
RECEIPT = Receipt(
    "a" * 64, "web", "r1", NOW, NOW, NOW, ReceiptState.ADMITTED, Outcome.OK,
    files=3, bytes=9, tree="b" * 64, verified=Verified.FULL,
)  # fmt: skip


def test_the_right_one_fits() -> None:
    """This host, these tags in any order, an import's own one where it is an import."""
    assert fits(RIGHT, "web", "r1") is None
    assert fits(replace(RIGHT, tags=TAGS[::-1]), "web", "r1") is None
    assert fits(replace(RIGHT, tags=(*TAGS, "legacy")), "web", "r1", frozenset({"legacy"})) is None


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"host": "db"}, "of the host 'db'"),
        ({"tags": TAGS[:1]}, "lacks the tag 'run=r1'"),
        ({"tags": ("source=web", "run=r0")}, "lacks the tag 'run=r1'"),
        ({"tags": ("source=db", "run=r1")}, "lacks the tag 'source=web'"),
        ({"tags": (*TAGS, "legacy")}, "has the tag 'legacy'"),
        ({"paths": ()}, "does not say what was backed up"),
        ({"tree": None}, "names no tree"),
    ],
)
def test_another_one_does_not(other: dict[str, Any], why: str) -> None:
    """T5, T21: another host, run or source, a tag that nobody asked for, no paths, no tree."""
    assert why in (fits(replace(RIGHT, **other), "web", "r1") or "")


@pytest.mark.parametrize(
    "other",
    [{"tree": None}, {"tree": "c" * 64}, {"files": None}, {"bytes": None}, {"verified": Verified.NONE}],
)
def test_only_what_was_counted_here_is_known(other: dict[str, Any]) -> None:
    """T6: a tree that was never looked through, or of which nobody counted what it holds, is looked through."""
    found = counted(RECEIPT, "b" * 64)
    assert found is not None
    assert (3, 9) == (found.files, found.bytes)
    assert counted(replace(RECEIPT, **other), "b" * 64) is None
    assert counted(RECEIPT, None) is None

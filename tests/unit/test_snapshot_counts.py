"""How many snapshots of a source can be restored, kept beside its repository: whatever comes and goes, it is what counting gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_workers import write_older

from pbs.errors import LedgerError
from pbs.ledger import Ledger, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import Outcome, Receipt, ReceiptState, Repository

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCES = {"web": "f" * 64, "mail": "e" * 64}
NUMBERS = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("recorded"), NUMBERS, st.sampled_from(ReceiptState)),
    st.tuples(st.just("admitted"), NUMBERS, st.sampled_from(ReceiptState)),
    st.tuples(st.just("leaving"), st.sets(NUMBERS, min_size=1)),
    st.tuples(st.just("settled"), st.sets(NUMBERS)),
    st.tuples(st.just("missing"), st.sets(NUMBERS)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger may lie."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Two sources, each with its repository."""
    upgrade(path, path.with_name("lock"))
    with closing(open_ledger(path)) as opened:
        for name, known in SOURCES.items():
            opened.add_source(name, NOW)
            opened.add_repository(Repository(known, name, f"srv/{name}.restic", None), NOW)
            opened.manifests.begin(known, "c" * 64, "made", {})
        yield opened


def identity(number: int) -> str:
    """The id of a snapshot."""
    return f"{number:064x}"


def receipt(name: str, number: int, state: ReceiptState) -> Receipt:
    """What there is of a snapshot."""
    moment = NOW + timedelta(minutes=number)
    return Receipt(identity(number), name, "r", moment, moment, None, state, Outcome.OK)


def play(ledger: Ledger, name: str, word: str, what: object, *more: ReceiptState) -> None:
    """One thing that happens to the snapshots of a source."""
    if isinstance(what, int):
        value = receipt(name, what, more[0])
        if word == "recorded":
            ledger.add_receipt(value)
        else:
            ledger.manifests.add_snapshot(value, SOURCES[name], 100)
        return
    assert isinstance(what, set)
    ids = [identity(number) for number in sorted(what)]
    if word == "leaving":
        try:
            ledger.custody.intend(name, ids, "forgets")
        except LedgerError:
            return  # one of them is not there: nothing was written
    elif word == "settled":
        ledger.custody.settle(name, ids, NOW)
    else:
        ledger.upkeep.forget_missing(name, ids, "nobody has it")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(list(SOURCES)), STEPS), max_size=12))
def test_the_number_is_what_counting_gives(
    ledger: Ledger, steps: list[tuple[str, tuple[str, object]]]
) -> None:
    """After everything that adds a snapshot, forgets it, is about to, or finds it gone: for lists, promises and figures."""
    for name, step in steps:
        play(ledger, name, *step)
        counted = {name: len(ledger.usable(name)) for name in SOURCES}
        assert {name: number for name, number in counted.items() if number} == ledger.overview.counts(SOURCES)
        assert counted == {each.name: each.snapshots for each in ledger.vitals.of_all()}


def test_a_ledger_that_kept_no_numbers_counts_once(path: Path) -> None:
    """An upgrade counts what is there: admitted and imported, not what was forgotten or is about to be."""
    moment = "2026-01-01T00:00:00.000000Z"
    states = [
        ("admitted", None),
        ("legacy", None),
        ("admitted", "r"),
        ("forgotten", None),
        ("quarantined", None),
    ]
    columns = "repository, reference, run, received, time, state, outcome, verified, paths, pinned, leaving"
    values = f"'k', ?, 'r', '{moment}', '{moment}', ?, 'ok', 'full', '[]', 0, ?"
    receipts = [(identity(number), *each) for number, each in enumerate(states)]
    known = "INSERT INTO repository (id, source, engine, path, created) VALUES ('k', 'u', 'restic', 'web.restic', ?)"
    write_older(
        path,
        "0008",
        ("INSERT INTO source (uid, name, server, added) VALUES ('u', 'web', 's', ?)", (moment,)),
        (known, (moment,)),
        *((f"INSERT INTO receipt ({columns}) VALUES ({values})", each) for each in receipts),
    )
    assert upgrade(path, path.with_name("lock"))
    with closing(open_ledger(path)) as ledger:
        assert {"web": 2} == ledger.overview.counts(["web"])

"""Tripwires: what trips, what does not, and that what is usual for a source never does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.admission.tripwires import Measured, remembered, to_remember, tripped
from pbs.model import Tripwires

MB = 1_000_000
WIRES = Tripwires()
# An office: a thousand files, some of them changed in each run; text and tables that pack well.
FIRST = Measured(bytes=900 * MB, new=900 * MB, packed=400 * MB)
DAY = Measured(files=1000, changed=40, vanished=5, bytes=900 * MB, new=30 * MB, packed=12 * MB, dense=3 * MB)
OFFICE = [DAY, DAY, DAY, FIRST]
counts = st.integers(0, 1 << 40)
runs = st.builds(Measured, counts, counts, counts, counts, counts, counts, counts)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (replace(DAY, changed=500), "500 of 1000 files have other content"),
        (replace(DAY, vanished=500), "500 of 1000 files are gone"),
        (replace(DAY, changed=150, new=100 * MB, packed=100 * MB), "it packs to 100% of its size"),
        (replace(DAY, changed=1, new=800 * MB, packed=780 * MB), "what this source sends usually to 40%"),
        (
            replace(DAY, changed=150, new=900 * MB, packed=100 * MB, dense=99 * MB),
            "99% of it does not pack, what this source sends usually 25%",
        ),
    ],
    ids=["changed", "vanished", "encrypted files", "an encrypted disk image", "encrypted files among zeros"],
)
def test_the_work_of_an_intruder_trips(now: Measured, words: str) -> None:
    """T29: half of the files changed or gone, or what replaced them packs no more."""
    assert any(words in each for each in tripped(WIRES, now, OFFICE)), tripped(WIRES, now, OFFICE)


@pytest.mark.parametrize(
    "now",
    [
        DAY,
        replace(DAY, changed=499, vanished=499, new=500 * MB, packed=200 * MB),
        replace(DAY, new=200 * MB, packed=199 * MB),
        replace(DAY, changed=900, files=99),
        replace(DAY, changed=400, new=9 * MB, packed=9 * MB),
    ],
    ids=["a day", "a busy day", "photographs beside it", "few files", "few bytes"],
)
def test_an_honest_run_does_not(now: Measured) -> None:
    """Large changes below the thresholds, new data that cannot pack, small sources: nothing trips."""
    assert tripped(WIRES, now, OFFICE) == []


def test_slow_work_of_an_intruder_trips() -> None:
    """T29: a twentieth in each run, always below every threshold, is noticed by the eighth; photographs each hour are not."""
    slow = replace(DAY, changed=50, new=2 * MB, packed=2 * MB, dense=2 * MB)
    office = [DAY] * 12
    said = [tripped(WIRES, slow, [slow] * number + office) for number in range(9)]
    assert [not each for each in said] == [True] * 7 + [False] * 2
    assert (
        "in 8 of the last 10 hardly anything packs, and 530 files have other content or are gone"
        in said[7][0]
    )
    camera = replace(slow, changed=1, vanished=0)
    assert not any(tripped(WIRES, camera, [camera] * number + office) for number in range(12))
    assert not any(tripped(WIRES, slow, [slow] * number) for number in range(40))


def test_the_first_run_trips_nothing() -> None:
    """All of it is new, and nothing is known of what is usual."""
    assert tripped(replace(WIRES, new=1), replace(FIRST, packed=FIRST.new), []) == []


def test_what_happens_every_time_is_usual() -> None:
    """A source that is rewritten in each run trips in the first of them only; when it stops and begins again, once more."""
    rewritten = replace(DAY, changed=1000)
    assert tripped(WIRES, rewritten, [FIRST]) == ["1000 of 1000 files have other content"]
    assert tripped(WIRES, rewritten, [rewritten, FIRST]) == []
    assert tripped(WIRES, rewritten, [rewritten, DAY, FIRST]) != []
    packed = replace(DAY, changed=1000, new=900 * MB, packed=899 * MB)
    assert tripped(replace(WIRES, changed=None), packed, [replace(FIRST, packed=FIRST.new)]) == []


def test_a_wire_can_be_cut() -> None:
    """`off` is never."""
    all_off = Tripwires(changed=None, vanished=None, new=None, encrypted=None)
    assert tripped(all_off, Measured(1000, 1000, 1000, 900 * MB, 900 * MB, 900 * MB), OFFICE) == []
    assert tripped(replace(all_off, new=75), replace(DAY, new=700 * MB), OFFICE) == [
        "700.0 MB of 900.0 MB were never there before"
    ]


@given(runs, st.lists(runs, max_size=12))
def test_whatever_was_counted_it_can_be_judged_and_remembered(now: Measured, before: list[Measured]) -> None:
    """No numbers break it, and what is written down of a run comes back."""
    tripped(WIRES, now, before)
    assert remembered(to_remember(now)) == now
    assert remembered({}) == Measured()

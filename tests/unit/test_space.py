"""Room on a disk: what is kept of it, and when it will be full, as far as anybody can know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.space import Growth, Space, days_to_full, kept_free, shortage, together

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_reserve_is_bytes_or_a_share() -> None:
    """The larger of both counts; none is none, whatever is free."""
    assert 10 == kept_free((0, 1), Space(1000, 0))
    assert 500 == kept_free((500, 0), Space(1000, 0))
    assert shortage((0, 0), Space(1000, 0, 10, 0)) is None
    assert shortage((0, 10), Space(1000, 100)) is None
    assert "`reserve` keeps 100 B" in (shortage((0, 10), Space(1000, 99)) or "")
    assert shortage((0, 10), Space(1000, 50), 0.5) is None


def test_a_file_system_that_takes_no_more_files_is_full() -> None:
    """Names run out before bytes do; where a file system names no number of them, only bytes count."""
    assert "nearly as many files as it can (9 more)" in (shortage((1, 0), Space(1000, 900, 1000, 9)) or "")
    assert shortage((1, 0), Space(1000, 900, 1000, 10)) is None
    assert shortage((1, 0), Space(1000, 900, 0, 0)) is None


@pytest.mark.parametrize(
    ("runs", "days", "per_day"), [(3, 2, 500), (300, 10, 100), (2, 30, None), (50, 1.9, None), (0, 0, None)]
)
def test_too_little_history_says_nothing(runs: int, days: float, per_day: int | None) -> None:
    """A handful of runs, or a day of them, is no growth that could be told."""
    assert per_day == Growth(NOW - timedelta(days=days), runs, 1000).per_day(NOW)


def test_when_it_is_full() -> None:
    """Now, in some days, or nobody knows: unknown growth, none, a shrinking one, and what nobody will live to see."""
    assert 10 == days_to_full(1000, 100)
    assert 0 == days_to_full(-5, 100)
    assert 0 == days_to_full(0, None)
    for per_day in (None, 0, -100, 1):
        assert days_to_full(10_000, per_day) is None
    assert 7 == together([None, 3, 4])
    assert together([None]) is None


@given(st.integers(-(1 << 60), 1 << 60), st.none() | st.integers(-(1 << 60), 1 << 60))
def test_no_numbers_break_it(left: int, per_day: int | None) -> None:
    """Whatever is left and however it grows, the answer is a small number of days, or none."""
    found = days_to_full(left, per_day)
    assert found is None or 0 <= found <= 3650

"""The catalogue and its page say the same, and a play can be asked for again by its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from catalogue import FAULTS, matrix, named, usual

PAGE = Path(__file__).parents[2] / "docs/faults.md"


def rows() -> dict[str, str]:
    """The table of the page: number → the plays that it names."""
    found = re.findall(r"^\| (F[F\d, ]+) \|.*\| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return dict(found)


def test_the_page_names_every_fault_beside_its_numbers() -> None:
    """Who reads the page finds each fault that is played, and nothing that is not."""
    played = {(number, name) for name, fault in FAULTS.items() for number in fault.numbers}
    told = {
        (number, name)
        for numbers, plays in rows().items()
        for number in numbers.split(", ")
        for name in re.findall(r"`([a-z-]+)`", plays)
    }
    assert played == told


def test_every_fault_has_its_turn_in_the_tests() -> None:
    """Each is played at least once, at a place of the matrix, and is found again by name."""
    places = {move.name for move in matrix()}
    for name, fault in FAULTS.items():
        assert usual([fault]), name
        assert {move.name for move in usual([fault])} <= places
    assert {named(place).name for place in places} == places
    assert named("kill-worker/changed/backup#3").round == 3
    with pytest.raises(ValueError, match="no play"):
        named("kill-worker/changed/nowhere")

"""CI plays each fault of `disks` once; `scripts/chaos` plays them everywhere."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any

import disks
import pytest
from catalogue import Move, usual
from scenes import play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("move", usual(disks.FAULTS), ids=lambda move: move.name)
def test_survived(grounds: Any, move: Move) -> None:
    """Whatever strikes: every run has an outcome, nothing admitted is lost, nothing is left, the next run is ok."""
    with ExitStack() as stack:
        play(grounds.on(move.fault.ground, stack), move.fault, move.place, random.Random(move.name))

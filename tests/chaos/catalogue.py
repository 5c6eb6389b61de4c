"""Every fault that is played, by name. It plays none itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import clocks
import disks
import kills
import lines
import pairs
from scenes import Fault

FAULTS: dict[str, Fault] = {
    fault.name: fault for room in (kills, disks, lines, clocks, pairs) for fault in room.FAULTS
}


@dataclass(frozen=True)
class Move:
    """One play of the matrix: which fault, on which kind of run, at which stage, in which round."""

    fault: Fault
    place: str
    round: int = 1

    @property
    def name(self) -> str:
        """How it is asked for again."""
        return f"{self.fault.name}/{self.place}" + (f"#{self.round}" if self.round > 1 else "")


def usual(faults: Iterable[Fault]) -> list[Move]:
    """Each fault once, where it hurts most."""
    return [Move(fault, place) for fault in faults for place in fault.usual]


def matrix(number: int = 1) -> list[Move]:
    """Everything at every place."""
    return [Move(fault, place, number) for fault in FAULTS.values() for place in fault.places()]


def named(name: str) -> Move:
    """The play of this name.

    Raises:
        ValueError: there is none.
    """
    place, _, number = name.partition("#")
    fault, _, where = place.partition("/")
    if fault not in FAULTS or where not in FAULTS[fault].places():
        raise ValueError(f"there is no play {name}; --list shows all")
    return Move(FAULTS[fault], where, int(number or 1))

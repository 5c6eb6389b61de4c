"""What a promise is: a named check of health, kept or not, since when, why, and what to do. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """How a promise stands; the later, the worse."""

    KEPT = "kept"
    WARNING = "warning"
    BROKEN = "broken"


RANK = {State.KEPT: 0, State.WARNING: 1, State.BROKEN: 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one promise stands, in a sentence, and what to do about it."""

    state: State
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise of a source, or of the server (`source` is None). `since` is when it came to stand so."""

    name: str
    source: str | None
    state: State
    since: datetime
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """All promises as of one moment: those of the server first, then by source."""

    looked: datetime
    promises: tuple[Promise, ...]

    @property
    def state(self) -> State:
        """The worst of all."""
        return worst(each.state for each in self.promises)

    def of(self, source: str | None) -> tuple[Promise, ...]:
        """The promises of one source, or of the server."""
        return tuple(each for each in self.promises if each.source == source)

    def broken(self) -> dict[str, int]:
        """How many promises of each source are broken; 0 where all are kept."""
        count: dict[str, int] = {}
        for each in self.promises:
            if each.source is not None:
                count[each.source] = count.get(each.source, 0) + (each.state is State.BROKEN)
        return count


def worst(states: Iterable[State]) -> State:
    """The worst of these; none at all is as bad as can be: nobody looked."""
    return max(states, key=RANK.__getitem__, default=State.BROKEN)


def in_words(count: Mapping[State, int]) -> tuple[str, str]:
    """Is all well? In a few words, and how many promises are not kept."""
    hard, soft = count[State.BROKEN], count[State.WARNING]
    parts = [f"{hard} promise{'' if hard == 1 else 's'} broken"] if hard else []
    parts += [f"{soft} warning{'' if soft == 1 else 's'}"] if soft else []
    if not parts:
        return "All is well", f"all {count[State.KEPT]} promises are kept"
    return "Not all is well" if hard else "Nothing is broken", ", ".join(parts)


def worst_first(promises: Iterable[Promise]) -> list[Promise]:
    """In the order in which a person wants to read them."""
    return sorted(promises, key=lambda each: (-RANK[each.state], each.source or "", each.name))


def kept(reason: str) -> Verdict:
    """All is well."""
    return Verdict(State.KEPT, reason)


def warning(reason: str, hint: str) -> Verdict:
    """Somebody should look when there is time."""
    return Verdict(State.WARNING, reason, hint)


def broken(reason: str, hint: str) -> Verdict:
    """Somebody must act."""
    return Verdict(State.BROKEN, reason, hint)

"""Fixtures of the faults."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scenarios"))
sys.path.insert(0, str(Path(__file__).parent))
from aftermath import Stand
from scenes import Ground, plain


class Grounds:
    """The plain ground is shared, so that what one fault leaves behind troubles the next; others are made for one play."""

    def __init__(self) -> None:
        self._shared = ExitStack()
        self._plain: Stand | None = None

    def on(self, ground: Ground, stack: ExitStack) -> Stand:
        """A stand of this kind; what is not shared ends with the stack."""
        if ground is not plain:
            return stack.enter_context(ground())
        if self._plain is None:
            self._plain = self._shared.enter_context(ground())
        return self._plain

    def close(self) -> None:
        """Leave nothing behind."""
        self._shared.close()


@pytest.fixture(scope="module")
def grounds() -> Iterator[Grounds]:
    """Where faults are played."""
    made = Grounds()
    yield made
    made.close()

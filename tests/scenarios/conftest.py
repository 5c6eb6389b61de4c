"""Fixtures of the scenarios."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from shared import fresh, home_in_service
from stage import Pbs, SourceHost, grow, processes, short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder; nothing that was started with it may outlive the test."""
    with short_folder() as path:
        yield path
        left = processes(str(path))
        assert not left, f"left behind: {left}"


@pytest.fixture
def source(folder: Path) -> Iterator[SourceHost]:
    """A source with a small awkward tree and a running sshd."""
    host = SourceHost(folder / "src")
    grow(host.data)
    host.start()
    yield host
    host.stop()


@pytest.fixture
def pbs(folder: Path) -> Iterator[Pbs]:
    """A home that is not served yet."""
    server = Pbs(folder)
    yield server
    server.stop()


@pytest.fixture
def served(pbs: Pbs, source: SourceHost) -> Pbs:
    """A served home with the source `web`."""
    pbs.start()
    pbs.add("web", source)
    return pbs


@pytest.fixture(scope="module")
def home() -> Iterator[Pbs]:
    """One served home for the tests of a module, each of which spoils only a source of its own."""
    with home_in_service() as server:
        yield server


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return fresh("web")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The browser of a module's tests."""
    from visitor import chromium

    with chromium() as made:
        yield made

"""The lock files pin everything that is installed, by version and by hash, and name no address."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN, DEV = "requirements.lock", "requirements-dev.lock"


def pins(lock: str) -> dict[str, str]:
    """Each package of a lock file with its version."""
    lines = (ROOT / lock).read_text().splitlines()
    return dict(re.split(r"==|[ ;]", line)[:2] for line in lines if re.match(r"[a-z0-9]", line))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("lock", [RUN, DEV])
def test_every_package_has_a_hash(lock: str) -> None:
    """No package of a lock file can be replaced on its way here."""
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text())[1:]
    assert len(pins(lock)) == len(blocks)
    assert [block for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


@pytest.mark.parametrize("lock", [RUN, DEV])
def test_no_address_stands_in_a_lock_file(lock: str) -> None:
    """Where packages come from is the machine's choice."""
    assert "://" not in (ROOT / lock).read_text()


def test_the_tests_run_on_the_versions_that_are_installed() -> None:
    """The lock for development holds every package of the other one, in the same version."""
    assert pins(RUN).items() <= pins(DEV).items()


def test_the_locks_know_every_requirement() -> None:
    """A requirement added to pyproject.toml is in the locks too."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    run = (
        project["dependencies"]
        + project["optional-dependencies"]["fast"]
        + settings["build-system"]["requires"]
    )
    assert set() == names(run) - pins(RUN).keys()
    assert set() == names(settings["dependency-groups"]["dev"]) - pins(DEV).keys()

"""The programs of bench/ start: nothing else runs them, so nothing else would say that they do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["pull", "fleet", "console"])
def test_it_says_what_it_takes(name: str) -> None:
    """Everything that it needs of the product is where it looks for it."""
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "bench" / f"{name}.py"), "--help"],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(ROOT / "bench"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert "usage" in done.stdout

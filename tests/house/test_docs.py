"""The documentation is a part of the product: every verb, field, room and word stands in it, and its copies are fresh."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pbs.cli.reference import verbs
from pbs.config import schema

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"


def test_generated_parts_are_fresh() -> None:
    """What the docs quote from the code is what the code says now."""
    done = subprocess.run(
        [sys.executable, TOP / "scripts/docs", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_verb_is_documented() -> None:
    """Every verb stands in the page of commands."""
    page = (DOCS / "commands.md").read_text()
    assert [verb for verb in verbs() if f"### pbs {verb}\n" not in page] == []


def test_every_field_is_documented() -> None:
    """Every field of pbs.toml stands in the page of the configuration."""
    page = (DOCS / "configuration.md").read_text()
    definitions = schema()["$defs"].values()
    fields = {name for each in definitions for name in each.get("properties", {})}
    assert len(fields) > 20
    assert sorted(name for name in fields if not re.search(rf"[`.]{name}[`.]", page)) == []


def test_every_room_is_on_the_map() -> None:
    """Every module and package of the controller is named in the map of the architecture page."""
    page = (DOCS / "architecture.md").read_text()
    rooms = {
        path.stem
        for path in (TOP / "pbs").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(room for room in rooms - {"__init__"} if f"`{room}`" not in page) == []


def test_links_lead_somewhere() -> None:
    """Every relative link of every page leads to a file."""
    broken = [
        (page.name, target)
        for page in [*DOCS.glob("*.md"), TOP / "README.md", TOP / "CONTRIBUTING.md"]
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_dependency_says_what_it_is_for() -> None:
    """Each library that operators must pin stands with its reason in the architecture page."""
    text = (TOP / "pyproject.toml").read_text()
    block = text.partition("dependencies = [")[2].partition("]\n")[0]
    names = re.findall(r'"([a-z0-9-]+)', block)
    page = (DOCS / "architecture.md").read_text()
    assert len(names) > 8
    assert [name for name in names if f"| {name} |" not in page] == []


NAMED = re.compile(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`")


def test_every_test_that_the_threat_model_names_exists() -> None:
    """An auditor finds each test that stands behind a line of the threat model; no line of its tables stands alone."""
    page = (DOCS / "threat-model.md").read_text()
    named = NAMED.findall(page)
    assert len(named) > 40
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (TOP / path).exists()
        or not re.search(rf"^(async )?def {name}\(", (TOP / path).read_text(), re.MULTILINE)
    ]
    assert missing == []
    rows = [line for line in page.splitlines() if re.match(r"\| (T\d|\| )", line)]
    assert len(rows) > 25
    assert [row for row in rows if not NAMED.search(row)] == []
    # Every attack of the table that all of this began with.
    told = {int(number) for row in rows for number in re.findall(r"\bT(\d+)\b", row.split("|")[1])}
    assert told == set(range(1, 32))

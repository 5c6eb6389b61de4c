"""A legacy import that is cancelled: it is done again by itself, once, and the old tree is never touched."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import here
from stage import eventually

from pbs.model import Kind, Outcome
from pbs.restore import compare

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture
def place() -> Iterator[Stand]:
    """A served home with a source that was backed up by rdiff-backup until now: enough for some seconds."""
    with stand() as made:
        random_file(made.source.data / "big", 48 << 20)
        tree = made.home.legacy("web")
        subprocess.run(
            ["rdiff-backup", "--api-version", "201", "--current-time", str(int(time.time()) - 86400), "backup",
             made.source.data, tree],
            check=True, capture_output=True,
        )  # fmt: skip
        subprocess.run(["cp", "-a", tree, made.folder / "tree"], check=True)
        # Not of the source: rdiff-backup keeps whole seconds.
        subprocess.run(["cp", "-a", tree, made.folder / "old"], check=True)
        shutil.rmtree(made.folder / "old/rdiff-backup-data")
        (made.source.data / "new").write_text("new")
        made.pbs.start()
        made.pbs.add("web", made.source)
        yield made
        assert not compare(made.folder / "tree", tree)


def importing(place: Stand) -> bool:
    """Whether the import has written something, and goes on."""
    return bool(place.pids("import")) and any((place.pbs.repository() / "data").glob("*/*"))


def imported_once(place: Stand, old: Path) -> None:
    """There is one imported snapshot; it holds the old state, and a live one is newer."""
    states = place.receipts()
    (legacy,) = [snapshot for snapshot, state in states.items() if state == "legacy"]
    place.restores(legacy, old)
    place.restores("latest", place.source.data)
    assert list(states.values()).count("admitted") >= 1
    imports = [run for run in place.runs() if run.kind is Kind.MIGRATE]
    assert [Outcome.OK] == [run.outcome for run in imports if run.outcome in (Outcome.OK, Outcome.PARTIAL)]


def test_an_import_is_cancelled(place: Stand) -> None:
    """Cancelling the pull ends the import before it as well; cancelling the import alone lets the pull go on."""
    with place.pulling() as (process, pull):
        eventually(lambda: importing(place), PATIENCE, "the import")
        since = time.monotonic()
        assert here(place.pbs, "cancel", pull.id)[0] == 0
        assert time.monotonic() - since < 15
        assert process.wait(PATIENCE) == 5
    assert place.pids("import") == []
    assert {Outcome.CANCELLED} == {run.outcome for run in place.runs()}
    assert len(place.runs()) == 2
    with place.pulling() as (process, _):
        eventually(lambda: bool(place.pids("import")), PATIENCE, "the import")
        migrate = next(run for run in place.runs() if run.kind is Kind.MIGRATE)
        assert here(place.pbs, "cancel", migrate.id)[0] == 0
        assert process.wait(PATIENCE) == 0
    assert place.run(migrate.id).outcome is Outcome.CANCELLED
    assert "legacy" not in place.receipts().values()
    place.next_pull()
    imported_once(place, place.folder / "old")
    place.nothing_left()
    place.whole()

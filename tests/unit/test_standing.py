"""Where sources stand: what is asked of all of them at once says the same as what is worked out for one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pbs.ledger import Ledger, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import Address, Cause, Damage, DamageState, Ending, Kind, Outcome, Repository, Source
from pbs.retention import all_frozen, facts_of, frozen, oldest_unread
from pbs.retention.upkeep import FOLDERS
from pbs.standing import source_views

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = ("new", "read")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Two sources with a repository each, and one without."""
    upgrade(tmp_path / "ledger", tmp_path / "lock")
    found = open_ledger(tmp_path / "ledger", lasting=True)
    for number, name in enumerate((*NAMES, "bare")):
        found.add_source(name, NOW)
        if name in NAMES:
            found.add_repository(Repository(f"{number:064x}", name, f"{name}.restic", f"{number:064x}"), NOW)
    yield found
    found.close()


def views(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Each source as it is told."""
    sources = {name: Source(name, Address(name, 22, "backup", "", "")) for name in (*NAMES, "bare")}
    nobody: dict[str, Any] = {}
    told = source_views(ledger, sources, sources, nobody.get, nobody.get, nobody.get, nobody.get)
    return {each["name"]: each for each in told}


def test_the_oldest_unread_byte_is_the_one_of_the_check(ledger: Ledger) -> None:
    """Until each folder was read once it is as old as the repository; from then on as the reading that is longest ago."""
    for number, folder in enumerate(FOLDERS):
        told = views(ledger)["read"]["unread_since"] if number % 85 == 0 else None
        assert told in (None, "2026-01-02T03:04:05Z")
        ledger.custody.record_reading("read", folder, NOW + timedelta(days=1, minutes=number), 1)
    known = ledger.overview.unread((*NAMES, "bare"))
    for name in NAMES:
        assert oldest_unread(NOW, ledger.custody.readings(name)) == known[name]
    assert known["read"] == NOW + timedelta(days=1)
    assert "bare" not in known
    assert views(ledger)["bare"]["unread_since"] is None


def test_damage_is_told_as_what_stands_against_removal(ledger: Ledger) -> None:
    """As long as a pack waits for its repair, and of that source alone."""
    assert [None] * 3 == [each["frozen"] for each in views(ledger).values()]
    for state, stands in (
        (DamageState.FOUND, True),
        (DamageState.WAITING, True),
        (DamageState.REPAIRED, False),
    ):
        ledger.custody.record_damage("new", Damage("a" * 64, "r", NOW, state, {}))
        assert stands == ("damaged pack" in str(views(ledger)["new"]["frozen"])), state
        assert views(ledger)["read"]["frozen"] is None


STORIES = {
    "nothing": [],
    "ok": [Outcome.OK],
    "failed": [Outcome.OK, Outcome.FAILED],
    "missed": [Outcome.OK, Outcome.MISSED],
    "refused, then interrupted": [Outcome.REFUSED, Outcome.INTERRUPTED],
    "ok, then cancelled": [Outcome.OK, Outcome.CANCELLED],
    "cancelled": [Outcome.CANCELLED],
    "failed, then ok": [Outcome.FAILED, Outcome.OK],
    "partial": [Outcome.OK, Outcome.PARTIAL],
    "partial, less was read": [Outcome.OK, Outcome.PARTIAL, "unreadable grew"],
    "partial, less was read, then as much": ["unreadable grew", Outcome.PARTIAL],
    "held": [Outcome.OK, "held"],
    "held and failed": [Outcome.FAILED, "held"],
    "held and resumed": ["held", "resumed"],
    "a damaged pack": [Outcome.OK, "damaged"],
}


def play(ledger: Ledger, name: str, steps: list[str]) -> None:
    """What happens to a source: pulls that end so, and what is noted of the newest."""
    custody, run = ledger.custody, "before"
    for step in steps:
        if step == "held":
            custody.hold(name, "files are gone", NOW)
        elif step == "resumed":
            custody.resume(name, NOW)
        elif step == "damaged":
            custody.record_damage(name, Damage("a" * 64, run, NOW, DamageState.FOUND, {}))
        elif step == "unreadable grew":
            ledger.note(NOW, "unreadable", {"grew": True}, about=name, by=run)
        else:
            run = ledger.queue.request(name, Kind.PULL, Cause.DUE, NOW).id
            claimed = ledger.queue.claim(ledger.run(run), "lease", NOW, 99)
            assert claimed
            ledger.queue.end(claimed, "lease", Ending(Outcome(step), "x"), NOW)


def test_what_stands_against_removal_is_told_of_many_as_of_one(ledger: Ledger) -> None:
    """Of a thousand sources that all fail at once it is asked at once, and says what retention goes by."""
    for number, (story, steps) in enumerate(STORIES.items()):
        ledger.add_source(story, NOW)
        ledger.add_repository(Repository(f"{number:x}".rjust(64, "e"), story, f"{number}.restic", None), NOW)
        play(ledger, story, steps)
    pulls = {name: stands.pull for name, stands in ledger.overview.standings(STORIES).items()}
    told = all_frozen(ledger.overview, ledger.custody, pulls, ledger.custody.holds(STORIES))
    each = {story: why for story in STORIES if (why := frozen(facts_of(ledger, story))) is not None}
    assert told == each
    assert told.keys() == {
        "failed", "missed", "refused, then interrupted", "partial, less was read", "held", "held and failed", "a damaged pack",
    }  # fmt: skip


def test_a_printed_sheet_counts_until_the_key_is_another(ledger: Ledger) -> None:
    """It is told when the sheet of the key of now was printed, and of no other."""
    known = ledger.repository("new")
    assert known is not None
    assert ledger.custody.exported("new") is None
    ledger.note(NOW, "key-exported", {"key": known.key}, about="new")
    assert NOW == ledger.custody.exported("new")
    ledger.manifests.change_key(known.id, "b" * 64)
    assert ledger.custody.exported("new") is None
    ledger.manifests.change_key(known.id, None)
    assert ledger.custody.exported("new") is None
    assert ledger.custody.exported("read") is None

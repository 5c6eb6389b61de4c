"""The list of all sources: the worst first, what was asked for, one picture of the newest runs; and what it is made from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pbs.ledger import Ledger, Standing, Step, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import (
    Address,
    Cause,
    Ending,
    Kind,
    Outcome,
    Receipt,
    ReceiptState,
    Repository,
    Run,
    RunState,
    Source,
)
from pbs.promises import Health, Promise, State
from pbs.space import Growth
from pbs.web.fleet import SILENT, STRIP, Line, Wanted, chosen, strip_of, verdict_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def line(
    name: str, outcome: Outcome | None = Outcome.OK, days: int = 0, size: int = 0, *, live: bool = False
) -> Line:
    """A source whose newest pull ended so, and whose last good one was so many days ago."""
    source = Source(name, Address(f"{name}.example", 22, "backup", "", ""))

    def run(ended: Outcome | None) -> Run:
        when = NOW - timedelta(days=days)
        return Run("r", name, Kind.PULL, Cause.DUE, RunState.ENDED, when, ended, ended=when)

    pull = run(outcome) if outcome else None
    good = run(Outcome.OK) if outcome else None
    return Line(source, Standing(pull, pull, good, run(None) if live else None), size)


LINES = [
    line("fine", days=2), line("late", days=9), line("broken", Outcome.FAILED), line("shut", Outcome.REFUSED),
    line("new", None), line("part", Outcome.PARTIAL), line("busy", live=True, size=7),
]  # fmt: skip


def names(**wanted: object) -> list[str]:
    """The sources of the page with this query."""
    coming = {"fine": NOW, "busy": NOW - timedelta(hours=1)}
    return [each.source.name for each in chosen(LINES, Wanted.model_validate(wanted), coming.get)]


def test_whether_all_is_well_stands_in_one_line() -> None:
    """Kept, needing a look, broken; and a look that is too old is no good news, whatever it saw."""

    def told(*states: State, ago: timedelta = timedelta()) -> tuple[State, str]:
        found = verdict_of(
            Health(NOW - ago, tuple(Promise("p", "web", each, NOW, "?") for each in states)), NOW
        )
        return found.state, f"{found.text}: {found.detail}"

    kept = State.KEPT
    assert told(kept, kept) == (kept, "All is well: all 2 promises are kept")
    assert told(kept, State.WARNING) == (State.WARNING, "Nothing is broken: 1 warning")
    assert told(kept, State.WARNING, State.WARNING, State.BROKEN) == (
        State.BROKEN,
        "Not all is well: 1 promise broken, 2 warnings",
    )
    assert told(kept, ago=SILENT * 2)[0] is State.BROKEN


def test_the_worst_comes_first() -> None:
    """What failed stands before what was refused, in part, never pulled; among the good ones the oldest success first."""
    assert ["broken", "shut", "part", "new", "late", "fine", "busy"] == names()


def test_what_was_asked_for_is_shown() -> None:
    """By a part of its name or host, by how it stands, in the order asked for."""
    assert ["shut"] == names(q="SHUT.exa")
    assert ["busy", "fine"] == names(sort="next")[:2]
    assert ["broken", "shut", "part"] == names(show="trouble")
    assert ["late", "fine", "busy"] == names(show="ok")
    assert ["new"] == names(show="never")
    assert ["busy"] == names(show="running")
    assert "busy" == names(sort="size")[0]
    assert sorted(names()) == names(sort="name")
    assert sorted(names(), reverse=True) == names(sort="name", order="down")
    assert [] == names(q="nobody")


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 30, "²", "1e9", "<b>"])
def test_no_address_breaks_the_page(value: str) -> None:
    """What nobody can have chosen counts as not said; the page is there, and its links carry nothing of it."""
    wanted = Wanted.model_validate({"show": value, "sort": value, "order": value, "page": value})
    assert "/" == wanted.link()
    assert 1 == wanted.page


def test_the_strip_tells_by_more_than_colour() -> None:
    """Each run is one bar, newest to the right; what did not go well stands taller, and words tell the same."""
    steps = [Step("r", Kind.PULL, RunState.ENDED, word) for word in (Outcome.OK, Outcome.FAILED, Outcome.OK)]
    found = strip_of([*steps, Step("r", Kind.PULL, RunState.RUNNING, None)])
    assert {"ok", "failed", "running"} == set(found.paths)
    assert 2 == found.paths["ok"].count("M")
    assert f"M{(STRIP - 1) * 5 + 2} 16v-12" == found.paths["running"]
    assert "v-16" in found.paths["failed"]
    assert "4 newest runs: 2 ok, 1 failed, 1 running" == found.text
    assert "no run yet" == strip_of([]).text


# what it is made from


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with the sources `a`, `b` and `c`; `c` never had a run."""
    upgrade(tmp_path / "ledger.sqlite", tmp_path / "lock")
    found = open_ledger(tmp_path / "ledger.sqlite")
    for name in "abc":
        found.add_source(name, NOW)
        found.add_repository(Repository(name * 64, name, name, None), NOW)
    return found


def play(
    ledger: Ledger, name: str, kind: Kind, outcome: Outcome, minutes: int, sent: int | None = None
) -> str:
    """A run of so many minutes after the start."""
    now = NOW + timedelta(minutes=minutes)
    run = ledger.queue.request(name, kind, Cause.DUE, now)
    claimed = ledger.queue.claim(run, "lease", now, 9)
    assert claimed
    ledger.queue.end(claimed, "lease", Ending(outcome, "x", tunnel_bytes=sent), now)
    return run.id


def test_where_many_stand_is_told_at_once(ledger: Ledger) -> None:
    """For each source its newest run, the newest pull that is over, the newest good pull, and what goes on now."""
    good = play(ledger, "a", Kind.PULL, Outcome.OK, 0)
    bad = play(ledger, "a", Kind.PULL, Outcome.FAILED, 1)
    check = play(ledger, "a", Kind.CHECK, Outcome.OK, 2)
    other = play(ledger, "b", Kind.PULL, Outcome.OK, 3)
    waiting = ledger.queue.request("b", Kind.PULL, Cause.ASKED, NOW)
    found = ledger.overview.standings(["a", "b", "c", "nobody"])
    told = {
        name: [each.id if each else None for each in (stands.last, stands.pull, stands.last_ok, stands.live)]
        for name, stands in found.items()
    }
    assert {
        "a": [check, bad, good, None],
        "b": [waiting.id, other, other, waiting.id],
        "c": [None] * 4,
    } == told


def test_strips_and_counts(ledger: Ledger) -> None:
    """The newest runs of each source, oldest first, and the number of its snapshots that can be used."""
    ids = [play(ledger, "a", Kind.PULL, Outcome.OK, minute) for minute in range(5)]
    one = play(ledger, "b", Kind.PULL, Outcome.FAILED, 9)
    strips = ledger.overview.strips("abc", 3)
    assert {"a": ids[-3:], "b": [one]} == {
        name: [step.id for step in steps] for name, steps in strips.items()
    }
    assert Outcome.FAILED is strips["b"][0].outcome
    for number, state in enumerate((ReceiptState.ADMITTED, ReceiptState.FORGOTTEN, ReceiptState.LEGACY)):
        ledger.add_receipt(Receipt(f"{number:064x}", "a", "r", NOW, NOW, None, state, Outcome.OK))
    assert {"a": 2} == ledger.overview.counts("abc")


def test_what_each_of_many_grew_by_is_told_at_once(ledger: Ledger) -> None:
    """What pulls brought after the first one of the time that is looked at, less what pruning freed since."""
    hour = 60
    for number, sent in enumerate((1000, 50, 60, 70)):
        play(ledger, "a", Kind.PULL, Outcome.OK, number * 24 * hour, sent)
    play(ledger, "a", Kind.CHECK, Outcome.OK, 5 * hour, 7)
    play(ledger, "a", Kind.PULL, Outcome.CANCELLED, 73 * hour)
    ledger.queue.request("a", Kind.PULL, Cause.ASKED, NOW)
    play(ledger, "b", Kind.PULL, Outcome.FAILED, 3 * hour, 500)
    ledger.note(NOW + timedelta(days=2), "pruned", {"freed": 30}, about="a")
    ledger.note(NOW - timedelta(days=2), "pruned", {"freed": 9000}, about="a")
    everything = ledger.overview.growth("abc", NOW)
    assert {"a": Growth(NOW, 3, 150), "b": Growth(NOW + timedelta(hours=3), 0, 0)} == everything
    later = ledger.overview.growth("abc", NOW + timedelta(hours=4))
    assert {"a": Growth(NOW + timedelta(days=1), 2, 100)} == later
    assert 50 == everything["a"].per_day(NOW + timedelta(days=3))

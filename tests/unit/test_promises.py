"""Promises: judged from facts alone, none silently absent, and `since` outlives whoever looked."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from set_clock import SetClock

from pbs.config import Config, load
from pbs.config.fields import EXAMPLE_HOST_KEY
from pbs.home import Home
from pbs.ledger import Held, Ledger, Vitals, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.ledger.vitals import PAIRS, Arrival
from pbs.model import (
    Address,
    Cause,
    DamageState,
    Ending,
    Keeping,
    Kind,
    Outcome,
    Receipt,
    ReceiptState,
    Repository,
    Run,
    RunState,
    Source,
)
from pbs.promises import Health, State, worst
from pbs.promises.assess import health, verdicts, without_service
from pbs.promises.facts import Facts, FeedFile, ServerFacts
from pbs.promises.lateness import deadline
from pbs.promises.posts import posts_of
from pbs.promises.server import PROMISES as OF_THE_SERVER
from pbs.promises.source import PROMISES as OF_A_SOURCE
from pbs.promises.source import judge
from pbs.promises.watch import Known, Watch
from pbs.space import Space

NOW = datetime(2026, 5, 8, 12, tzinfo=UTC)  # a Friday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SOURCE = Source("web", Address("web.example.org", 22, "backup", EXAMPLE_HOST_KEY, "/key"))
SERVER = ServerFacts(NOW, served=True, planned=NOW, space=Space(1000, 500), reserve=(0, 5), copied=NOW)


def run(kind: Kind = Kind.PULL, outcome: Outcome = Outcome.OK, ago: timedelta = HOUR, **more: Any) -> Run:
    """A run that ended so long ago."""
    moment = NOW - ago
    return Run(f"{kind}-{outcome}", "web", kind, Cause.DUE, RunState.ENDED, moment, outcome=outcome,
               started=moment, ended=moment, **more)  # fmt: skip


def standing(*runs: Run, **more: Any) -> Vitals:
    """A source with a fresh backup, after these runs, the oldest first."""
    values: dict[str, Any] = {
        "name": "web", "added": NOW - 90 * DAY, "made": NOW - DAY, "snapshots": 3,
        "arrived": Arrival(NOW - HOUR, NOW - HOUR, "pull-ok", Outcome.OK),
        "runs": {(each.kind, each.outcome): each for each in runs or (run(),)},
    }  # fmt: skip
    return Vitals(**(values | more))


def facts(known: Vitals | None, source: Source | None = SOURCE, **more: Any) -> Facts:
    """Facts of a source whose endpoint answers and whose feed is there."""
    return Facts(source, known, **({"endpoint": True, "feed": FeedFile(NOW, whole=True)} | more))


def stands(name: str, known: Vitals | None, source: Source | None = SOURCE, **more: Any) -> State:
    """How one promise stands."""
    return judge(facts(known, source, **more), NOW)[name].state


def test_a_source_in_order_keeps_every_promise() -> None:
    """Where all is well, every promise says so, in a sentence, and none is missing."""
    found = judge(facts(standing()), NOW)
    assert {"configured", *OF_A_SOURCE} == found.keys()
    assert [(name, each.reason) for name, each in found.items() if each.state is not State.KEPT] == []
    assert all(each.reason for each in found.values())


NEVER = standing(arrived=None, runs={}, added=NOW - HOUR)
AGES_AGO = standing(arrived=None, runs={})
UNREACHED = run(outcome=Outcome.FAILED, code="unreachable", message="nobody answers")
BROKEN = [
    ("fresh", standing(arrived=Arrival(NOW - 2 * DAY, None, "x", Outcome.OK)), {}),
    ("fresh", AGES_AGO, {}),
    ("reachable", AGES_AGO, {}),
    ("reachable", standing(UNREACHED, arrived=Arrival(NOW - 2 * DAY, None, "x", Outcome.OK)), {}),
    ("reachable", standing(run(outcome=Outcome.REFUSED, code="host_key")), {}),
    ("reachable", standing(run(outcome=Outcome.FAILED, code="login_refused")), {}),
    ("complete", standing(run(outcome=Outcome.PARTIAL), partial_since=NOW - 2 * DAY), {}),
    ("last-run", standing(run(), run(outcome=Outcome.FAILED)), {}),
    ("last-run", standing(run(), run(outcome=Outcome.REFUSED)), {}),
    ("last-run", standing(run(Kind.CHECK, Outcome.FAILED), run()), {}),
    ("last-run", AGES_AGO, {}),
    ("feed", standing(), {"feed": None}),
    ("feed", standing(), {"feed": FeedFile(NOW, whole=False)}),
    ("feed", standing(), {"feed": FeedFile(NOW - DAY, whole=True)}),
    ("endpoint", standing(), {"endpoint": False, "silent": NOW - HOUR}),
    ("repository", standing(made=None), {}),
    ("repository", standing(damaged={DamageState.WAITING: 1}), {}),
    ("verified", standing(made=None), {}),
    ("verified", standing(made=NOW - 60 * DAY), {}),
    ("verified", standing(made=NOW - 90 * DAY, read=NOW - 60 * DAY), {}),
    ("quarantine", standing(aside={"keys": 1, "snapshots": 1}), {}),
    ("tripwires", standing(), {"held": "half of its files are gone"}),
    ("quota", standing(bytes=990), {"source": replace(SOURCE, quota=1000)}),
    ("key", standing(), {"copied": False}),
]
WARNINGS = [
    ("fresh", NEVER, {}),
    ("last-run", NEVER, {}),
    ("reachable", standing(UNREACHED), {}),
    ("complete", standing(run(outcome=Outcome.PARTIAL), partial_since=NOW - HOUR), {}),
    ("last-run", standing(run(), run(outcome=Outcome.MISSED)), {}),
    ("last-run", standing(run(Kind.RETAIN, Outcome.REFUSED), run()), {}),
    ("endpoint", standing(), {"endpoint": None}),
    ("verified", standing(made=NOW - 33 * DAY), {}),
    ("quarantine", standing(aside={"snapshots": 1}), {}),
    ("quota", standing(bytes=900), {"source": replace(SOURCE, quota=1000)}),
    ("quota", standing(bytes=500), {"source": replace(SOURCE, quota=1000), "per_day": 100}),
    ("clock", standing(arrived=Arrival(NOW, NOW + DAY, "pull-ok", Outcome.OK)), {}),
    ("clock", standing(arrived=Arrival(NOW - HOUR, NOW - DAY, "pull-ok", Outcome.OK)), {}),
]
KEPT = [
    ("endpoint", standing(), {"endpoint": False, "silent": NOW}),
    ("endpoint", standing(), {"endpoint": False, "silent": NOW - HOUR, "busy": True}),
    ("endpoint", standing(), {"endpoint": False, "source": replace(SOURCE, endpoint="on-demand")}),
    ("fresh", standing(), {"source": replace(SOURCE, schedule="manual")}),
    ("verified", standing(made=NOW - 900 * DAY), {"source": replace(SOURCE, keeping=Keeping(verify=None))}),
    ("last-run", standing(run(outcome=Outcome.FAILED), run()), {}),
    ("reachable", standing(UNREACHED, run()), {}),
    ("quota", standing(bytes=10), {"source": replace(SOURCE, quota=1000)}),
    ("feed", standing(runs={}), {"feed": None}),
    ("key", standing(exported=True), {"copied": False}),
    ("key", standing(), {"copied": False, "source": replace(SOURCE, encryption="none")}),
    ("quota", standing(bytes=500), {"source": replace(SOURCE, quota=1000), "per_day": 10}),
]


@pytest.mark.parametrize(
    ("name", "known", "more", "state"),
    [(*case, state) for cases, state in ((BROKEN, State.BROKEN), (WARNINGS, State.WARNING), (KEPT, State.KEPT))
     for case in cases],
)  # fmt: skip
def test_each_promise_tells_what_is_wrong(
    name: str, known: Vitals, more: dict[str, Any], state: State
) -> None:
    """Each promise is broken, a warning or kept where it should be, and says what to do unless it is kept."""
    verdict = judge(facts(known, **more), NOW)[name]
    assert (verdict.state, verdict.reason) == (state, verdict.reason)
    assert (verdict.hint is None) == (state is State.KEPT)


def test_no_promise_is_silently_absent() -> None:
    """What is configured and unknown, known and not configured, or cannot be judged, is broken; of nothing at all as well."""
    assert {each.state for each in judge(facts(None), NOW).values()} == {State.BROKEN}
    assert judge(facts(standing(), None), NOW)["configured"].state is State.BROKEN
    odd: Any = standing(bytes="?")
    assert stands("quota", odd, replace(SOURCE, quota=5)) is State.BROKEN
    assert worst([]) is State.BROKEN
    assert Health(NOW, ()).state is State.BROKEN


@given(
    st.sampled_from(["0 * * * *", "30 2 * * *", "30 2 * * mon-fri", "0 4 1 * *", "every 6h", "every 10d"]),
    st.integers(0, 400 * 24 * 60),
)
def test_two_runs_may_be_missed_and_no_third(schedule: str, minutes: int) -> None:
    """The limit of age lies after two slots and before the third, and never within 25 hours, whatever days are left out."""
    last = NOW + timedelta(minutes=minutes)
    source = replace(SOURCE, schedule=schedule)
    until = deadline(source, last)
    assert until is not None
    assert until >= last + 25 * HOUR
    if schedule == "30 2 * * mon-fri" and last.weekday() == 3 and last.hour > 2:
        assert (until.weekday(), until - last < 6 * DAY) == (0, True)


def test_a_limit_of_age_can_be_set() -> None:
    """`max_age` wins over the schedule; off means any age."""
    assert deadline(replace(SOURCE, max_age=3600.0), NOW) == NOW + HOUR
    assert deadline(replace(SOURCE, max_age=0.0), NOW) is None
    assert deadline(replace(SOURCE, schedule="on-notification"), NOW) == NOW + 8 * DAY
    assert deadline(replace(SOURCE, schedule="manual"), NOW) is None


def test_the_server_has_promises_of_its_own() -> None:
    """Disk, copy, schedule, queue and faults of the service are told; without service there is no `kept`."""
    of = verdicts({}, SERVER)
    assert {name for _, name in of} == OF_THE_SERVER.keys()
    assert {each.state for each in of.values()} == {State.KEPT}
    bad = replace(
        SERVER,
        served=False,
        planned=NOW - HOUR,
        space=Space(1000, 10),
        copied=NOW - 4 * DAY,
        faults=("it is full",),
    )
    found = {name: each.state for (_, name), each in verdicts({}, bad).items()}
    assert {name for name, state in found.items() if state is State.BROKEN} == {
        "service", "scheduler", "controller", "disk", "copy",
    }  # fmt: skip
    soon = verdicts({}, replace(SERVER, per_day=100))["", "disk"]
    assert (soon.state, "in 4 days" in soon.reason) == (State.WARNING, True)
    late = replace(SERVER, waiting=NOW - 7 * HOUR, sheet=False, space=None)
    found = {name: each.state for (_, name), each in verdicts({}, late).items()}
    assert (found["queue"], found["recovery-sheet"], found["disk"]) == (
        State.WARNING,
        State.BROKEN,
        State.BROKEN,
    )


def test_since_is_when_it_began() -> None:
    """A promise stands as it does since it came to: a look later changes nothing, another state does, and so does no clock."""
    found = verdicts({}, SERVER)
    first = health(found, {}, NOW)
    held = {(each.source or "", each.name): Held(each.state, each.since) for each in first.promises}
    assert {each.since for each in health(found, held, NOW + DAY).promises} == {NOW}
    assert {each.since for each in health(found, held, NOW - DAY).promises} == {NOW - DAY}
    worse = health(verdicts({}, replace(SERVER, served=False)), held, NOW + DAY)
    assert {each.name for each in worse.promises if each.since == NOW + DAY} == {"service", "scheduler"}


# on a real home and ledger


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with the source `web`, and `old`, which only the ledger knows."""
    made = Home.at(Path(tempfile.mkdtemp(prefix="pbs-", dir="/tmp")))
    made.make()
    made.config.write_text(
        f'[server]\nlisten = "off"\n[source.web]\nendpoint = "on-demand"\nhost = "h"\nuser = "u"\nhost_key = "{EXAMPLE_HOST_KEY}"\n'
    )
    upgrade(made.ledger, made.locks / "lock")
    ledger = open_ledger(made.ledger)
    for name in ("web", "old"):
        ledger.add_source(name, NOW - DAY)
    ledger.add_repository(Repository("r" * 64, "web", "/r", "k" * 64), NOW - DAY)
    ledger.close()
    yield made
    shutil.rmtree(made.root)


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    """Its ledger."""
    opened = open_ledger(home.ledger)
    yield opened
    opened.close()


def pull(ledger: Ledger, outcome: Outcome, moment: datetime) -> Run:
    """A pull of `web` that ended so."""
    made = ledger.queue.claim(
        ledger.queue.request("web", Kind.PULL, Cause.DUE, moment), "l", moment, at_most=9
    )
    assert made is not None
    return ledger.queue.end(made, "l", Ending(outcome, "it ended", tunnel_bytes=7, code="some"), moment)


def known(config: Config) -> Callable[[], Known]:
    """What a controller tells that looked at what is due just now."""
    return lambda: Known(config, NOW, ())


def test_the_ledger_tells_of_all_sources_at_once(ledger: Ledger) -> None:
    """The newest run of each outcome, since when pulls are partial, receipts that count, by number and not by time."""
    for hours, outcome in (
        (9, "ok"),
        (8, "partial"),
        (7, "ok"),
        (6, "partial"),
        (5, "partial"),
        (8, "failed"),
    ):
        pull(ledger, Outcome(outcome), NOW - hours * HOUR)
    receipt = Receipt("a" * 64, "web", "r", NOW - HOUR, NOW - HOUR, None, ReceiptState.ADMITTED, Outcome.OK)
    ledger.add_receipt(receipt)
    ledger.add_receipt(replace(receipt, id="b" * 64, time=NOW, state=ReceiptState.FORGOTTEN))
    ledger.note(NOW - DAY, "checked", {}, about="web")
    assert not ledger.vitals.of_all()[1].exported
    ledger.note(NOW, "key-exported", {"key": "k" * 64}, about="web")
    ledger.vitals.weigh("web", 1234)
    old, web = ledger.vitals.of_all(("checked",))
    assert (old.name, old.made, dict(old.runs)) == ("old", None, {})
    assert web.exported
    assert (web.snapshots, web.bytes, web.noted) == (1, 1234, {"checked": NOW - DAY})
    assert web.arrived == Arrival(NOW - HOUR, None, "r", Outcome.OK)
    assert web.partial_since == NOW - 6 * HOUR
    last = web.newest(Kind.PULL)
    assert last is not None
    assert (last.outcome, last.code, last.output) == (Outcome.FAILED, "some", None)
    assert ledger.vitals.sizes() == {"web": 1234}
    assert len(PAIRS) > len(web.runs) == 3


def test_counts_of_runs_are_exact_whatever_waits(ledger: Ledger) -> None:
    """What was counted once, and what came since, add up to every run that ended: none twice, none forgotten."""
    counted = 0
    mark = 0
    waiting = ledger.queue.request("old", Kind.PULL, Cause.DUE, NOW)
    for number in range(5):
        pull(ledger, Outcome.OK, NOW)
        until = ledger.vitals.settled()
        if number < 2:
            assert until <= 1
        counted += sum(each.runs for each in ledger.vitals.tallies_between(mark, until))
        mark = until
        if number == 2:
            ledger.cancelling.ask(waiting.id, "me", NOW)
    counted += sum(each.runs for each in ledger.vitals.tallies_between(mark, None))
    assert counted == 6
    (cancelled, good) = sorted(ledger.vitals.tallies(ledger.vitals.settled()), key=lambda each: each.outcome)
    assert (cancelled.runs, good.runs, good.tunnel_bytes) == (1, 5, 35)


async def test_since_outlives_whoever_looked(home: Home, ledger: Ledger) -> None:
    """A controller that starts anew tells the same `since`; what changed while none ran is dated when it is seen."""
    config = load(home)
    clock: Any = SetClock(NOW)
    first = (await Watch(home, ledger, clock, known(config)).now()).health
    assert {each.since for each in first.promises} == {NOW}
    assert {each.name: each.state for each in first.of("old")} == {"configured": State.BROKEN}
    clock.moment = NOW + HOUR
    pull(ledger, Outcome.FAILED, NOW)
    second = (await Watch(home, ledger, clock, known(config)).now()).health
    changed = {each.name for each in second.promises if each.since == clock.moment}
    assert {"last-run"} <= changed <= {"last-run", "feed", "fresh", "reachable", "copy", "scheduler"}
    ledger.remove_source("old", NOW, purge=False)
    clock.moment = NOW + 2 * HOUR
    third = (await Watch(home, ledger, clock, known(config)).now()).health
    assert third.of("old") == ()
    assert {name for name, _ in ledger.vitals.promises()} == {"", "web"}


async def test_a_source_that_is_added_during_a_look_is_not_missing(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the look that is under way nor by whoever asks right after it."""
    config = alone = load(home)
    clock = SetClock(NOW)
    any_clock: Any = clock
    watch = Watch(home, ledger, any_clock, lambda: Known(config, NOW, ()))
    before = ledger.vitals.of_all

    def add_and_look() -> object:
        nonlocal config
        home.config.write_text(
            home.config.read_text()
            + f'[source.late]\nhost = "h"\nuser = "u"\nhost_key = "{EXAMPLE_HOST_KEY}"\n'
        )
        config = load(home)
        ledger.add_source("late", NOW)
        return before()

    monkeypatch.setattr(ledger.vitals, "of_all", add_and_look)
    assert {each.name: each.state for each in (await watch.now()).health.of("late")}[
        "configured"
    ] is State.KEPT
    monkeypatch.setattr(ledger.vitals, "of_all", before)
    config = alone
    assert [each.name for each in (await watch.now()).health.of("late")] == ["configured"]


def test_without_service_nothing_is_well(home: Home, ledger: Ledger) -> None:
    """The same promises are told without the service, and that it does not run; nothing is written."""
    found = without_service(home, ledger, load(home), NOW)
    assert {each.name for each in found.of("web")} == {"configured", *OF_A_SOURCE}
    states = {each.name: each.state for each in found.of(None)}
    assert (states["service"], states["scheduler"]) == (State.BROKEN, State.BROKEN)
    assert ledger.vitals.promises() == {}


async def test_a_program_says_by_its_exit_code_how_promises_stand(home: Home, ledger: Ledger) -> None:
    """The small programs for SlapOS and others: 0 for kept and warnings, 1 for broken, for a moved home, and when nobody looks."""
    clock: Any = SetClock(NOW)
    watch = Watch(home, ledger, clock, known(load(home)))
    await watch.now()
    moved = home.root.with_name(f"{home.root.name} moved")
    home.root.rename(moved)
    try:
        codes = {path.name: said(path) for path in sorted((moved / "etc/promise").iterdir())}
        assert {name: code for name, (code, _) in codes.items()} == {
            "backup-old": 1, "backup-web": 0, "ssh-to-old-pull": 1, "ssh-to-web-pull": 0, "server": 1,
            "stalled-pull-push": 0, "notifier-feed-check-malformed-or-failure": 0,
        }  # fmt: skip
        assert "recovery-sheet" in codes["server"][1]
        assert "old: configured broken since 2026-05-08T12:00:00Z" in codes["backup-old"][1]
        (moved / "var/promises/.looked").unlink()
        assert said(moved / "etc/promise/backup-web")[0] == 1
    finally:
        moved.rename(home.root)
    ledger.remove_source("old", NOW, purge=False)
    await Watch(home, ledger, clock, known(load(home))).now()
    assert [path.name for path in home.checks.iterdir() if "old" in path.name] == []
    assert [path.name for path in home.promises.iterdir() if "old" in path.name] == []


def said(program: Path) -> tuple[int, str]:
    """Exit code and words of a program."""
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_files_are_bounded_and_one_line_each() -> None:
    """Whatever a message holds, a file tells each promise on a line of its own, and of thousands only the worst."""
    hostile = replace(run(outcome=Outcome.FAILED), message="a\nkept\n\x1b[31mred")
    found = {f"s{number:04}": facts(standing(hostile)) for number in range(400)}
    texts = posts_of(health(verdicts(found, SERVER), {}, NOW))
    lines = texts["notifier-feed-check-malformed-or-failure"].splitlines()
    assert (lines[0], len(lines)) == ("broken", 202)
    assert all("\x1b" not in line and line.startswith("s") for line in lines[2:])

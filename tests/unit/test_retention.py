"""Retention as a pure function: what it promises for any receipts, any rules and any clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pbs.config.keep import parse_keep
from pbs.model import Keeping, Outcome, Receipt, ReceiptState
from pbs.retention import EXPECTED, Facts, doubtful, frozen, grew, make_plan, simulate
from pbs.retention.buckets import BUCKETS, back

quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
RULES = ("last", *BUCKETS)
ZONES = ("UTC", "Europe/Paris", "Pacific/Kiritimati", "America/St_Johns")


def receipt(number: int, time: datetime, **more: object) -> Receipt:
    """A good snapshot of ours, received then."""
    base = Receipt(f"{number:064x}", "web", "r", time, time, time, ReceiptState.ADMITTED, Outcome.OK)
    return replace(base, **more)  # type: ignore[arg-type]


def daily(count: int, **more: object) -> list[Receipt]:
    """One good snapshot a day, the newest now."""
    return [receipt(number, NOW - timedelta(days=number), **more) for number in range(count)]


keeps = st.dictionaries(st.sampled_from(RULES), st.integers(1, 8), max_size=4).flatmap(
    lambda counts: st.sampled_from([None, "2d", "14d", "1m3d", "2y5m7d3h"]).map(
        lambda span: {**counts, **({"within": span} if span else {})}
    )
)
keepings = st.builds(
    Keeping,
    keep=keeps,
    timezone=st.sampled_from(ZONES),
    keep_least=st.integers(1, 5),
    max_forget=st.just(100),
)
states = st.sampled_from([ReceiptState.ADMITTED] * 5 + list(ReceiptState))
outcomes = st.sampled_from([Outcome.OK, Outcome.OK, Outcome.OK, Outcome.PARTIAL])


@st.composite
def histories(draw: st.DrawFn) -> list[Receipt]:
    """Receipts at any times of some years, some of them in our future, in no order."""
    minutes = draw(st.lists(st.integers(-3000, 900_000), max_size=40))
    return [
        receipt(number, NOW - timedelta(minutes=minute), state=draw(states), outcome=draw(outcomes),
                pinned=draw(st.integers(0, 9)) == 0,
                claimed=draw(st.sampled_from([None, NOW, datetime(2099, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])))
        for number, minute in enumerate(minutes)
    ]  # fmt: skip


def counted(receipts: list[Receipt]) -> list[Receipt]:
    """Those that retention may look at."""
    return [each for each in receipts if each.state in (ReceiptState.ADMITTED, ReceiptState.LEGACY)]


@quick
@given(histories(), keepings)
def test_the_floor_holds(receipts: list[Receipt], keeping: Keeping) -> None:
    """Never are fewer than `keep_least` good snapshots left, nor a pinned one removed, nor one of our future."""
    plan = make_plan("web", receipts, keeping, NOW)
    gone = set(plan.goes)
    there = counted(receipts)
    good = [each for each in there if each.outcome is Outcome.OK and each.time <= NOW]
    left = [each for each in good if each.id not in gone]
    assert len(left) >= min(keeping.keep_least, len(good))
    assert not gone & {each.id for each in there if each.pinned or each.time > NOW}
    assert gone <= {each.id for each in there}
    if there:
        assert len(there) > len(gone)


@quick
@given(histories(), keepings, st.sampled_from(RULES), st.integers(1, 5))
def test_a_longer_rule_keeps_no_less(receipts: list[Receipt], keeping: Keeping, rule: str, more: int) -> None:
    """Raising a count, adding a rule, lengthening a span or raising the floor never removes one snapshot more."""
    assume(keeping.keep)
    before = set(make_plan("web", receipts, keeping, NOW).goes)
    count = keeping.keep.get(rule, 0)
    assert isinstance(count, int)
    longer = [
        replace(keeping, keep={**keeping.keep, rule: count + more}),
        replace(keeping, keep_least=keeping.keep_least + more),
        replace(keeping, keep={}),
    ]
    span = str(keeping.keep.get("within", "1h"))
    longer.append(
        replace(keeping, keep={**keeping.keep, "within": f"{more}y{span}" if "y" not in span else f"9{span}"})
    )
    for each in longer:
        assert set(make_plan("web", receipts, each, NOW).goes) <= before


@quick
@given(histories(), keepings)
def test_applied_twice_is_applied_once(receipts: list[Receipt], keeping: Keeping) -> None:
    """After the removal nothing more goes, and what is left is held by the same rules."""
    plan = make_plan("web", receipts, keeping, NOW)
    left = [each for each in receipts if each.id not in plan.goes]
    again = make_plan("web", left, keeping, NOW)
    assert again.goes == ()
    assert {key: value for key, value in plan.kept_by.items() if value} == again.kept_by


@quick
@given(histories(), keepings, st.lists(st.datetimes(timezones=st.just(UTC)), max_size=5), st.randoms())
def test_what_a_source_claims_changes_nothing(
    receipts: list[Receipt], keeping: Keeping, claims: list[datetime], dice: object
) -> None:
    """T5: neither claimed times nor any number of snapshots that were not admitted move the plan, nor their order."""
    plan = make_plan("web", receipts, keeping, NOW)
    forged = [
        receipt(1000 + number, claim, state=ReceiptState.QUARANTINED, claimed=claim)
        for number, claim in enumerate(claims)
    ]
    lied = [replace(each, claimed=claims[0] if claims else None) for each in receipts]
    shuffled = [*lied, *forged]
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    again = make_plan("web", shuffled, keeping, NOW)
    assert (plan.goes, plan.id, plan.kept_by) == (again.goes, again.id, again.kept_by)


@quick
@given(histories(), keepings, st.integers(0, 100_000))
def test_time_that_passes_removes_nothing(receipts: list[Receipt], keeping: Keeping, minutes: int) -> None:
    """F19: without a new snapshot a later day removes no more; a clock that was set back removes nothing new either."""
    there = [each for each in receipts if each.time <= NOW]
    before = set(make_plan("web", there, keeping, NOW).goes)
    assert set(make_plan("web", there, keeping, NOW + timedelta(minutes=minutes)).goes) == before
    earlier = NOW - timedelta(minutes=minutes)
    older = {each.id for each in there if each.time <= earlier}
    assert set(make_plan("web", there, keeping, earlier).goes) <= older


def test_forty_forged_snapshots_release_nothing() -> None:
    """T5, T7: forty snapshots with chosen times change neither what is kept nor what goes."""
    good = daily(40)
    keeping = Keeping(keep={"last": 3, "weekly": 4, "within": "2d"})
    forged = [
        receipt(500 + n, NOW - timedelta(hours=n), state=ReceiptState.QUARANTINED,
                claimed=datetime(2099, 1, 1, tzinfo=UTC) + timedelta(days=n))
        for n in range(40)
    ]  # fmt: skip
    assert make_plan("web", good, keeping, NOW) == make_plan("web", good + forged, keeping, NOW)


def test_the_rules_hold_what_they_say() -> None:
    """Each rule holds the newest of its newest buckets, and a plan names them all."""
    plan = make_plan("web", daily(60), Keeping(keep={"last": 2, "daily": 4, "weekly": 2, "monthly": 2}), NOW)
    kept = {(NOW - each.time).days: each.kept_by for each in plan.verdicts if each.kept_by}
    # 2026-03-29 is a Sunday: the week before it ended on the 22nd; February ended on the 28th.
    assert kept == {
        0: ("last", "daily", "weekly", "monthly", "floor"), 1: ("last", "daily", "floor"), 2: ("daily", "floor"),
        3: ("daily",), 7: ("weekly",), 29: ("monthly",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2W", 15),
        ("3B", 3),
        ("14d", 15),
        ("1m", 30),
        ({"last": 5}, 5),
        ({}, 60),
        ("2y5m7d3h", 60),
        ("1W2D", 10),
    ],
)
def test_the_older_spellings_mean_what_they_meant(written: object, kept: int) -> None:
    """`2W` = the last fourteen days, `3B` = the last three, and so on."""
    keeping = Keeping(keep=parse_keep(written), keep_least=1)
    assert kept == 60 - len(make_plan("web", daily(60), keeping, NOW).goes)


def test_hours_are_those_of_the_time_zone() -> None:
    """Two snapshots on one day here and on two days there: the rule counts the days of the source's zone."""
    pair = [
        receipt(1, datetime(2026, 1, 1, 22, 30, tzinfo=UTC)),
        receipt(2, datetime(2026, 1, 1, 23, 30, tzinfo=UTC)),
    ]
    keep = {"daily": 5}
    here = make_plan("web", pair, Keeping(keep=keep, keep_least=1), NOW)
    there = make_plan("web", pair, Keeping(keep=keep, keep_least=1, timezone="Europe/Paris"), NOW)
    assert (len(here.goes), len(there.goes)) == (1, 0)


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    """When clocks go back, the hour before and the one after keep a snapshot each."""
    times = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]
    keeping = Keeping(keep={"hourly": 9}, keep_least=1, timezone="Europe/Paris")
    after = datetime(2026, 11, 1, tzinfo=UTC)
    assert make_plan("web", [receipt(n, t) for n, t in enumerate(times)], keeping, after).goes == ()


def test_a_good_snapshot_stands_for_its_day_before_an_incomplete_newer_one() -> None:
    """F23: an incomplete snapshot takes no good one's place, neither in a bucket nor on the floor."""
    morning, evening = NOW - timedelta(hours=8), NOW
    pair = [receipt(1, morning), receipt(2, evening, outcome=Outcome.PARTIAL)]
    plan = make_plan("web", pair, Keeping(keep={"daily": 1}, keep_least=1), NOW)
    assert plan.kept_by[pair[0].id] == ("daily", "floor")
    assert plan.goes == (pair[1].id,)


def test_a_damaged_snapshot_takes_no_place_on_the_floor() -> None:
    """What cannot be restored whole is no good snapshot."""
    three = daily(3)
    plan = make_plan("web", three, Keeping(keep={"last": 1}, keep_least=1), NOW, damaged={three[0].id})
    assert plan.goes == (three[2].id,)


def test_too_many_at_once_wait_for_a_person() -> None:
    """More than the share goes only for whoever names this very plan; five at once are never too many."""
    keeping = Keeping(keep={"last": 3})
    plan = make_plan("web", daily(20), keeping, NOW)
    assert plan.stopped()
    assert plan.stopped("somebody else's")
    assert plan.stopped(plan.id) is None
    assert make_plan("web", daily(8), keeping, NOW).stopped() is None
    assert replace(plan, frozen="because").stopped(plan.id) == "because"


@pytest.mark.parametrize(
    ("facts", "held"),
    [
        (Facts(), False), (Facts(Outcome.OK), False), (Facts(Outcome.FAILED), True), (Facts(Outcome.REFUSED), True),
        (Facts(Outcome.MISSED), True), (Facts(Outcome.PARTIAL), False), (Facts(Outcome.PARTIAL, grew=True), True),
        (Facts(Outcome.OK, damages=1), True), (Facts(Outcome.CANCELLED), False),
    ],
)  # fmt: skip
def test_a_bad_last_run_freezes(facts: Facts, held: bool) -> None:
    """Failed, refused, missed, or incomplete with more unreadable files than before: nothing may go."""
    assert held is (frozen(facts) is not None)


def test_the_unreadable_set_grows_only_by_new_names() -> None:
    """Fewer unreadable files, or the same, are no reason to freeze."""
    assert grew((), ("a",))
    assert grew(("a",), ("a", "b"))
    assert not grew(("a", "b"), ("b",))
    assert not grew((), ())


def test_what_shrinks_bit_by_bit_is_noticed() -> None:
    """T6: a tenth less in each run, and the rules forget the large ones meanwhile: retention waits at half of it all the same."""
    shrinking = [
        receipt(number, NOW + timedelta(hours=number), files=round(4000 * 0.9**number), bytes=1 << 30)
        for number in range(12)
    ]
    gone = [replace(each, state=ReceiptState.FORGOTTEN) for each in shrinking[:9]]
    for number in range(1, 7):
        assert doubtful(Facts(), shrinking[:number]) is None
    doubt = doubtful(Facts(), gone + shrinking[9:])
    assert doubt is not None
    assert "(1255 of 4000 files)" in doubt
    assert doubtful(Facts(confirmed=shrinking[-1].id), gone + shrinking[9:]) is None
    slow = [replace(each, time=NOW + timedelta(days=40 * number)) for number, each in enumerate(shrinking)]
    assert doubtful(Facts(), slow) is None


def test_a_snapshot_of_unknown_size_hides_nothing() -> None:
    """T6: after one whose size nobody told, an empty one is compared with those before."""
    silent = replace(receipt(2, NOW + timedelta(hours=2)), files=None, bytes=None)
    known = [receipt(1, NOW, files=4000, bytes=1 << 30), silent]
    assert doubtful(Facts(), known) is None
    assert doubtful(Facts(), [*known, receipt(3, NOW + timedelta(hours=3), files=1, bytes=10)]) is not None


def test_sixty_days_of_empty_snapshots_remove_nothing() -> None:
    """T6: whoever waits with useless snapshots is noticed at the first one, and the last usual size stays the measure."""
    usual = daily(20, files=5000, bytes=1 << 30)
    keeping = Keeping(keep={"last": 3, "daily": 7})
    for days in (1, 2, 60):
        empty = [receipt(900 + n, NOW + timedelta(days=n + 1), files=1, bytes=10) for n in range(days)]
        doubt = doubtful(Facts(), usual + empty)
        assert doubt is not None
        plan = make_plan("web", usual + empty, keeping, NOW + timedelta(days=days + 1), doubt=doubt)
        assert plan.stopped()
    assert doubtful(Facts(confirmed=empty[-1].id), usual + empty) is None
    assert (
        doubtful(Facts(), [*usual, *empty, receipt(999, NOW + timedelta(days=90), files=4000, bytes=1 << 30)])
        is None
    )


def test_a_small_source_may_halve() -> None:
    """Three files that become one are no alarm."""
    small = [receipt(1, NOW, files=3, bytes=300), receipt(2, NOW + timedelta(days=1), files=1, bytes=1)]
    assert doubtful(Facts(), small) is None


@pytest.mark.parametrize(
    ("moment", "span", "start"),
    [
        ("2026-03-31", "1m", "2026-02-28"), ("2024-02-29", "1y", "2023-02-28"), ("2026-03-31", "2d12h", "2026-03-28T12:00"),
        ("2026-01-15", "1m", "2025-12-15"), ("0001-06-01", "99999y", "0001-01-01"), ("0001-01-01", "5d", "0001-01-01"),
        ("2026-03-31", "366d", "2025-03-30"),
    ],
)  # fmt: skip
def test_spans_follow_the_calendar(moment: str, span: str, start: str) -> None:
    """A month back ends where that month ends; nothing reaches beyond the calendar."""
    assert back(datetime.fromisoformat(moment).replace(tzinfo=UTC), span) == datetime.fromisoformat(
        start
    ).replace(tzinfo=UTC)


def test_a_simulation_plays_with_what_is_to_come() -> None:
    """Snapshots go on arriving in their rhythm until the day that was asked about; the real ones age under the rule."""
    plan = simulate("web", daily(10), Keeping(keep={"last": 3}), NOW, NOW + timedelta(days=30))
    assert [each for each in plan.kept_by if each.startswith(EXPECTED) and plan.kept_by[each]] == [
        f"{EXPECTED}{NOW + timedelta(days=day):%Y%m%dT%H%M%SZ}" for day in (28, 29, 30)
    ]
    assert {each.id for each in daily(10)} <= set(plan.goes)
    past = simulate("web", daily(10), Keeping(keep={"last": 3}), NOW, NOW - timedelta(days=5))
    assert len(past.verdicts) == 5
    weekly = simulate(
        "web", daily(1), Keeping(keep={"yearly": 9}), NOW, NOW + timedelta(days=800), timedelta(days=7)
    )
    assert sum(1 for kept in weekly.kept_by.values() if "yearly" in kept) == 3

"""When runs are due: no slot twice, none lost, whatever the time zone, the window and the clock do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs.config.schedules import check_schedule
from pbs.model import Cause, Kind, Mark, Outcome, Run, RunState
from pbs.schedule import Timetable, decide, overtaken
from pbs.schedule.retry import delay
from pbs.schedule.timetable import MOST_COUNTED
from pbs.schedule.window import Window

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
START = datetime(2027, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Havana"]
SCHEDULES = [
    "0 * * * *", "*/20 * * * *", "30 2 * * *", "0 2 * * mon-fri", "15 1,2,3 * * *", "0 0 29 2 *", "59 23 31 12 *",
    "0 */5 1 * *", "every 6h", "every 7h", "every 1d", "every 45m",
]  # fmt: skip
WINDOWS = [
    None,
    (22 * 60, 6 * 60),
    (9 * 60, 17 * 60 + 30),
    (2 * 60 + 15, 2 * 60 + 45),
    (1 * 60, 3 * 60),
    (30, 0),
]
moments = st.integers(0, 6 * 366 * 1440).map(
    lambda minutes: datetime(2024, 1, 1, tzinfo=UTC) + minutes * MINUTE
)
tables = st.builds(
    Timetable,
    st.text("abcdefgh", min_size=1, max_size=5),
    st.sampled_from(SCHEDULES),
    st.sampled_from(ZONES),
    st.sampled_from(WINDOWS),
    st.sampled_from([None, 0.0, 300.0, 7200.0]),
)


def local(table: Timetable, since: str, number: int = 4) -> list[str]:
    """The slots from a moment on, by the wall clock of the table's zone."""
    zone = ZoneInfo(table.timezone)
    moment = datetime.fromisoformat(since).replace(tzinfo=zone)
    slots = table.slots(moment.astimezone(UTC))
    return [f"{next(slots).astimezone(zone):%m-%d %H:%M:%S%z}" for _ in range(number)]


# slots


def test_the_days_whose_clocks_change() -> None:
    """A nightly run comes once on each day, also where its hour is missing and where it comes twice; an hourly one each hour."""
    paris = Timetable("web", "30 2 * * *", "Europe/Paris", jitter=0)
    assert local(paris, "2027-03-27") == [
        "03-27 02:30:00+0100", "03-28 03:00:00+0200", "03-29 02:30:00+0200", "03-30 02:30:00+0200",
    ]  # fmt: skip
    assert local(paris, "2027-10-30", 3) == [
        "10-30 02:30:00+0200", "10-31 02:30:00+0200", "11-01 02:30:00+0100",
    ]  # fmt: skip
    york = Timetable("web", "0 * * * *", "America/New_York", jitter=0)
    assert local(york, "2027-11-07 00:30:00", 4) == [
        "11-07 01:00:00-0400", "11-07 01:00:00-0500", "11-07 02:00:00-0500", "11-07 03:00:00-0500",
    ]  # fmt: skip
    assert local(york, "2027-03-14 00:30:00", 3) == [
        "03-14 01:00:00-0500", "03-14 03:00:00-0400", "03-14 04:00:00-0400",
    ]  # fmt: skip


def test_leap_days() -> None:
    """The 29th of February comes where there is one."""
    table = Timetable("web", "0 3 29 2 *", jitter=0)
    first = table.after(START)
    assert first == datetime(2028, 2, 29, 3, tzinfo=UTC)
    assert table.after(first) == datetime(2032, 2, 29, 3, tzinfo=UTC)


@pytest.mark.parametrize("schedule", ["manual", "on-notification"])
def test_what_has_no_slots(schedule: str) -> None:
    """What a person or the source decides is never due by itself."""
    table = Timetable("web", schedule)
    assert (table.timed, table.after(START), list(table.slots(START))) == (False, None, [])
    assert decide(table, Mark(table.signature, START), START + 400 * DAY) is None


@given(table=tables, moment=moments)
@settings(max_examples=100, deadline=None)
def test_slots_are_the_same_however_they_are_asked_for(table: Timetable, moment: datetime) -> None:
    """Walking, asking for the next, and asking for the newest agree; slots rise; none is lost between two looks."""
    walk = table.slots(moment)
    found = [next(walk) for _ in range(6)]
    assert found == sorted(set(found))
    assert found[0] > moment
    for here, following in pairwise(found):
        assert table.after(here) == following
        assert table.after(following - timedelta(microseconds=1)) == following
        assert table.newest(following - timedelta(microseconds=1)) == here
        assert table.newest(here) == here
    assert table.count(found[0], found[5]) == 5


@given(table=tables, moment=moments)
@settings(max_examples=100, deadline=None)
def test_slots_lie_inside_the_window(table: Timetable, moment: datetime) -> None:
    """No slot lies where no run may begin, and what waits for the window begins in it."""
    slots = table.slots(moment)
    for _ in range(5):
        slot = next(slots)
        assert table.opens(slot) == slot
    opening = table.opens(moment)
    assert opening >= moment
    assert table.opens(opening) == opening


@given(table=tables, moment=moments)
@settings(max_examples=100, deadline=None)
def test_every_named_time_is_served(table: Timetable, moment: datetime) -> None:
    """Each time that the schedule names is followed by a slot before the next one, or as soon as the window opens."""
    plain = Timetable(
        table.name, table.schedule, table.timezone, jitter=0 if not table._every else table.jitter
    )
    named = plain.slots(moment)
    here, following = next(named), next(named)
    opening = table._window.opens(here) if table._window else here
    most = timedelta(seconds=1800 if table.jitter is None else table.jitter)
    slot = table.newest(max(following, opening + most)) or moment
    assert here <= slot
    first = table.after(here - timedelta(microseconds=1)) or moment
    assert first <= max(following, opening + most)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_what_the_configuration_takes_has_slots(data: st.DataObject) -> None:
    """Every cron schedule that passes the check of the configuration is one that the library understands."""
    bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
    words = []
    for low, high in bounds:
        numbers = st.integers(low, high)
        pairs = st.tuples(numbers, numbers).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
        step = st.integers(1, 99).map(lambda number: f"/{number}")
        item = st.one_of(st.just("*"), numbers.map(str), pairs)
        words.append(
            data.draw(
                st.lists(st.one_of(item, st.builds(str.__add__, item, step)), min_size=1, max_size=3).map(
                    ",".join
                )
            )
        )
    try:
        schedule = check_schedule(" ".join(words))
    except ValueError:
        return
    assert Timetable("web", schedule).after(START) is not None


# jitter


def test_a_thousand_sources_do_not_begin_together() -> None:
    """A thousand hourly sources spread over minutes, each keeps its place, and `every` spreads over its whole distance."""
    slots = {n: Timetable(f"s{n}", "0 * * * *").after(START + DAY / 2) for n in range(1000)}
    again_ = {n: Timetable(f"s{n}", "0 * * * *").after(START + DAY / 2) for n in range(1000)}
    assert slots == again_
    moments = [slot for slot in slots.values() if slot]
    assert max(moments) - min(moments) > 5 * MINUTE
    assert max(moments) < START + DAY / 2 + HOUR + 6 * MINUTE
    most = max(moments.count(each) for each in set(moments))
    assert most <= 12
    for number in (1, 500):
        later = Timetable(f"s{number}", "0 * * * *").after(START + 100 * DAY + DAY / 2)
        assert (later or START) - 100 * DAY == slots[number]
    spread = [Timetable(f"s{n}", "every 6h").after(START) or START for n in range(1000)]
    assert max(spread) - min(spread) > 5 * HOUR
    assert all(Timetable(f"s{n}", "0 * * * *", jitter=0).after(START) == START + HOUR for n in range(10))


# windows


def test_a_window_over_midnight_waits_once() -> None:
    """Of the hours of the day that lie outside, one run comes when the window opens, and the others each hour until it closes."""
    table = Timetable("web", "30 * * * *", "Europe/Paris", (22 * 60, 1 * 60), 0)
    assert local(table, "2027-06-01 01:00:00", 5) == [
        "06-01 22:00:00+0200", "06-01 22:30:00+0200", "06-01 23:30:00+0200", "06-02 00:30:00+0200", "06-02 22:00:00+0200",
    ]  # fmt: skip


def test_a_window_in_the_hour_that_changes() -> None:
    """A window inside the hour that is missing opens after it; one inside the hour that comes twice stays open for both."""
    paris = ZoneInfo("Europe/Paris")
    window = Window(2 * 60 + 15, 2 * 60 + 45, paris)
    missing = datetime(2027, 3, 28, 0, tzinfo=UTC)
    assert f"{window.opens(missing).astimezone(paris):%d %H:%M}" == "28 03:15"
    twice = datetime(2027, 10, 31, 0, tzinfo=UTC)
    assert window.closes(twice) - window.opens(twice) == HOUR + 30 * MINUTE


# decisions


def begun(schedule: str = "0 * * * *", **more: object) -> tuple[Timetable, Mark]:
    """A source that was looked at first when the year began."""
    table = Timetable("web", schedule, jitter=0, **more)  # type: ignore[arg-type]
    return table, Mark(table.signature, START)


def test_a_new_schedule_begins_now() -> None:
    """A source that was never seen, or whose schedule was changed, is not caught up for the time before."""
    table, mark = begun()
    for known in (None, Mark("every 1m UTC", START - 300 * DAY)):
        decision = decide(table, known, START)
        assert decision is not None
        assert (decision.seen, decision.slot, decision.missed) == (START, None, None)
    assert decide(table, mark, START + HOUR - MINUTE) is None


def test_an_outage_is_caught_up_once_and_told_once() -> None:
    """After ten days there is one run, for the newest slot, and one word about all the others."""
    table, mark = begun()
    decision = decide(table, mark, START + 10 * DAY + 5 * MINUTE)
    assert decision is not None
    assert decision.slot == decision.seen == START + 10 * DAY
    assert decision.missed is not None
    assert (decision.missed.count, decision.missed.first) == (239, START + HOUR)
    assert "from 2027-01-01 01:00 UTC to 2027-01-10 23:00 UTC did not happen" in decision.missed.message
    late = decide(table, mark, START + HOUR + 50 * MINUTE)
    assert late is not None
    assert (late.slot, late.missed) == (START + HOUR, None)


def test_an_endless_outage_is_cheap() -> None:
    """A clock that jumps by years over a schedule of seconds costs no more than counting so far."""
    table, mark = begun("every 1s")
    decision = decide(table, mark, START + 3000 * DAY)
    assert decision is not None
    assert decision.slot == START + 3000 * DAY
    assert decision.missed is not None
    assert decision.missed.count == MOST_COUNTED
    assert "more than 1000 runs" in decision.missed.message


def test_a_small_step_back_repeats_nothing_and_a_large_one_silences_nothing() -> None:
    """Minutes back: no slot comes twice. Hours back: the schedule follows the clock."""
    table = Timetable("web", "0 * * * *", jitter=0)
    mark = Mark(table.signature, START + 12 * HOUR)
    assert decide(table, mark, START + 12 * HOUR - 14 * MINUTE) is None
    for back in (30 * MINUTE, 3 * HOUR, 900 * DAY):
        now = START + 12 * HOUR - back
        decision = decide(table, mark, now)
        assert decision is not None
        assert (decision.seen, decision.slot, decision.missed) == (now, None, None)


def test_what_passes_behind_a_run_that_waits_is_told_when_it_begins() -> None:
    """One follow-up serves the newest slot; those that it comes too late for are told as one, with what stood in the way."""
    table, _ = begun()
    assert overtaken(table, START + HOUR, START + HOUR + 40 * MINUTE, "x") == (START + HOUR, None)
    assert overtaken(table, START + HOUR, START + 2 * HOUR + 5 * MINUTE, "x")[0] == START + 2 * HOUR
    slot, missed = overtaken(table, START + HOUR, START + 6 * HOUR + 30 * MINUTE, "a run still went on")
    assert slot == START + 6 * HOUR
    assert missed is not None
    assert (missed.first, missed.last, missed.count) == (START + HOUR, START + 5 * HOUR, 5)
    assert missed.message.endswith("a run still went on")


def test_a_run_of_days_is_told_before_it_ends() -> None:
    """A run that goes on for more than a day is told once a day, though its follow-up still waits."""
    table, _ = begun()
    mark = Mark(table.signature, START + 23 * HOUR)
    assert decide(table, mark, START + 24 * HOUR, waiting=START + HOUR).missed is None  # type: ignore[union-attr]
    mark = Mark(table.signature, START + 24 * HOUR)
    decision = decide(table, mark, START + 25 * HOUR, waiting=START + HOUR)
    assert decision is not None
    assert decision.missed is not None
    assert decision.missed.count == 24


def test_frequent_slots_are_no_storm_of_missed_runs() -> None:
    """Slots within minutes of a run are served by it."""
    table, _ = begun("every 2s")
    assert overtaken(table, START, START + 5 * MINUTE, "x")[1] is None
    decision = decide(table, Mark(table.signature, START), START + 5 * MINUTE)
    assert decision is not None
    assert decision.missed is None


# retries


def run(**more: object) -> Run:
    """A run that ended."""
    values = {
        "id": "x",
        "source": "web",
        "kind": Kind.PULL,
        "cause": Cause.DUE,
        "state": RunState.ENDED,
        "queued": START,
    }
    return Run(**values | more)  # type: ignore[arg-type]


def wait(
    made: Run, outcome: Outcome = Outcome.FAILED, *, helps: bool = True, chance: float = 0.5
) -> float | None:
    """Seconds until the next try."""
    found = delay(made, outcome, helps=helps, retries=4, chance=chance)
    return found.total_seconds() if found else None


def test_retries_wait_longer_and_longer_with_some_chance() -> None:
    """Half a minute, then six times as long each, an hour at most, a quarter more or less, and not for ever."""
    assert [wait(run(attempt=n)) for n in range(1, 7)] == [30, 180, 1080, 3600, None, None]
    assert (wait(run(), chance=0), wait(run(), chance=1)) == (22.5, 37.5)
    assert wait(run(), Outcome.INTERRUPTED) == 5
    assert wait(run(attempt=5), Outcome.INTERRUPTED) is None


def test_what_a_retry_cannot_help() -> None:
    """A refused key, a wrong configuration, a rule, a person's wish to stop, and what a person asked for and saw fail."""
    assert wait(run(), helps=False) is None
    for outcome in (Outcome.OK, Outcome.PARTIAL, Outcome.REFUSED, Outcome.CANCELLED, Outcome.MISSED):
        assert wait(run(), outcome) is None
    assert wait(run(cause=Cause.ASKED)) is None
    assert wait(run(cause=Cause.ASKED), Outcome.INTERRUPTED) == 5
    assert wait(run(cause=Cause.NOTICE)) == wait(run(cause=Cause.RETRY)) == 30
    assert wait(run(cancel=START), Outcome.INTERRUPTED) is None
    assert wait(run(kind=Kind.MIGRATE), Outcome.INTERRUPTED) is None


def test_a_day_of_the_month_or_of_the_week() -> None:
    """Where both are given either is enough, as in cron; with a star in one of them both must fit."""
    either = Timetable("web", "0 0 13 * fri", jitter=0).slots(START)
    assert [next(either).day for _ in range(4)] == [8, 13, 15, 22]
    both = Timetable("web", "0 0 */13 * fri", jitter=0).slots(START)
    assert [f"{next(both):%m-%d}" for _ in range(3)] == ["05-14", "08-27", "10-01"]

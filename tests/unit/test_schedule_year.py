"""A year of a fleet, played in seconds on a clock of our own: outages, sleep, jumps both ways; no storm, no silence."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile

from pbs.model import Mark
from pbs.schedule import Decision, Planner, Timetable
from pbs.schedule.decide import LATE

START = datetime(2027, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# Name: schedule, time zone, window, the longest time between two slots.
FLEET = {
    "hourly": ("0 * * * *", "UTC", None, HOUR),
    "paris": ("30 2 * * *", "Europe/Paris", None, 25 * HOUR),
    "york": ("30 1 * * *", "America/New_York", None, 25 * HOUR),
    "weekly": ("0 4 * * sun", "Europe/Paris", None, 7 * DAY + HOUR),
    "six": ("every 6h", "UTC", None, 6 * HOUR),
    "night": ("0 */3 * * *", "Europe/Paris", (22 * 60, 6 * 60), 17 * HOUR),
    "workdays": ("15 12 * * mon-fri", "America/New_York", (20 * 60, 23 * 60), 3 * DAY + HOUR),
    "monthly": ("0 3 1 * *", "UTC", None, 31 * DAY),
    **{f"daily{number}": ("0 1 * * *", "Europe/Paris", None, 25 * HOUR) for number in range(6)},
    "never": ("manual", "UTC", None, 0 * HOUR),
}
TABLES = {
    name: Timetable(name, schedule, zone, window) for name, (schedule, zone, window, _) in FLEET.items()
}


@dataclass
class World:
    """A controller that ticks, and what came of it. `real` never jumps; `up` is the part of it in which anybody was there."""

    now: datetime = START
    real: timedelta = timedelta()
    up: timedelta = timedelta()
    marks: dict[str, Mark] = field(default_factory=dict)
    runs: dict[str, list[tuple[datetime, timedelta, timedelta]]] = field(default_factory=dict)
    missed: dict[str, list[tuple[datetime, datetime, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A controller that knows what the ledger holds."""
        self.planner = Planner(self.marks)
        self.planner.configure(TABLES)

    def tick(self) -> list[Decision]:
        """One round."""
        made = []
        for decision in self.planner.look(self.now, {}):
            made.append(decision)
            self.marks[decision.source] = Mark(decision.signature, decision.seen)
            self.planner.done(decision)
            if decision.slot is not None:
                self.runs.setdefault(decision.source, []).append((decision.slot, self.real, self.up))
            if decision.missed is not None:
                told = (decision.missed.first, decision.missed.last, decision.missed.count)
                self.missed.setdefault(decision.source, []).append(told)
        return made

    def live(self, until: timedelta, dice: random.Random) -> None:
        """Tick from slot to slot, a little late each time, for so much real time."""
        while self.real < until:
            self.tick()
            coming = [moment for name in TABLES if (moment := self.planner.next(name)) is not None]
            step = max(min([*coming, self.now + DAY]) - self.now, 2 * SECOND) + dice.random() * 2 * SECOND
            self.pass_(min(step, until - self.real))

    def pass_(self, span: timedelta, *, away: bool = False) -> None:
        """Let real time and the clock go on."""
        self.now += span
        self.real += span
        self.up += timedelta() if away else span


def test_a_year_without_trouble_runs_every_slot_once() -> None:
    """Every slot of the year becomes exactly one run, on time; nothing is missed, nothing comes twice."""
    world = World()
    world.live(365 * DAY, random.Random(1))
    assert world.missed == {}
    assert "never" not in world.runs
    for name, table in TABLES.items():
        if table.timed:
            slots = [slot for slot, _, _ in world.runs[name]]
            assert len(slots) == len(set(slots))
            assert len(slots) == table.count(START, START + 365 * DAY) or len(slots) > 1000
            assert slots == sorted(slots)
            late = max(START + real - slot for slot, real, _ in world.runs[name])
            assert late < 10 * SECOND
    assert len(world.runs["paris"]) == len(world.runs["york"]) == 365
    assert len(world.runs["hourly"]) == 8760
    together = {}
    for number in range(6):
        for slot, _, _ in world.runs[f"daily{number}"]:
            together[slot] = together.get(slot, 0) + 1
    assert max(together.values()) == 1


def test_a_year_of_outages_and_jumps() -> None:
    """After each outage or jump each source gets one run at most, and one word; never is a source silent for longer than its
    distance and a little; what was not run and not told does not exist."""
    dice, world, jumps = random.Random(7), World(), []
    while world.real < 365 * DAY:
        world.live(world.real + dice.random() * 12 * DAY, dice)
        what = dice.choice(["outage", "sleep", "forward", "back", "step"])
        span = dice.choice([20 * MINUTE, 5 * HOUR, 3 * DAY]) * (0.5 + dice.random())
        jumps.append(world.up)
        before = {name: len(runs) for name, runs in world.runs.items()}
        told = {name: len(words) for name, words in world.missed.items()}
        if what in ("outage", "sleep"):
            world.pass_(span, away=True)
        elif what == "forward":
            world.now += span
        elif what == "back":
            world.now -= span
        else:
            world.now -= dice.random() * 5 * SECOND
        if what == "outage":
            world.start()
        for _ in range(5):
            world.tick()
            world.pass_(2 * SECOND)
        for name in TABLES:
            assert len(world.runs.get(name, [])) - before.get(name, 0) <= 1, (what, name)
            assert len(world.missed.get(name, [])) - told.get(name, 0) <= 1, (what, name)
    for name, (_, _, _, distance) in FLEET.items():
        if not TABLES[name].timed:
            assert name not in world.runs
            continue
        # Counted while the service was there, and from a jump on: what the clock says before and after it cannot be compared.
        times = sorted([timedelta(), *jumps, *(up for _, _, up in world.runs[name]), world.up])
        silence = max(later - earlier for earlier, later in pairwise(times))
        assert silence <= 1.25 * distance + MINUTE, (name, silence)


def test_no_slot_is_lost_between_runs_and_words() -> None:
    """With outages alone every slot is either run, or told, or followed within minutes by a run."""
    dice, world = random.Random(3), World()
    while world.real < 120 * DAY:
        world.live(world.real + dice.random() * 3 * DAY, dice)
        world.pass_(dice.choice([MINUTE, 3 * HOUR, 2 * DAY]) * (0.5 + dice.random()))
        world.start()
    world.tick()
    for name, table in TABLES.items():
        if not table.timed:
            continue
        run = {slot for slot, _, _ in world.runs[name]}
        served = [START + real for _, real, _ in world.runs[name]]
        words = world.missed.get(name, [])
        total = 0
        for slot in takewhile(lambda slot: slot < world.now, table.slots(START)):
            told = any(first <= slot <= last for first, last, _ in words)
            soon = any(slot <= moment <= slot + LATE + MINUTE for moment in served)
            assert slot in run or told or soon, (name, slot)
            assert not (slot in run and told), (name, slot)
            total += told
        assert total == sum(count for _, _, count in words), name


def test_looking_when_nothing_is_due_costs_nothing() -> None:
    """With a thousand sources, a round in which nothing is due works out nothing: every next slot is known."""
    planner = Planner({})
    planner.configure({f"s{number}": Timetable(f"s{number}", "0 * * * *") for number in range(1000)})
    first = list(planner.look(START, {}))
    assert len(first) == 1000
    for decision in first:
        planner.done(decision)
    planner._tables = dict.fromkeys(planner._tables)  # type: ignore[arg-type] # whoever asked one would fail
    marks = planner._marks
    assert all(START < (planner.next(name) or START) <= START + HOUR + 6 * MINUTE for name in marks)

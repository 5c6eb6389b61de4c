"""The queue on a real SQLite: limits hold between processes, wishes join, retries and slots are written with what caused them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledger_workers import claim_beside

from pbs.ledger import Deal, Ledger, missed_run, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.model import Cause, Ending, Kind, Mark, Outcome, Run, RunState
from pbs.schedule import retry_of, retry_of_dead, told

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LOST = Ending(Outcome.FAILED, "nobody answers", "is it up?", retry=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty ledger of this version."""
    assert upgrade(tmp_path / "ledger.sqlite", tmp_path / "lock")
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """The same, open."""
    opened = open_ledger(path)
    yield opened
    opened.close()


def asked(ledger: Ledger, name: str = "web", cause: Cause = Cause.DUE, at: datetime = NOW) -> Run:
    """A run that waits."""
    return ledger.queue.request(name, Kind.PULL, cause, at)


def claim(ledger: Ledger, run: Run, at: datetime = NOW) -> Run:
    """The run, begun."""
    begun = ledger.queue.claim(run, "l", at, at_most=99)
    assert begun is not None
    return begun


# limits


def test_no_more_runs_on_a_host_than_it_may_have(path: Path) -> None:
    """Four processes that claim 60 runs on three machines never have more than two of a machine at a time, and leave none."""
    ledger = open_ledger(path)
    hosts = {f"s{number}": f"host{number % 3}" for number in range(60)}
    wanted = {asked(ledger, name).id for name in hosts}
    ledger.close()
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(4), context.Queue()
    workers = [
        context.Process(target=claim_beside, args=(path, f"l{n}", barrier, won, hosts, 2)) for n in range(4)
    ]
    for worker in workers:
        worker.start()
    claimed, beside, left = [], [], len(workers)
    while left:
        found = won.get(timeout=100)
        if found is None:
            left -= 1
        else:
            claimed.append(found[0])
            beside.append(found[1])
    for worker in workers:
        worker.join()
    assert sorted(wanted) == sorted(claimed)
    assert set(beside) <= {1, 2}


def test_another_machine_does_not_wait(ledger: Ledger) -> None:
    """A machine that has enough to do holds up nobody else, and takes the next run once one of its runs has ended."""
    hosts = {"a": "one", "b": "one", "c": "two"}
    a, b, c = (asked(ledger, name) for name in hosts)
    for run, taken in ((a, True), (b, False), (c, True)):
        assert taken == bool(ledger.queue.claim(run, "l", NOW, at_most=9, per_host=1, hosts=hosts))
    ledger.queue.end(a, "l", LOST, NOW)
    assert ledger.queue.claim(b, "l", NOW, at_most=9, per_host=1, hosts=hosts)


# wishes


def test_what_waits_becomes_as_urgent_as_the_most_urgent_wish(ledger: Ledger) -> None:
    """A person who joins a scheduled run that was put off has it begin at once, and before the others."""
    asked(ledger, "other")
    run = asked(ledger)
    ledger.queue.put_off(run, NOW + 60 * MINUTE)
    assert [each.source for each in ledger.queue.waiting(NOW)] == ["other"]
    assert ledger.queue.claim(run, "l", NOW, at_most=9) is None
    assert asked(ledger, cause=Cause.ASKED).id == run.id
    assert [each.source for each in ledger.queue.waiting(NOW)] == ["web", "other"]
    ledger.queue.put_off(run, NOW + 60 * MINUTE)
    assert claim(ledger, run).state is RunState.RUNNING


def test_a_clock_that_was_set_back_leaves_no_run_waiting_for_years(ledger: Ledger) -> None:
    """What was put off before the clock went back may begin after it."""
    run = asked(ledger)
    ledger.queue.put_off(run, NOW + 10 * MINUTE)
    assert [each.id for each in ledger.queue.waiting(NOW - timedelta(days=900))] == [run.id]
    assert claim(ledger, run, NOW - timedelta(days=900))


def test_a_flood_of_wishes_is_one_run(ledger: Ledger) -> None:
    """T30: a thousand notices are one queued run, and it is not even written again."""
    first = ledger.queue.request("web", Kind.PULL, Cause.NOTICE, NOW, NOW + MINUTE)
    for number in range(1, 1000):
        later = NOW + number * timedelta(seconds=1)
        assert ledger.queue.request("web", Kind.PULL, Cause.NOTICE, later, NOW + MINUTE).id == first.id
    assert len(ledger.runs()) == 1
    assert ledger.queue.waiting(NOW) == []
    assert len(ledger.queue.waiting(NOW + MINUTE)) == 1


# retries


def test_each_restore_brings_back_its_own(ledger: Ledger) -> None:
    """A restore that waits never becomes another one: two wishes for the same are one run, for two things they are two."""
    first, same, other = (
        ledger.queue.request("web", Kind.RESTORE, Cause.ASKED, NOW, options=options)
        for options in ('{"path":"a"}', '{"path":"a"}', '{"path":"b"}')
    )
    assert first.id == same.id
    assert {first.id: '{"path":"a"}', other.id: '{"path":"b"}'} == {
        each.id: each.options for each in ledger.queue.waiting()
    }


def test_a_failure_that_may_pass_is_tried_again_as_a_run_of_its_own(ledger: Ledger) -> None:
    """Each try has its own outcome; the next one names what it tries again, waits, and counts on; the last says no more."""
    run, now = asked(ledger), NOW
    for attempt in (1, 2, 3):
        begun = claim(ledger, run, now)
        retry = retry_of(begun, LOST, 2, now)
        ended = ledger.queue.end(begun, "l", told(LOST, retry), now, retry)
        assert (ended.attempt, ended.outcome) == (attempt, Outcome.FAILED)
        assert ("it is tried again by itself at" in (ended.hint or "")) == (attempt < 3)
        waiting = ledger.queue.waiting()
        if attempt == 3:
            assert waiting == []
            break
        assert ledger.queue.waiting(now) == []
        assert (waiting[0].retry_of, waiting[0].cause) == (run.id, Cause.RETRY)
        run, now = waiting[0], now + timedelta(hours=2)


def test_a_slot_that_comes_takes_the_retry_over(ledger: Ledger) -> None:
    """The schedule's next run is not one more beside the retry: it is the retry, now, with all its tries before it."""
    begun = claim(ledger, asked(ledger))
    ledger.queue.end(begun, "l", LOST, NOW, retry_of(begun, LOST, 2, NOW))
    ledger.slots.deal([Deal("web", Mark("s", NOW), NOW)], NOW)
    (run,) = ledger.queue.waiting(NOW)
    assert (run.cause, run.due, run.attempt, run.retry_of, run.not_before) == (Cause.DUE, NOW, 1, None, None)
    assert run == ledger.run(run.id)


def test_what_died_is_tried_again_whoever_asked_unless_something_waits(ledger: Ledger) -> None:
    """A dead worker's run is interrupted and queued again, once, with its end in one transaction."""
    run = claim(ledger, asked(ledger, cause=Cause.ASKED))

    def again(dead: Run) -> Run | None:
        return retry_of_dead(dead, 2, NOW)

    assert [each.id for each in ledger.queue.interrupt("web", NOW, again)] == [run.id]
    (retry,) = ledger.queue.waiting()
    assert (retry.retry_of, retry.attempt) == (run.id, 2)
    claim(ledger, retry, NOW + MINUTE)
    asked(ledger, cause=Cause.ASKED)
    ledger.queue.interrupt("web", NOW, again)
    assert len(ledger.queue.waiting()) == 1


def test_what_a_stop_interrupted_is_taken_up_again_and_counts_as_no_try(ledger: Ledger) -> None:
    """`pbs stop` during a run: it waits for the next start, also where no retries are allowed."""
    stopped = Ending(Outcome.INTERRUPTED, "the service was stopped while the run went on")
    run = claim(ledger, asked(ledger))
    for _ in range(3):
        ledger.queue.end(run, "l", stopped, NOW, retry_of(run, stopped, 0, NOW))
        (waiting,) = ledger.queue.waiting(NOW + MINUTE)
        assert (waiting.attempt, waiting.retry_of) == (1, run.id)
        run = claim(ledger, waiting, NOW + MINUTE)


# slots


def test_slots_their_runs_and_what_was_missed_are_one(ledger: Ledger) -> None:
    """A slot waits with the run that waits; what was told is not told again; a source that is gone begins anew."""
    mark = Mark("0 * * * * UTC", NOW)
    ledger.slots.deal([Deal("web", mark, NOW), Deal("db", mark)], NOW)
    ledger.slots.deal([Deal("web", replace(mark, seen=NOW + 60 * MINUTE), NOW + 60 * MINUTE)], NOW)
    assert ledger.slots.waiting() == {"web": NOW}
    assert ledger.slots.marks() == {"web": replace(mark, seen=NOW + 60 * MINUTE), "db": mark}
    missed = missed_run("web", NOW, "did not happen", "see", NOW + 180 * MINUTE)
    third = NOW + 180 * MINUTE
    ledger.slots.deal([Deal("web", replace(mark, seen=third), third, missed)], third)
    assert ledger.slots.waiting() == {"web": third}
    (told_,) = ledger.runs(ended=True)
    assert (told_.outcome, told_.due, told_.ended) == (Outcome.MISSED, NOW, third)
    assert len(ledger.runs()) == 2
    ledger.slots.keep(["db"])
    assert list(ledger.slots.marks()) == ["db"]


def test_a_run_that_began_after_a_slot_serves_it(ledger: Ledger) -> None:
    """After an outage a worker may take up a run before the slots that passed are looked at: that one is enough."""
    run = claim(ledger, asked(ledger, cause=Cause.ASKED), NOW + MINUTE)
    mark = Mark("s", NOW)
    ledger.slots.deal([Deal("web", mark, NOW)], NOW + 2 * MINUTE)
    assert ledger.queue.waiting() == []
    ledger.queue.end(run, "l", LOST, NOW + 3 * MINUTE)
    ledger.slots.deal([Deal("web", mark, NOW)], NOW + 4 * MINUTE)
    assert len(ledger.queue.waiting()) == 1


def test_a_run_that_begins_late_tells_what_it_overtook(ledger: Ledger) -> None:
    """The record of slots that passed behind a run comes with its claim, and not without."""
    run = replace(asked(ledger), due=NOW)
    missed = missed_run("web", NOW, "did not happen", "see", NOW)
    assert ledger.queue.claim(run, "l", NOW, at_most=0, missed=missed) is None
    assert ledger.runs(ended=True) == []
    assert ledger.queue.claim(run, "l", NOW, at_most=1, missed=missed)
    assert [each.outcome for each in ledger.runs(ended=True)] == [Outcome.MISSED]
    assert ledger.run(run.id).due == NOW

"""Runs that nobody asks for: by the schedule, by notice of the source, again after a death; in a real service."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import get, here
from stage import eventually

from pbs.ledger import Deal, open_ledger
from pbs.model import Cause, Kind, Mark, Outcome, Run, RunState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """A served home whose source may be tried again, on a line that is slow on purpose."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="4MB/s"}', "--set", "retries=2", "--set", "jitter=none")
        yield made


@pytest.fixture(autouse=True)
def idle(place: Stand) -> Iterator[None]:
    """Each test begins and ends with a service that has nothing to do."""
    eventually(place.serving, PATIENCE, "the service")
    yield
    schedule(place, "manual")
    eventually(lambda: not unfinished(place), PATIENCE, "an idle service")
    place.nothing_left()


def schedule(place: Stand, text: str) -> None:
    """Have the source's schedule be this from now on."""
    path = place.home.sources_d / "web.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("schedule")]
    path.write_text("\n".join([f'schedule = "{text}"', *lines]) + "\n")
    code, _, told = here(place.pbs, "reload")
    assert code == 0, told


def unfinished(place: Stand) -> list[Run]:
    """The runs that wait or go on."""
    return [run for run in place.runs() if run.state is not RunState.ENDED]


def told(place: Stand) -> dict[str, Any]:
    """The source, as the service tells it."""
    found: dict[str, Any] = json.loads(get(place.pbs, "/api/v1/sources/web"))
    return found


def test_a_schedule_is_acted_on(place: Stand) -> None:
    """Runs come by themselves, one at a time; `next` says when; a reload to `manual` ends it."""
    before = {run.id for run in place.runs()}
    assert told(place)["next"] is None
    schedule(place, "every 2s")
    eventually(lambda: len(place.runs()) >= len(before) + 3, PATIENCE, "three runs")
    coming = told(place)["next"]
    assert abs(datetime.fromisoformat(coming) - datetime.now(UTC)) < timedelta(seconds=6)
    schedule(place, "manual")
    eventually(lambda: not unfinished(place), PATIENCE, "an idle service")
    new = [run for run in place.runs() if run.id not in before]
    assert {run.cause for run in new} == {Cause.DUE}
    assert {run.outcome for run in new} == {Outcome.OK}
    assert all(run.due is not None and run.started and run.due <= run.started for run in new)
    assert len({run.due for run in new}) == len(new)
    spans = sorted((run.started, run.ended) for run in new if run.started and run.ended)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    assert told(place)["next"] is None


def test_a_killed_worker_is_tried_again(place: Stand) -> None:
    """F1: the run of a killed worker is interrupted, says that it is tried again, and is, as a run of its own, to a good end."""
    random_file(place.source.data / "big", 14 << 20)
    with place.pulling() as (process, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        place.kill("worker")
        assert process.wait(PATIENCE) == 5
    assert place.run(run.id).outcome is Outcome.INTERRUPTED

    def again() -> Run | None:
        return next((each for each in place.runs() if each.retry_of == run.id), None)

    retry = eventually(again, PATIENCE, "the next try")
    assert (retry.cause, retry.attempt) == (Cause.RETRY, 2)
    assert place.ended(retry.id).outcome is Outcome.OK
    assert place.titles()[run.id] == "web backup interrupted"
    place.restores("latest", place.source.data)


def test_what_a_stop_interrupts_and_misses_is_caught_up_once(place: Stand) -> None:
    """After an outage: one run for what was interrupted and all slots together, and one word in the feed about the others."""
    random_file(place.source.data / "big", 14 << 20)
    schedule(place, "0 * * * *")
    with place.pulling() as (process, run):
        eventually(place.transferring, PATIENCE, "the transfer")
        place.pbs("stop")
        assert process.wait(PATIENCE) == 5
    long_ago = datetime.now(UTC) - timedelta(hours=30)
    with contextlib.closing(open_ledger(place.home.ledger)) as ledger:
        (waiting,) = ledger.queue.waiting()
        assert (waiting.retry_of, waiting.attempt) == (run.id, 1)
        mark = ledger.slots.marks()["web"]
        ledger.slots.deal([Deal("web", Mark(mark.schedule, long_ago))], long_ago)
    before = {each.id for each in place.runs()}
    place.pbs.start()
    caught = place.ended(waiting.id)
    assert caught.outcome is Outcome.OK
    (missed,) = [each for each in place.runs() if each.id not in before]
    assert (missed.outcome, missed.kind) == (Outcome.MISSED, Kind.PULL)
    assert re.match(
        r"(28|29|30) runs that were due from .* did not happen: the service was not running",
        missed.message or "",
    )
    eventually(lambda: place.titles().get(missed.id) == "web backup missed", PATIENCE, "the feed")
    code, said, _ = here(place.pbs, "log", missed.id)
    assert code == 0
    assert "did not happen" in said

"""Runs that nobody asks for: by the schedule, by notice of the source, again after a death; in a real service."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import get, here, http
from stage import eventually

from pbs.controller import NOTICE_SECONDS
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
        place.pbs("stop", "--now")
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


@pytest.fixture
def token(place: Stand) -> str:
    """The token of the source."""
    code, said, told = here(place.pbs, "source", "show", "web", "--json")
    assert code == 0, told
    shown = json.loads(said)
    assert shown["notify_url"] == f"http://127.0.0.1:{place.pbs.port}/notify/web"
    found: str = shown["notify_token"]
    return found


def test_a_source_gives_notice(place: Stand, token: str) -> None:
    """A notice is a pull, over TCP and over the socket, by header and by path; several during a run are one run after it."""
    random_file(place.source.data / "big", 14 << 20)
    schedule(place, "on-notification")
    status, _, body = http(place.pbs, "POST", "/notify/web", tcp=True, Authorization=f"Bearer {token}")
    assert status == 202, body
    first = json.loads(body)["run"]
    assert set(json.loads(body)) == {"run"}
    eventually(place.transferring, PATIENCE, "the transfer")
    atom = b"<feed xmlns='http://www.w3.org/2005/Atom'/>"
    answers = [
        http(place.pbs, "POST", f"/notify/web/{token}", atom, tcp=tcp, Content_Type="application/atom+xml")
        for tcp in (True, False, True)
    ]
    assert [202] * 3 == [answer[0] for answer in answers], answers
    (after,) = {json.loads(answer[2])["run"] for answer in answers}
    assert after != first
    one, two = place.ended(first), place.ended(after)
    assert [one.outcome, two.outcome] == [Outcome.OK, Outcome.OK]
    assert [one.cause, two.cause] == [Cause.NOTICE, Cause.NOTICE]
    assert one.started
    assert two.started
    assert (two.started - one.started).total_seconds() >= NOTICE_SECONDS


def test_a_flood_of_notices_is_one_run(place: Stand, token: str) -> None:
    """T30: a thousand notices queue one run, and the service answers all of them."""
    schedule(place, "on-notification")
    before = len(place.runs())
    began = time.monotonic()
    connection = HTTPConnection("127.0.0.1", place.pbs.port, timeout=60)
    asked = set()
    for _ in range(1000):
        connection.request("POST", f"/notify/web/{token}")
        answer = connection.getresponse()
        asked.add(json.loads(answer.read())["run"])
        assert answer.status == 202
    connection.close()
    intervals = int((time.monotonic() - began) / NOTICE_SECONDS)
    schedule(place, "manual")
    assert len(asked) <= 2 + intervals
    for run in asked:
        place.ended(run)
    assert len(place.runs()) - before <= 2 + intervals


def test_a_token_of_a_source_is_good_for_nothing_else(place: Stand, token: str) -> None:
    """T30: a wrong token, no token and an unknown source get one answer; the right one opens nothing but its own notice."""
    schedule(place, "on-notification")
    wrong = [
        http(place.pbs, "POST", path, tcp=tcp, **headers)
        for tcp in (True, False)
        for path, headers in (
            ("/notify/web", {}),
            ("/notify/web", {"Authorization": "Bearer nothing"}),
            ("/notify/web/nothing", {}),
            (f"/notify/nobody/{token}", {}),
            ("/notify/nobody", {"Authorization": f"Bearer {token}"}),
            ("/notify/web", {"Authorization": f"Basic {token}"}),
        )
    ]
    assert {(status, body) for status, _, body in wrong} == {(401, wrong[0][2])}
    bearer = {"Authorization": f"Bearer {token}"}
    for method, path in (
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/runs"),
        ("GET", "/api/v1/sources/web"),
        ("GET", "/"),
    ):
        assert http(place.pbs, method, path, tcp=True, **bearer)[0] in (401, 429)
    assert http(place.pbs, "GET", f"/notify/web/{token}")[0] == 405
    assert unfinished(place) == []
    schedule(place, "manual")
    status, _, body = http(place.pbs, "POST", "/notify/web", tcp=True, **bearer)
    assert (status, json.loads(body)["error"]["code"]) == (409, "configuration")
    kept = place.home.notify_token("web")
    assert kept.stat().st_mode & 0o777 == 0o600
    logs = "".join(path.read_text(errors="replace") for path in place.home.log.rglob("*") if path.is_file())
    assert token not in logs

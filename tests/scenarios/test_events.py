"""A run followed over HTTP: every event once, in order, whoever was cut off or killed in between."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from typing import Any

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import here, http
from stage import eventually

from pbs.web.events import MOST_FOLLOWERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Event = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """A stand with a slow line."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="2MB/s"}')
        yield made


def opened(place: Stand, run: str, last: str | None = None) -> tuple[HTTPConnection, HTTPResponse]:
    """A connection that follows a run."""
    connection = HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(str(place.pbs.home / "var/run/controller.sock"))
    connection.request("GET", f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": last} if last else {})
    return connection, connection.getresponse()


def told(answer: HTTPResponse) -> Iterator[Event]:
    """The events of an answer, as a browser would take them: id, name, data."""
    fields: dict[str, str] = {}
    try:
        for line in answer:
            text = line.decode().rstrip("\n")
            if text:
                key, _, value = text.partition(": ")
                fields[key] = value
            elif "data" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}
    except (ConnectionError, IncompleteRead):
        return


def killed_controller(place: Stand) -> None:
    """The controller is killed, and back."""
    old = place.pids("controller")
    place.kill("controller")
    eventually(
        lambda: set(place.pids("controller")) - set(old) and place.serving(), PATIENCE, "the controller"
    )


def test_cut_off_and_gone_on(place: Stand) -> None:
    """A reader that is cut off again and again, and a controller that is killed: each line of the log comes once, in order."""
    random_file(place.source.data / "big", 10 << 20)
    run = place.pbs.json("pull", "web", "--no-wait")["id"]
    got: list[Event] = []
    for cut in itertools.count():
        connection, answer = opened(place, run, got[-1][0] if got else None)
        with closing(connection):
            assert 200 == answer.status
            assert "text/event-stream" in (answer.getheader("Content-Type") or "")
            got += itertools.islice(told(answer), 3) if cut < 4 else told(answer)
        if cut == 2:
            killed_controller(place)
        if got[-1][1] == "run":
            break
    log = place.home.run_log("web", run).read_bytes()
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines == [data for _, name, data in got if name != "run"]
    offsets = [int(place_) for place_, name, _ in got if name != "run"]
    assert all(log[:offset].endswith(b"\n") for offset in offsets)
    assert sorted(set(offsets)) == offsets
    assert ("over", "ok") == (got[-1][0], got[-1][2]["outcome"])
    assert 204 == http(place.pbs, "GET", f"/api/v1/runs/{run}/events", Last_Event_ID="over")[0]
    progress = [data for _, name, data in got if name == "progress"]
    percents = [data["percent"] for data in progress]
    assert len(progress) > 2
    assert sorted(percents) == percents
    assert 100.0 == percents[-1]
    assert all(before < 100 for before in percents[:-1])
    assert any(data["rate"] is not None and data["sent_rate"] for data in progress)
    assert progress[-1]["sent"] > 8 << 20


def test_a_run_that_waits_and_one_that_is_cancelled(place: Stand) -> None:
    """Who follows a queued run waits for it, and is told how it ended, though it never had a log."""
    random_file(place.source.data / "big", 10 << 20)
    run = place.pbs.json("pull", "web", "--no-wait")["id"]
    eventually(place.transferring, PATIENCE, "the transfer")
    waits = place.pbs.json("pull", "web", "--no-wait")["id"]
    connection, answer = opened(place, waits)
    with closing(connection):
        assert 0 == here(place.pbs, "cancel", waits)[0]
        ((last, name, data),) = told(answer)
    assert ("over", "run", "cancelled") == (last, name, data["outcome"])
    assert 0 == here(place.pbs, "cancel", run)[0]
    connection, answer = opened(place, run)
    with closing(connection):
        names = [name for _, name, _ in told(answer)]
    assert ["ended", "run"] == names[-2:]
    # Its log was cleared away: what became of it is told all the same.
    place.home.run_log("web", run).unlink()
    connection, answer = opened(place, run, "123")
    with closing(connection):
        assert ["run"] == [name for _, name, _ in told(answer)]


def test_what_makes_no_sense_is_refused(place: Stand) -> None:
    """A place that is none, and a run that never was, are answered with a sentence; a HEAD is no reader."""
    run = place.runs()[-1].id
    nonsense, nowhere = (400, "usage"), (404, "not_found")
    for last, refusal in (
        ("x", nonsense),
        ("-1", nonsense),
        ("1", nowhere),
        ("99999999", nowhere),
        ("9" * 40, nonsense),
    ):
        status, _, body = http(place.pbs, "GET", f"/api/v1/runs/{run}/events", Last_Event_ID=last)
        assert refusal == (status, json.loads(body)["error"]["code"]), last
        assert refusal[0] == http(place.pbs, "GET", f"/api/v1/runs/{run}/events?after={last}")[0]
    assert 404 == http(place.pbs, "GET", "/api/v1/runs/20260102T030405Z-web-pull-ffffffff/events")[0]
    assert 200 == http(place.pbs, "HEAD", f"/api/v1/runs/{run}/events")[0]


def test_readers_are_bounded_and_hold_nobody_up(place: Stand) -> None:
    """One reader too many is refused and the rest go on; the service stops at once, however many there are."""
    random_file(place.source.data / "big", 10 << 20)
    place.pbs.json("pull", "web", "--no-wait")
    eventually(place.transferring, PATIENCE, "the transfer")
    waits = place.pbs.json("pull", "web", "--no-wait")["id"]
    readers = [opened(place, waits) for _ in range(MOST_FOLLOWERS)]
    assert {200} == {answer.status for _, answer in readers}
    connection, answer = opened(place, waits)
    assert (429, "too_many") == (answer.status, json.loads(answer.read())["error"]["code"])
    connection.close()
    readers.pop()[0].close()
    since = time.monotonic()
    code, _, said = here(place.pbs, "stop")
    assert 0 == code, said
    assert time.monotonic() - since < 30
    assert all(answer.read().endswith(b"\n\n") for _, answer in readers)
    for connection, _ in readers:
        connection.close()
    place.serve_again()

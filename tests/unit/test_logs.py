"""What the service's logs look like: structured, about a run where there is one, and never a forged line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from pbs.logs import about, log_to

RUN = "20260501T120000Z-web-pull-0011aabb"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The logging of the tests themselves stays as it was."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = before


def lines(*, as_json: bool) -> io.StringIO:
    """Where the lines go."""
    stream = io.StringIO()
    log_to(stream, as_json=as_json)
    return stream


def test_a_line_says_when_how_bad_where_and_about_which_run() -> None:
    """Text for people, and the same as a JSON object."""
    stream = lines(as_json=False)
    with about("web", RUN):
        logging.getLogger("pbs.worker").warning("%s is %d", "it", 3)
    logging.getLogger("pbs.worker").info("alone")
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(rf"20\S+Z WARNING pbs\.worker source=web run={RUN} it is 3", first)
    assert re.fullmatch(r"20\S+Z INFO pbs\.worker alone", second)
    stream = lines(as_json=True)
    with about("web", RUN):
        logging.getLogger("other").error("é\u2028")
    found = json.loads(stream.getvalue())
    assert {"time", "level", "room", "event", "source", "run"} == set(found)
    assert ("error", "other", "é", "web", RUN) == tuple(
        found[name] for name in ("level", "room", "event", "source", "run")
    )


async def test_tasks_of_a_run_log_about_it_and_others_do_not() -> None:
    """Two runs at a time in one process do not get into each other's lines."""
    stream = lines(as_json=True)
    turn = asyncio.Barrier(2)

    async def work(name: str) -> None:
        with about(name, f"run-{name}"):
            await turn.wait()
            await asyncio.create_task(deeper(name))

    async def deeper(name: str) -> None:
        await asyncio.sleep(0)
        logging.getLogger("asyncio").warning("of %s", name)

    await asyncio.gather(work("a"), work("b"))
    logging.getLogger("x").info("none")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {("of a", "run-a"), ("of b", "run-b"), ("none", None)} == {
        (each["event"], each.get("run")) for each in found
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_that_is_logged_forges_a_line(as_json: bool) -> None:
    """Line ends, escapes and lone surrogates of a hostile text; a trace; a message whose arguments do not fit."""
    stream = lines(as_json=as_json)
    log = logging.getLogger("pbs")
    log.warning("a\n2026-01-01T00:00:00Z INFO pbs fine\x1b[2J\r\u202e %s", "\udcff" + "x" * 9000)
    log.warning("%d", "not a number")
    try:
        raise ValueError("evil\n2026-01-01T00:00:00Z INFO pbs fine\x1b[31m")
    except ValueError:
        log.exception("it broke")
    text = stream.getvalue()
    assert not re.search("[\x1b\r\u202e\udcff]", text)
    written = text.splitlines()
    heads = [line for line in written if not line.startswith("    ")]
    assert 3 == len(heads)
    assert "evil" in text
    if as_json:
        assert 3 == len(written)
        assert all(json.loads(line) for line in written)
    else:
        assert not any("INFO" in line.split(" ")[1] for line in heads)

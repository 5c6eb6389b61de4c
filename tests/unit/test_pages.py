"""What pages are made from: moments where the reader is, pictures of sizes, a run's log as a story."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.journal import story_of
from pbs.telling import event_text
from pbs.web.frame import Times, zone_named
from pbs.web.plot import HEIGHT, LEFT, WIDTH, plot_of, round_step
from pbs.web.runpage import lines_of, stages_of

NOW = datetime(2026, 7, 2, 3, 4, 5, tzinfo=UTC)


def test_moments_are_where_the_reader_is() -> None:
    """The same moment, in words and figures, by the clocks of the zone that was chosen."""
    times = Times(ZoneInfo("Asia/Tokyo"), NOW)
    assert "2026-07-02 12:04" == times.clock("2026-07-02T03:04:05Z")
    assert "2026-07-02 12:04:05 JST" == times.exact(NOW)
    assert "Asia/Tokyo" == times.name
    for seconds, text in ((3, "now"), (200, "3 min 20 s ago"), (-7200, "in 2 h"), (90_000, "1 d ago")):
        assert text == times.away(NOW - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "name", ["", "Nowhere/Land", "../../etc/passwd", "/etc/localtime", "a" * 999, "é", "Europe"]
)
def test_what_is_no_zone_is_none(name: str) -> None:
    """A cookie may hold anything."""
    assert zone_named(name) is None


SIZES = st.lists(st.integers(0, 10**18), min_size=2, max_size=50)


@given(SIZES, st.booleans())
def test_a_plot_stays_in_its_frame(sizes: list[int], bars: bool) -> None:
    """Whatever the sizes, every place lies within the picture, and the lines name sizes from nought upwards."""
    found = plot_of(
        [(NOW + timedelta(hours=number), size) for number, size in enumerate(sizes)], "x", bars=bars
    )
    assert found is not None
    assert all(0 <= y <= HEIGHT for y, _ in found.lines)
    assert "0 B" == found.lines[0][1]
    assert 2 <= len(found.lines) <= 6
    assert all(LEFT <= x <= WIDTH for x, _ in found.days)
    assert found.path.count("M") == (len(sizes) if bars else 1)


def test_one_point_is_no_plot() -> None:
    """There is nothing to compare; and many at one moment are drawn all the same."""
    assert plot_of([(NOW, 5)], "x") is None
    assert plot_of([(NOW, 5), (NOW, 5)], "x") is not None


def test_steps_are_round() -> None:
    """Lines of a picture stand at 1, 2, 5, 10, …"""
    assert [1, 2, 5, 5, 10, 50, 100] == [round_step(least) for least in (0.1, 2, 3, 5, 6, 21, 100)]


def test_a_log_becomes_a_story(tmp_path: Path) -> None:
    """Stages with their lengths, the newest progress, the newest events as sentences; torn and foreign lines are passed over."""
    path = tmp_path / "run.jsonl"

    def line(seconds: int, event: str, **more: object) -> str:
        moment = (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
        return json.dumps({"time": moment, "event": event, **more})

    lines = [
        line(0, "begin"), line(0, "stage", stage="connect"), "{torn", "[]", '{"event": 7}', '{"event": "stage"}',
        line(2, "stage", stage="backup"), *(line(3, "progress", files=number) for number in range(9)),
        *(line(4, "warning", path=f"/f{number}", reason="<b>no</b>") for number in range(5)),
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    story = story_of(path, 3)
    assert story.progress
    assert 8 == story.progress["files"]
    assert 3 == story.passed_over
    assert [("connecting", 2.0), ("backing up", 8.0)] == [
        (stage.text, stage.seconds) for stage in stages_of(story, NOW + timedelta(seconds=10))
    ]
    assert stages_of(story, None)[-1].seconds is None
    assert [f"cannot read /f{number}: <b>no</b>" for number in (2, 3, 4)] == [
        each["text"] for each in lines_of(story)
    ]
    assert story_of(tmp_path / "none", 3).events == []


def test_what_was_set_aside_is_named() -> None:
    """A file by its name, a snapshot by its id."""
    assert "data/x was not admitted: y" == event_text(
        {"event": "quarantined", "name": "data/x", "reason": "y"}
    )
    assert "snapshot aaaaaaaa" in str(
        event_text({"event": "quarantined", "snapshot": "a" * 64, "reason": "y"})
    )
    assert event_text({"event": "counted"}) is None

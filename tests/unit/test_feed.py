"""The feed: one item for each ended run, newest first, well-formed whatever a source prints."""

from __future__ import annotations

import html
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import feedparser
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from pbs.feed import OUTPUT_HEAD, OUTPUT_TAIL, render_feed, render_json
from pbs.model import Cause, Kind, Outcome, Run, RunState

BASE = "https://backup.example.org"
LINK = f"{BASE}/feeds/web1.xml"
T0 = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=60)
NUMBER = st.none() | st.integers(0, 2**63)
RUN = Run(
    id="20250301T115800Z-web1-pull-1a2b", source="web1", kind=Kind.PULL, cause=Cause.ASKED, state=RunState.ENDED,
    queued=T0 - timedelta(seconds=125), outcome=Outcome.OK, started=T0 - timedelta(seconds=120), ended=T0,
    files=11486, bytes=1_200_000_000, added_bytes=12_300_000, stored_bytes=5_200_000, message="Snapshot 4e1f2a3b received.",
)  # fmt: skip
GOLDEN = """<?xml version='1.0' encoding='UTF-8'?>
<rss xmlns:atom="http://www.w3.org/2005/Atom" xmlns:content="http://purl.org/rss/1.0/modules/content/" version="2.0">
  <channel>
    <title>Backups of web1</title>
    <link>https://backup.example.org</link>
    <description>One item for each run, the newest first.</description>
    <atom:link href="https://backup.example.org/feeds/web1.xml" rel="self" type="application/rss+xml"/>
    <docs>http://www.rssboard.org/rss-specification</docs>
    <generator>pbs</generator>
    <lastBuildDate>Sat, 01 Mar 2025 13:00:00 +0000</lastBuildDate>
    <item>
      <title>web1 backup failed</title>
      <link>https://backup.example.org/runs/20250301T125800Z-web1-pull-3c4d</link>
      <description>web1.example.org:22 does not answer.
What to do: see whether it is up.
Took 2 min.

ssh: &amp;lt;b&amp;gt;timeout&amp;lt;/b&amp;gt; &amp;amp; more</description>
      <guid isPermaLink="false">20250301T125800Z-web1-pull-3c4d</guid>
      <pubDate>Sat, 01 Mar 2025 13:00:00 +0000</pubDate>
    </item>
    <item>
      <title>web1 backup</title>
      <link>https://backup.example.org/runs/20250301T115800Z-web1-pull-1a2b</link>
      <description>12.3 MB new, 5.2 MB stored. 1.2 GB in 11,486 files in all. Took 2 min.
Snapshot 4e1f2a3b received.</description>
      <guid isPermaLink="false">20250301T115800Z-web1-pull-1a2b</guid>
      <pubDate>Sat, 01 Mar 2025 12:00:00 +0000</pubDate>
    </item>
  </channel>
</rss>
"""


def failed(run: Run) -> Run:
    return replace(
        run, id="20250301T125800Z-web1-pull-3c4d", outcome=Outcome.FAILED, files=None, bytes=None, added_bytes=None,
        stored_bytes=None, started=T0 + timedelta(minutes=58), ended=T0 + timedelta(hours=1),
        message="web1.example.org:22 does not answer.", hint="see whether it is up.",
        output="ssh: <b>timeout</b> & more\x1b[0m\x00\n",
    )  # fmt: skip


def items(document: bytes) -> list[ET.Element]:
    return ET.fromstring(document).findall("channel/item")


def text(item: ET.Element, tag: str) -> str:
    return item.findtext(tag) or ""


@st.composite
def runs(draw: st.DrawFn) -> Run:
    return Run(
        id=draw(ANYTHING), source=draw(ANYTHING), kind=draw(st.sampled_from(Kind)), cause=Cause.DUE,
        state=draw(st.sampled_from(RunState)), queued=T0, outcome=draw(st.none() | st.sampled_from(Outcome)),
        started=draw(st.none() | st.just(T0)),
        ended=draw(st.none() | st.datetimes(timezones=st.none() | st.just(UTC), min_value=datetime(1, 1, 2))),  # noqa: DTZ001
        files=draw(NUMBER), bytes=draw(NUMBER), added_bytes=draw(NUMBER), stored_bytes=draw(NUMBER),
        warnings=draw(st.integers(0, 9)), message=draw(st.none() | ANYTHING), hint=draw(st.none() | ANYTHING),
        clone=draw(st.none() | ANYTHING), output=draw(st.none() | ANYTHING),
    )  # fmt: skip


def test_golden() -> None:
    """What readers get, to the byte."""
    assert render_feed("Backups of web1", LINK, [RUN, failed(RUN)], base_url=BASE).decode() == GOLDEN


@given(st.lists(runs(), max_size=4), ANYTHING, ANYTHING)
@example([replace(RUN, output="]]>\x00\ud800\ufffe<script>&lt;script&gt;<![CDATA[")], "<&>", "\x1b")
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_text_makes_it_malformed(given_runs: list[Run], title: str, link: str) -> None:
    """Two XML parsers and a feed reader take it; nothing in a description or title is markup."""
    document = render_feed(title, link, given_runs, base_url=link)
    etree.fromstring(document)
    found = items(document)
    assert len(found) == len({run.id for run in given_runs if run.state is RunState.ENDED})
    for item in found:
        assert not set("<>") & set(text(item, "description") + text(item, "title"))
    parsed = feedparser.parse(document)
    assert not parsed.bozo
    assert len(parsed.entries) == len(found)
    assert document == render_feed(title, link, list(reversed(given_runs)), base_url=link) or len(
        found
    ) < len(given_runs)


@given(ANYTHING)
def test_output_comes_back_as_text(output: str) -> None:
    """A reader that renders HTML shows the very characters that were printed, the harmful ones apart."""
    shown = html.unescape(
        text(items(render_feed("t", LINK, [replace(RUN, output=output)], base_url=BASE))[0], "description")
    )
    harmless = "".join(letter for letter in output if letter.isalnum() or letter in "<>&")
    if "\x1b" not in output:
        assert harmless in "".join(letter for letter in shown if letter.isalnum() or letter in "<>&")


@pytest.mark.parametrize(
    ("kind", "outcome", "title"),
    [
        (Kind.PULL, Outcome.OK, "web1 backup"),
        (Kind.PULL, Outcome.PARTIAL, "web1 backup partial"),
        (Kind.PULL, Outcome.MISSED, "web1 backup missed"),
        (Kind.PUSH, Outcome.OK, "web1 restore"),
        (Kind.PUSH, Outcome.REFUSED, "web1 restore refused"),
        (Kind.RESTORE, Outcome.OK, "web1 local restore"),
        (Kind.MIGRATE, Outcome.FAILED, "web1 migrate failed"),
        (Kind.RETAIN, Outcome.CANCELLED, "web1 retain cancelled"),
        (Kind.CHECK, Outcome.OK, "web1 check"),
        (Kind.DRILL, Outcome.INTERRUPTED, "web1 drill interrupted"),
    ],
)
def test_titles_and_guids(kind: Kind, outcome: Outcome, title: str) -> None:
    """A title says what was done and how it ended; the guid is the run's id."""
    parsed = feedparser.parse(
        render_feed("t", LINK, [replace(RUN, kind=kind, outcome=outcome)], base_url=BASE)
    )
    entry = parsed.entries[0]
    assert (title, RUN.id, f"{BASE}/runs/{RUN.id}") == (entry.title, entry.id, entry.link)


def test_the_newest_are_kept() -> None:
    """The oldest go first, whatever the order they came in; each run once."""
    many = [replace(RUN, id=f"r{number:03}", ended=T0 + timedelta(minutes=number)) for number in range(130)]
    found = [text(item, "guid") for item in items(render_feed("t", LINK, many[::2] + many, base_url=BASE))]
    assert found == [f"r{number:03}" for number in range(129, 29, -1)]


def test_what_has_not_ended_is_no_item() -> None:
    """A run is told when it is over."""
    live = [replace(RUN, id=state, state=state) for state in (RunState.QUEUED, RunState.RUNNING)]
    assert items(render_feed("t", LINK, live, base_url=BASE)) == []


def test_an_empty_feed_is_a_feed() -> None:
    """A source without runs has one too, and it is the same each time."""
    document = render_feed("t", LINK, [], base_url=BASE)
    assert not feedparser.parse(document).bozo
    assert document == render_feed("t", LINK, [], base_url=BASE)


def test_output_by_the_id_of_the_run() -> None:
    """From a mapping or a function; a function that fails costs its own output only."""

    def broken(run: str) -> str:
        raise OSError(run)

    assert "printed" in text(
        items(render_feed("t", LINK, [RUN], {RUN.id: "printed"}, base_url=BASE))[0], "description"
    )
    assert "f:2025" in text(
        items(render_feed("t", LINK, [RUN], lambda run: f"f:{run}", base_url=BASE))[0], "description"
    )
    assert "cannot be read" in text(
        items(render_feed("t", LINK, [RUN], broken, base_url=BASE))[0], "description"
    )


def test_one_bad_run_blocks_nobody() -> None:
    """Values that no run should have make a plain item, not an error."""
    bad = replace(RUN, id="bad", files="many", message=7)  # type: ignore[arg-type]
    found = items(render_feed("t", LINK, [bad, RUN], base_url=BASE))
    assert {text(item, "guid") for item in found} == {"bad", RUN.id}
    assert any("cannot be shown" in text(item, "description") for item in found)


def test_a_flood_is_bounded() -> None:
    """Of a megabyte of output its beginning and its end stay."""
    flood = "<first>" + "\x00x" * 1_000_000 + "<last>"
    shown = html.unescape(
        text(items(render_feed("t", LINK, [replace(RUN, output=flood)], base_url=BASE))[0], "description")
    )
    assert "<first>" in shown
    assert shown.endswith("<last>")
    assert len(shown) < OUTPUT_HEAD + OUTPUT_TAIL + 500


# JSON Feed


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(ANYTHING, ANYTHING, ANYTHING), max_size=4))
def test_the_json_feed_tells_the_same(said: list[tuple[str, str, str]]) -> None:
    """Whatever runs print, the JSON Feed is well-formed, and has the items, titles and times of the RSS document."""
    runs = [
        replace(failed(RUN), id=f"r{number}", message=message, hint=hint, output=output)
        for number, (message, hint, output) in enumerate(said)
    ]
    document = json.loads(render_json("Backups of web1", LINK, runs, base_url=BASE))
    assert document["version"] == "https://jsonfeed.org/version/1.1"
    rss = items(render_feed("Backups of web1", LINK, runs, base_url=BASE))
    assert [each["id"] for each in document["items"]] == [text(item, "guid") for item in rss]
    assert [each["title"] for each in document["items"]] == [text(item, "title") for item in rss]
    assert [each["url"] for each in document["items"]] == [text(item, "link") for item in rss]
    for each, item in zip(document["items"], rss, strict=True):
        assert each["date_published"] == "2025-03-01T13:00:00Z"
        assert "\x1b" not in each["content_text"]
        assert each["_pbs"] == {"source": "web1", "kind": "pull", "outcome": "failed"}
        assert text(item, "description").replace("&lt;", "<").split() or each["content_text"]

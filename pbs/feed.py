"""Ended runs to RSS 2.0 or JSON Feed 1.1, newest first. The only door to feedgen; pure: it reads no clock and writes no file.

Readers render descriptions as HTML, so ours are text that was escaped once here and once more by feedgen: nothing that a
source prints becomes markup. What cannot stand in XML is gone before feedgen sees it, and an item that fails all the same
is replaced by a plain one: no run can keep the others out of the feed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import assert_never
from urllib.parse import quote

from feedgen.entry import FeedEntry
from feedgen.feed import FeedGenerator

from pbs.clock import stamp
from pbs.model import Kind, Outcome, Run, RunState
from pbs.text import clean, clean_line, duration, size

ALL = "all"
ABOUT = "One item for each run, the newest first."
ITEMS = 100
OUTPUT_HEAD = 4_000
OUTPUT_TAIL = 12_000
# What the feed of a source says of its last change before anything happened: always the same, so that the bytes are.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Details = Mapping[str, str] | Callable[[str], str | None]


def render_feed(
    title: str,
    link: str,
    runs: Sequence[Run],
    details: Details | None = None,
    *,
    base_url: str,
    limit: int = ITEMS,
) -> bytes:
    """The document of those runs that ended; the same runs give the same bytes.

    Args:
        title: what readers call the feed.
        link: the address of the feed itself.
        runs: in any order; queued and running ones are left out.
        details: the output of a run by its id, where the run does not carry it.
        base_url: what the addresses of the runs' pages start with.
        limit: how many of the newest are kept.
    """
    kept = _newest(runs, limit)
    feed = FeedGenerator()
    feed.title(clean_line(title, 200) or "Backups")
    feed.link(href=clean_line(link, 2000) or "about:blank", rel="self", type="application/rss+xml")
    feed.link(href=clean_line(base_url, 2000) or "about:blank", rel="alternate")
    feed.description(ABOUT)
    feed.generator("pbs")
    feed.lastBuildDate(_when(kept[0]) if kept else _NEVER)
    for run in kept:
        feed.add_entry(_item(run, details, base_url), order="append")
    document: bytes = feed.rss_str(pretty=True)
    return document


def render_json(
    title: str,
    link: str,
    runs: Sequence[Run],
    details: Details | None = None,
    *,
    base_url: str,
    limit: int = ITEMS,
) -> bytes:
    """The same as JSON Feed 1.1: items, ids, titles and texts are those of the RSS document."""
    items = [
        {
            "id": clean_line(run.id, 200) or "unknown",
            "url": _page(run, base_url),
            "title": item_title(run),
            "content_text": "\n".join(_description(run, _output(run, details))),
            "date_published": stamp(_when(run)),
            "tags": [run.kind.value, str(run.outcome or Outcome.INTERRUPTED)],
            "_pbs": {"source": clean_line(run.source, 100), "kind": run.kind.value, "outcome": run.outcome},
        }
        for run in _newest(runs, limit)
    ]
    document = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": clean_line(title, 200) or "Backups",
        "home_page_url": clean_line(base_url, 2000),
        "feed_url": clean_line(link, 2000),
        "description": ABOUT,
        "items": items,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def _page(run: Run, base_url: str) -> str:
    return f"{clean_line(base_url, 2000)}/runs/{quote(clean_line(run.id, 200))}"


def _newest(runs: Sequence[Run], limit: int) -> list[Run]:
    ended = {run.id: run for run in runs if run.state is RunState.ENDED}
    return sorted(ended.values(), key=lambda run: (_when(run), run.id), reverse=True)[: max(limit, 0)]


def _when(run: Run) -> datetime:
    """The end of a run; a missed one may have no times but the one at which it was noticed."""
    moment = run.ended or run.started or run.queued
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _item(run: Run, details: Details | None, base_url: str) -> FeedEntry:
    try:
        item = _entry(run, base_url, "\n".join(_description(run, _output(run, details))))
        item.rss_entry()
    except Exception:  # noqa: BLE001 - one bad run must not keep the others out of the feed
        item = _entry(run, base_url, "This run cannot be shown here; its page has everything.")
    return item


def _entry(run: Run, base_url: str, description: str) -> FeedEntry:
    item = FeedEntry()
    item.title(item_title(run))
    item.guid(clean_line(run.id, 200) or "unknown", permalink=False)
    item.link(href=_page(run, base_url))
    item.pubDate(_when(run))
    item.description(escape(description))
    return item


def item_title(run: Run) -> str:
    """`web1 backup`, `web1 restore failed`: the kind in the feed's own words, and how it ended unless that was well."""
    # Names are checked long before; a title must not become markup even if one was not.
    name = clean_line(run.source, 100).translate({ord(letter): None for letter in "<>&"})
    ending = "" if run.outcome is Outcome.OK else f" {run.outcome or Outcome.INTERRUPTED}"
    return f"{name} {_word(run.kind)}{ending}"


def _word(kind: Kind) -> str:
    match kind:
        case Kind.PULL:
            return "backup"
        case Kind.PUSH:
            return "restore"
        case Kind.RESTORE:
            return "local restore"
        case Kind.MIGRATE | Kind.RETAIN | Kind.CHECK | Kind.DRILL:
            return kind.value
        case _:
            assert_never(kind)


def _output(run: Run, details: Details | None) -> str:
    if callable(details):
        try:
            found = details(run.id)
        except Exception:  # noqa: BLE001 - what cannot be read of one run must not keep it out of the feed
            found = "[the output of this run cannot be read]"
    else:
        found = details.get(run.id) if details is not None else None
    return found or run.output or ""


def _description(run: Run, output: str) -> Iterator[str]:
    """First what a person wants to know, then what the run printed. Text, not yet escaped.

    Each line is a sentence of its own: readers that render HTML put them all on one.
    """
    facts = [" ".join(_facts(run))] if any(_facts(run)) else []
    said = [clean(run.message, 2_000)] if run.message else []
    advice = [f"What to do: {clean(run.hint, 2_000)}"] if run.hint else []
    yield from [*facts, *said, *advice] if run.outcome is Outcome.OK else [*said, *advice, *facts]
    shown = _bounded(output)
    if shown:
        yield ""
        yield shown


def _facts(run: Run) -> Iterator[str]:
    if run.clone is not None:
        yield f"To {clean_line(run.clone, 100)}."
    if run.added_bytes is not None:
        stored = f", {size(run.stored_bytes)} stored" if run.stored_bytes is not None else ""
        yield f"{size(run.added_bytes)} new{stored}."
    if run.bytes is not None or run.files is not None:
        parts = [size(run.bytes)] if run.bytes is not None else []
        parts += [_count(run.files, "file")] if run.files is not None else []
        yield f"{' in '.join(parts)} in all."
    if run.warnings:
        yield f"{_count(run.warnings, 'file')} could not be read."
    if run.seconds is not None:
        yield f"Took {duration(run.seconds)}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _bounded(output: str) -> str:
    """Beginning and end of what a run printed: its first and last lines say most."""
    whole = clean(output, max(len(output), 1)).strip()
    left_out = len(whole) - OUTPUT_HEAD - OUTPUT_TAIL
    if left_out <= 0:
        return whole
    return (
        f"{whole[:OUTPUT_HEAD]}\n[… {left_out:,} characters are left out; the page of the run has them …]\n"
        f"{whole[-OUTPUT_TAIL:]}"
    )

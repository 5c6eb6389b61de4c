"""The words of messages. Pure; what came from elsewhere was cleaned where it was judged, and is bounded here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pbs.clock import stamp
from pbs.messages.plan import Plan
from pbs.promises import Health, Promise, State, worst, worst_first
from pbs.text import clean, clean_line

MOST_LINES = 60
LONGEST_LINE = 700


@dataclass(frozen=True, slots=True)
class Message:
    """Something to say: a line, a text, how bad it is, and the same as data."""

    title: str
    text: str
    state: State
    data: dict[str, Any]


def message_of(plan: Plan, server: str, base_url: str) -> Message:
    """The message that a plan is."""
    parts = [
        ("broken or worse than before", plan.new),
        ("still not kept", plan.still),
        ("kept again", plan.mended),
    ]
    counts = [f"{len(promises)} {words}" for words, promises in parts if promises]
    only = [*plan.new, *plan.still, *plan.mended]
    title = f"{server}: {_short(only[0])}" if len(only) == 1 else f"{server}: {', '.join(counts)}"
    lines = [line for words, promises in parts if promises for line in _part(words, promises)]
    state = worst(each.state for each in only)
    data = {"new": plan.new, "still": plan.still, "mended": plan.mended}
    return made(
        title, [*lines, f"{base_url}/"], state, {word: list(map(_view, each)) for word, each in data.items()}
    )


def digest_of(health: Health, ended: Counter[tuple[str, str]], server: str, base_url: str) -> Message:
    """The summary of a day: what ran, and what is not kept."""
    outcomes: Counter[str] = Counter()
    for (_, outcome), number in ended.items():
        outcomes[outcome] += number
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common()) or "no run ended"
    names = {each.source for each in health.promises if each.source is not None}
    silent = sorted(names - {source for source, _ in ended})
    rest = [each for each in worst_first(health.promises) if each.state is not State.KEPT]
    lines = [f"{len(names)} sources. In the last day: {told}."]
    lines += (
        [f"No run of these ended in the last day: {', '.join(silent[:20])}{' …' if silent[20:] else ''}."]
        if silent
        else []
    )
    lines += [*_part("not kept", rest)] if rest else ["All promises are kept."]
    title = f"{server}: {'all is well' if not rest else f'{len(rest)} promises are not kept'}; {told}"
    return made(
        title,
        [*lines, f"{base_url}/"],
        health.state,
        {"outcomes": dict(outcomes), "not_kept": [_view(each) for each in rest]},
    )


def trial(server: str, base_url: str) -> Message:
    """What `pbs notify test` sends."""
    text = "This is a test: messages of this backup server arrive here."
    return made(f"{server}: a test message", [text, f"{base_url}/"], State.KEPT, {})


def made(title: str, lines: Sequence[str], state: State, data: dict[str, Any]) -> Message:
    """A message of a title and lines, each bounded."""
    title = clean_line(title, 200)
    text = clean("\n".join(lines), 40_000)
    # `text` is what Slack, Mattermost and their like show of it.
    return Message(
        title, text, state, {"title": title, "text": f"{title}\n{text}", "state": state.value, **data}
    )


def _part(words: str, promises: Sequence[Promise]) -> Iterator[str]:
    yield f"{words[0].upper()}{words[1:]}:"
    for each in promises[:MOST_LINES]:
        yield f"- {_line(each)}"
    if promises[MOST_LINES:]:
        yield f"- … and {len(promises) - MOST_LINES} more: `pbs health`"
    yield ""


def _short(promise: Promise) -> str:
    return f"{promise.source or 'the server'}: {promise.name} is {promise.state}"


def _line(promise: Promise) -> str:
    advice = f" What to do: {promise.hint}." if promise.hint else ""
    said = f"{_short(promise)} since {stamp(promise.since)}: {promise.reason}.{advice}"
    return clean_line(said, LONGEST_LINE)


def _view(promise: Promise) -> dict[str, Any]:
    return {
        "source": promise.source, "name": promise.name, "state": promise.state.value,
        "since": stamp(promise.since), "reason": promise.reason, "hint": promise.hint,
    }  # fmt: skip


def names(promises: Iterable[Promise]) -> str:
    """The promises of a ping, in a line."""
    return clean_line(", ".join(_short(each) for each in promises), 2000)

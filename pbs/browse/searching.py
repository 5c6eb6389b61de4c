"""A name looked for in the snapshots of a source, newest first, in bounded time and with bounded results.

What people type is text with `*` and `?`; without them any name that holds it is meant. It never says that there is
nothing where it did not look: `next` and `cut` tell what was left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pbs.browse.span import Span
from pbs.clock import Clock
from pbs.errors import ToolTimeout, UsageError
from pbs.home import Home
from pbs.ledger import Ledger
from pbs.lookup import opened, viewed
from pbs.model import Receipt
from pbs.repository import Entry, Hit, find

SECONDS = 20.0
LONGEST_TEXT = 500
_WILD = re.compile(r"[*?]")
# What restic reads as more than itself in a pattern, and people do not.
_SPECIAL = re.compile(r"[\\\[]")


@dataclass(slots=True)
class Match:
    """A name that was found: as the newest snapshot that has it tells it, and in how many it was seen."""

    entry: Entry
    exact: bool
    newest: Receipt
    snapshots: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found in the snapshots that it `looked` through.

    `cut`: there is more in them than is told, or may be; `broke_off`: because the time was over within one of them.
    """

    matches: tuple[Match, ...]
    looked: tuple[Receipt, ...]
    next: str | None
    cut: bool
    broke_off: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: restic's pattern, and what a path must be to be meant (restic finds all below a folder as well)."""

    pattern: bytes
    path: re.Pattern[str]


def wanted(text: str) -> Wanted:
    """What a person means.

    Raises:
        UsageError: nothing, or too much.
    """
    if not text.strip("/*? ") or len(text) > LONGEST_TEXT or "\0" in text:
        raise UsageError(
            f"that cannot be searched for: give 1 to {LONGEST_TEXT} characters of a name",
            "part of a name is enough, such as `invoice`; * and ? stand for anything, a / begins a path",
        )
    anchored, parts = text.startswith("/"), [part for part in text.split("/") if part]
    if text.endswith("/"):
        parts.append("*")
    elif not _WILD.search(text):
        parts[-1] = f"*{parts[-1]}*"
    shape = "/".join("".join(_part(piece) for piece in re.split(r"([*?])", part)) for part in parts)
    pattern = ("/" if anchored else "") + "/".join(parts)
    return Wanted(
        os.fsencode(_SPECIAL.sub(lambda found: "\\" + found[0], pattern)),
        re.compile(("/" if anchored else "/(?:.*/)?") + shape + r"\Z", re.IGNORECASE | re.DOTALL),
    )


def _part(piece: str) -> str:
    return {"*": "[^/]*", "?": "[^/]"}.get(piece) or re.escape(piece)


@dataclass(slots=True)
class _Basket:
    """What was found so far, in bounded room."""

    wanted: Wanted
    limit: int
    matches: dict[str, Match] = field(default_factory=dict)
    cut: bool = False

    def fill(self, receipts: dict[str, Receipt], found: Iterator[tuple[Hit | None, str]]) -> None:
        """Take the hits of some snapshots; those of one come before its id."""
        waiting: dict[str, Hit] = {}
        try:
            for hit, snapshot in found:
                if hit is None:
                    self._put(waiting, receipts[snapshot])
                elif self._meant(path := hit.entry.path, waiting):
                    waiting[path] = hit
        finally:
            # Broken off within a snapshot: whose hits these are is known where it is the only one.
            if len(receipts) == 1:
                self._put(waiting, *receipts.values())

    def _meant(self, path: str, waiting: dict[str, Hit]) -> bool:
        return bool(self.wanted.path.match(path)) and (path in self.matches or self._room(waiting))

    def _room(self, waiting: dict[str, Hit]) -> bool:
        if len(self.matches) + len(waiting) < self.limit:
            return True
        self.cut = True
        return False

    def _put(self, hits: dict[str, Hit], receipt: Receipt) -> None:
        for path, hit in hits.items():
            known = self.matches.get(path)
            if known is None:
                self.matches[path] = Match(hit.entry, hit.exact, receipt)
                continue
            known.snapshots += 1
            if (receipt.time, receipt.id) > (known.newest.time, known.newest.id):
                known.entry, known.exact, known.newest = hit.entry, hit.exact, receipt
        hits.clear()


async def search(
    home: Home,
    ledger: Ledger,
    clock: Clock,
    source: str,
    text: str,
    *,
    before: str | None = None,
    limit: int = 200,
    seconds: float = SECONDS,
) -> Found:
    """Look for a name in every snapshot of a source, or in those older than `before`.

    Raises:
        UsageError: what is looked for makes no sense.
        NotFound: no such source, or it has no snapshot.
        LeaseHeld: the repository is being maintained.
    """
    basket = _Basket(wanted(text), limit)
    with opened(home, source, "latest", ledger) as found:
        span = Span(clock, found.usable, before, seconds)
        for batch in span.batches():
            receipts = {each.id: each for each in batch}
            with viewed(home, found, receipts) as handle:
                try:
                    await find(
                        handle,
                        list(receipts),
                        basket.wanted.pattern,
                        lambda hits, these=receipts: basket.fill(these, hits),  # type: ignore[misc]
                        seconds=span.seconds,
                        ignore_case=True,
                    )
                except ToolTimeout:
                    span.break_off()
            if basket.cut:
                span.stop()
    return Found(
        tuple(basket.matches.values()),
        tuple(span.looked),
        span.next,
        cut=basket.cut or span.broke_off,
        broke_off=span.broke_off,
    )

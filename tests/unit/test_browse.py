"""Folders on the shelf, what a person means by a search, which snapshots are gone through, versions told apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs.browse import history, searching
from pbs.browse.shelf import Order, Shelf, sweep
from pbs.browse.span import Span
from pbs.clock import SystemClock
from pbs.errors import NotFound, ToolTimeout, UsageError
from pbs.model import Outcome, Receipt, ReceiptState
from pbs.repository import Entry, Hit
from pbs.repository.messages import possible_name

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = st.binary(min_size=1, max_size=40).filter(possible_name)
ENTRIES = st.lists(
    st.builds(
        lambda name, kind, size, seconds, target: Entry(
            b"/a b/" + name, kind, 0o644, 1, 2, size if kind == "file" else None,
            START + timedelta(seconds=seconds) if seconds is not None else None, target, 7,
        ),
        NAMES, st.sampled_from(["file", "dir", "symlink"]), st.integers(0, 1 << 62),
        st.one_of(st.none(), st.integers(-(10**9), 10**9)), st.one_of(st.none(), st.text()),
    ),
    max_size=12, unique_by=lambda entry: entry.raw,
)  # fmt: skip


@given(ENTRIES, st.integers(1, 5))
@settings(max_examples=60)
def test_a_folder_comes_from_the_shelf_as_it_was_put_there(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry], step: int
) -> None:
    """Page after page gives each entry once, byte by byte, in every order and direction; each is found by its name."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf"), "web")
    shelf.keep("1" * 64, b"/a b", entries).file.close()
    listed = shelf.find("1" * 64, b"/a b")
    assert listed is not None
    keys = {
        Order.STORED: lambda entry: 0,
        Order.NAME: lambda entry: entry.type != "dir",
        Order.SIZE: lambda entry: entry.size if entry.size is not None else -1,
        Order.TIME: lambda entry: entry.mtime.timestamp() if entry.mtime else 0.0,
    }
    for order, key in keys.items():
        whole = sorted(entries, key=key)
        for descending in (False, True):
            paged = [
                entry
                for after in range(0, len(entries) + step, step)
                for entry in listed.part(after, step, order, descending=descending)
            ]
            assert (whole[::-1] if descending else whole) == paged
    for entry in entries:
        assert entry == listed.named(entry.raw.removeprefix(b"/a b/"))
    assert listed.named(b"nobody/") is None
    listed.file.close()


def test_a_torn_folder_is_not_on_the_shelf(tmp_path: Path) -> None:
    """Whatever half of a file is left, it is read anew; so is one that another version wrote."""
    shelf = Shelf(tmp_path, "web")
    shelf.keep("1" * 64, b"/", [Entry(b"/x", "file", 0o644, 0, 0, 3)]).file.close()
    path = next(tmp_path.glob("*/*"))
    whole = path.read_bytes()
    for end in (*range(len(whole)), len(whole) + 3):
        path.write_bytes(whole[:end] if end <= len(whole) else b"x" + whole[1:])
        assert shelf.find("1" * 64, b"/") is None
    path.write_bytes(whole)
    found = shelf.find("1" * 64, b"/")
    assert found is not None
    found.file.close()
    assert shelf.find("2" * 64, b"/") is None
    assert Shelf(tmp_path, "other").find("1" * 64, b"/") is None


def test_a_folder_that_breaks_off_is_not_kept(tmp_path: Path) -> None:
    """An error while a folder comes leaves nothing that looks like one."""

    def breaking() -> object:
        yield Entry(b"/x", "file", 0o644, 0, 0, 3)
        raise NotFound("gone")

    shelf = Shelf(tmp_path, "web")
    with pytest.raises(NotFound):
        shelf.keep("1" * 64, b"/", breaking())  # type: ignore[arg-type]
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_shelf_is_bounded(tmp_path: Path) -> None:
    """What nobody looked at for the longest time goes first, whose source it may be; what was just read stays."""
    for number in range(4):
        (tmp_path / f"s{number % 2}").mkdir(exist_ok=True)
        path = tmp_path / f"s{number % 2}" / str(number)
        path.write_bytes(b"x" * 10)
        os.utime(path, (number, number))
    sweep(tmp_path, 20, but=tmp_path / "s0" / "0")
    assert {"0", "3"} == {path.name for path in tmp_path.glob("*/*")}


@pytest.mark.parametrize(
    ("text", "path", "meant"),
    [
        ("invoice", "/home/a/My Invoice 2026.pdf", True),
        ("invoice", "/invoices/letter.txt", False),  # what lies below a folder of that name is another name
        ("*.PDF", "/home/a/x.pdf", True),
        ("*.pdf", "/home/a/x.pdf.bak", False),
        ("a?c", "/abc", True),
        ("/etc/hos", "/etc/hosts", True),
        ("/etc/hos", "/srv/etc/hosts", False),
        ("etc/hos", "/srv/etc/hosts", True),
        ("etc/hos", "/srv/etc/hosts/x", False),
        ("/etc/", "/etc/hosts", True),
        ("[a]", "/x[a]y", True),
        ("[a]", "/a", False),
        ("a\\b", "/a\\b", True),
        ("x", "/new\nx\nline", True),
    ],
)
def test_what_a_person_means(text: str, path: str, meant: bool) -> None:
    """Part of a name is enough, whatever its case; * and ? stand for anything; a slash begins a path; nothing else is special."""
    assert meant == bool(searching.wanted(text).path.match(path))


@pytest.mark.parametrize("text", ["", "*", " ", "/", "**?", "x" * 501, "a\0b"])
def test_what_means_everything_is_refused(text: str) -> None:
    """A search for everything is a listing, and said to be none."""
    with pytest.raises(UsageError):
        searching.wanted(text)


def receipt(number: int, state: ReceiptState = ReceiptState.ADMITTED) -> Receipt:
    """The receipt of a day."""
    when = START + timedelta(days=number)
    return Receipt(f"{number:064x}", "web", f"run-{number}", when, when, None, state, Outcome.OK)


@given(st.integers(0, 200), st.integers(0, 200))
def test_every_snapshot_is_gone_through_once(count: int, leave: int) -> None:
    """From the newest to the oldest, nothing twice and nothing left out, also where somebody goes on from `next`."""
    receipts = [receipt(number) for number in range(count)]
    seen: list[Receipt] = []
    before = None
    while True:
        span = Span(SystemClock(), receipts, before, 60)
        for _batch in span.batches():
            if len(span.looked) >= leave:
                span.stop()
        seen += span.looked
        before = span.next
        if before is None:
            break
    assert receipts[::-1] == seen
    with pytest.raises(NotFound):
        Span(SystemClock(), receipts, "f" * 64, 60)


def test_who_has_no_time_goes_on_all_the_same() -> None:
    """A snapshot that takes all the time is not searched for ever: the next part begins behind it."""
    receipts = [receipt(number) for number in range(3)]
    span = Span(SystemClock(), receipts, None, 60)
    for _ in span.batches():
        span.break_off()
    assert [receipts[2]] == span.looked
    assert receipts[2].id == span.next


def test_what_was_found_before_the_time_was_over_is_told() -> None:
    """A search that is broken off within the only snapshot of a batch keeps its hits; within several, those that are surely of one."""

    def hits(*told: str | None) -> Iterator[tuple[Hit | None, str]]:
        for each in told:
            entry = Entry(os.fsencode(each or "/"), "file", 0o644, 0, 0, 1, START)
            yield (Hit(entry, True, START), "") if each else (None, receipt(2).id)
        raise ToolTimeout("the time is over", "")

    alone, among = (searching._Basket(searching.wanted("x"), 9) for _ in range(2))
    with pytest.raises(ToolTimeout):
        alone.fill({receipt(2).id: receipt(2)}, hits("/x1", "/other", "/x2"))
    assert [("/x1", receipt(2)), ("/x2", receipt(2))] == [
        (path, each.newest) for path, each in alone.matches.items()
    ]
    with pytest.raises(ToolTimeout):
        among.fill({each.id: each for each in (receipt(1), receipt(2))}, hits("/x1", None, "/x2"))
    assert ["/x1"] == list(among.matches)


def test_versions_are_told_apart() -> None:
    """A file that was touched is another version, even with its size and date put back; an import touched everything."""

    def hit(size: int, changed: int) -> Hit:
        return Hit(Entry(b"/x", "file", 0o644, 0, 0, size, START), True, START + timedelta(hours=changed))

    receipts = [receipt(3), receipt(2), receipt(1, ReceiptState.LEGACY), receipt(0, ReceiptState.LEGACY)]
    hits = [hit(5, 9), hit(5, 8), hit(5, 2), hit(5, 1)]
    found = history.grouped(
        receipts, {each.id: one for each, one in zip(receipts, hits, strict=True)}, b"/\xff"
    )
    assert [[receipts[0]], [receipts[1]], receipts[2:]] == [each.receipts for each in found]
    assert {b"/\xff"} == {each.entry.raw for each in found}
    same = history.grouped(receipts[:2], {each.id: hit(5, 8) for each in receipts}, b"/x")
    assert [receipts[:2]] == [each.receipts for each in same]

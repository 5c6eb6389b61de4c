"""restic's JSON, read value by value however it is cut into pieces."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.errors import ResticError, TooMuch
from pbs.repository import pieces
from pbs.repository.pieces import Pieces, hits, nodes, records

PLAIN = st.dictionaries(
    st.text(max_size=5), st.one_of(st.text(), st.integers(), st.lists(st.text(), max_size=3))
)
ID = "a" * 64


class Dripping(io.BytesIO):
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes, drip: int) -> None:
        super().__init__(data)
        self._drip = drip

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._drip)


def given_as(text: str, drip: int = 3, most: int = 1 << 20) -> Pieces:
    """A text that arrives drop by drop."""
    return Pieces(Dripping(text.encode(), drip), most)


@given(st.lists(PLAIN, max_size=5), st.integers(1, 700), st.booleans())
def test_a_tree_comes_out_as_it_went_in(values: list[dict[str, Any]], drip: int, ascii_only: bool) -> None:
    """Wherever the pieces end, also in the middle of a character, the nodes are the same; then everything was read."""
    arriving = given_as(json.dumps({"nodes": values}, ensure_ascii=ascii_only) + "\n", drip)
    found = nodes(arriving)
    assert found is not None
    assert values == list(found)
    assert arriving.ended


def test_a_huge_value_costs_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """T15: a name, a list of attributes of megabytes that comes through a pipe is tried a few times, not once for each drop."""
    tried = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            tried.append(len(s))
            return super().raw_decode(s, idx)

    monkeypatch.setattr(pieces, "_DECODER", Counting())
    value = {"name": "x" * 6_000_000}
    found = nodes(given_as(json.dumps({"nodes": [value]}), 4096, 1 << 24))
    assert found is not None
    assert [value] == list(found)
    assert sum(tried) < 4 * 6_000_000 + 64 * pieces.CHUNK
    assert len(tried) < 100


@given(st.lists(st.lists(PLAIN, max_size=3), max_size=4), st.integers(1, 700))
def test_a_search_comes_out_as_it_went_in(found: list[list[dict[str, Any]]], drip: int) -> None:
    """Each hit stands before the id of its snapshot."""
    said = [{"matches": each, "hits": len(each), "snapshot": ID} for each in found]
    expected: list[tuple[Any, str]] = []
    for each in found:
        expected += [(value, "") for value in each] + [(None, ID)]
    assert expected == list(hits(given_as(json.dumps(said, separators=(",", ":")), drip)))


@given(st.lists(PLAIN, max_size=5), st.integers(1, 700))
def test_lines_come_out_as_they_went_in(values: list[dict[str, Any]], drip: int) -> None:
    """So do objects that follow each other."""
    assert values == list(records(given_as("".join(json.dumps(each) + "\n" for each in values), drip)))


@pytest.mark.parametrize("text", ['{"nodes":[{"a":1}', '{"nodes":[{"a":', '{"nodes":[{"a":1},', '{"tree":[]}', "x", '{"nodes":[' + "[" * 9000])  # fmt: skip
def test_half_a_tree_is_none(text: str) -> None:
    """What breaks off, or is something else, is an error, and never a folder that looks whole."""
    with pytest.raises(ResticError):
        list(nodes(given_as(text)) or ())


@pytest.mark.parametrize(
    "text", ["", "[", '[{"matches":[{"a":1}', '[{"matches":[{"a":1}],"hits":1,"snapshot":"x"}]', "{}"]
)
def test_half_a_search_is_none(text: str) -> None:
    """So is a search."""
    with pytest.raises(ResticError):
        list(hits(given_as(text)))


def test_nothing_is_no_tree() -> None:
    """Where restic printed nothing there is no folder; a folder of nothing is one."""
    assert nodes(given_as("")) is None
    assert [] == list(nodes(given_as('{"nodes":null}')) or ())
    assert [] == list(nodes(given_as('{"nodes":[]}\n')) or ())


def test_too_much_is_not_read() -> None:
    """More than was agreed on is never held."""
    with pytest.raises(TooMuch):
        list(nodes(given_as('{"nodes":[' + ",".join(['{"a":1}'] * 1000) + "]}", most=500)) or ())


@given(st.text(max_size=200))
def test_nonsense_is_an_error_of_ours(text: str) -> None:
    """T16: whatever is said, it is values or one of our errors."""
    for read in (lambda: list(nodes(given_as(text)) or ()), lambda: list(hits(given_as(text))), lambda: list(records(given_as(text)))):  # fmt: skip
        try:
            read()
        except ResticError:
            continue
    assert pieces.broken().hint

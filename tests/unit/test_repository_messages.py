"""restic's JSON, taken as hostile."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.errors import ResticError
from pbs.repository import messages
from pbs.repository.restic import once_more

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["time", "hostname", "paths", "tags", "summary", "type", "mode", "uid", "gid", "size", "mtime",
          "linktarget", "name", "nodes", "path", "error", "message", "item", "inode"]  # fmt: skip
HOSTILE = st.dictionaries(st.sampled_from(FIELDS), JSON)
CONTROL = {chr(code) for code in [*range(32), *range(0x7F, 0xA0), 0x202E, 0x2028]}


@given(HOSTILE)
def test_hostile_values_never_raise(values: dict[str, Any]) -> None:
    """T16: whatever a snapshot or a tree says, it becomes a bounded value or nothing."""
    found = messages.snapshot("a" * 64, values)
    assert len(found.host) <= 255
    assert len(found.paths) <= messages.MOST_PATHS
    assert not CONTROL & set("".join([found.host, *found.tags, *found.paths]))
    messages.node(values, b"/x")
    messages.complaint(json.dumps(values))


@given(st.binary(max_size=300))
def test_hostile_bytes_never_raise(line: bytes) -> None:
    """A line that is no JSON is nothing."""
    messages.record(line)
    messages.complaint(line.decode("utf-8", "replace"))


@given(JSON)
def test_hostile_trees_never_raise(nodes: object) -> None:
    """T16: no entry of a tree has a name that leads elsewhere."""
    found = [
        messages.child(each, b"/folder")
        for each in (nodes if isinstance(nodes, list) else [nodes])
        if isinstance(each, dict)
    ]
    for entry in filter(None, found):
        assert entry.raw.startswith(b"/folder/")
        assert messages.possible_name(entry.raw.removeprefix(b"/folder/"))


def test_deep_nesting_is_nothing() -> None:
    """A document nested deeper than we can follow is nothing, not a crash."""
    assert messages.record(b"[" * 100_000) is None
    assert messages.record(b'{"a":' * 100_000) is None


def quoted(raw: bytes) -> str:
    """A name as Go's strconv.Quote could write it: every byte by its number."""
    return "".join(f"\\x{byte:02x}" for byte in raw)


@given(st.binary(min_size=1).filter(messages.possible_name))
def test_names_survive_their_quoting(raw: bytes) -> None:
    """Every possible name comes out of a tree byte for byte."""
    assert raw == messages.unquoted(quoted(raw))
    entry = messages.child({"type": "file", "name": quoted(raw)}, b"/")
    assert entry is not None
    assert b"/" + raw == entry.raw


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (r"a\tb\n", b"a\tb\n"), (r"\u00e9\U0001f600", "é😀".encode()), (r"\\\"\'", b"\\\"'"), (r"\101", b"A"),
        ("..", None), (".", None), ("", None), ("a/b", None), (r"a\x2fb", None), (r"\x00", None), (r"\q", None),
        ("\\", None), (r"\x1", None), (r"\ud800", None), (r"\U7fffffff", None), (r"\777", None), (None, None),
    ],
)  # fmt: skip
def test_quoting(text: object, raw: bytes | None) -> None:
    """T16: Go's quoting is read exactly; a name that is none, or leads elsewhere, is refused."""
    assert raw == messages.unquoted(text)


@given(st.binary(max_size=60))
def test_lossy_text_counts_bytes_like_restic(raw: bytes) -> None:
    """Each byte that is no UTF-8 shows as one U+FFFD, as in restic's own JSON."""
    shown = messages.lossy(raw)
    shown.encode()  # no lone surrogate is left
    assert len(raw.decode("utf-8", "surrogateescape")) == len(shown)


def test_path_in_base64_only_where_needed() -> None:
    """Decision 23: `path_b64` stands beside a path that is not UTF-8, and only there."""
    entry = messages.node({"type": "file"}, b"/\xff")
    assert entry is not None
    assert (entry.path, entry.path_b64) == ("/\ufffd", "L/8=")
    plain = messages.node({"type": "file"}, "/é".encode())
    assert plain is not None
    assert plain.path_b64 is None


def test_go_modes() -> None:
    """Setuid, setgid and sticky stand where Unix has them."""
    entry = messages.node({"type": "file", "mode": 0o755 | 1 << 23 | 1 << 22 | 1 << 20}, b"/x")
    assert entry is not None
    assert entry.mode == 0o7755


def test_times() -> None:
    """restic's nine digits of a second and its zones become UTC; nonsense is nothing."""
    assert datetime(2026, 11, 21, 4, 43, 1, 123456, UTC) == messages.moment(
        "2026-11-21T05:43:01.123456789+01:00"
    )
    for nonsense in ("", "2026", "2026-11-21T05:43:01", "9999-12-31T23:59:59-14:00", None, 5):
        assert messages.moment(nonsense) is None


def test_complaints_are_words() -> None:
    """restic's JSON errors are repeated as sentences, without what steers a terminal."""
    line = json.dumps({"error": {"message": "no \x1b[2Jspace"}, "item": "/a\nb"})
    assert messages.complaint(line) == "no space (/a b)"


def test_names_that_are_compared_are_not_made_alike() -> None:
    """T5: a host or tag that had to be cleaned, or one among thousands, is not the one that was asked for."""
    odd = ["web1\0", " web1", "web1\u202e", "web1\x1b[0m"]
    for each in odd:
        found = messages.snapshot("a" * 64, {"hostname": each, "tags": [each]})
        assert "web1" != found.host
        assert ("web1",) != found.tags
    many = messages.snapshot("a" * 64, {"hostname": "web1", "tags": ["web1"] * 101})
    assert {"web1"} != set(many.tags)
    plain = messages.snapshot("a" * 64, {"hostname": "web1", "tags": ["web1"]})
    assert ("web1", ("web1",)) == (plain.host, plain.tags)


def test_where_in_its_source_restic_was_is_not_told() -> None:
    """What it says is its first words, not the calls that led there, in plain text and in JSON."""
    frames = "github.com/restic/restic/internal/repository.(*Repository).LoadBlob\n\t/build/repository.go:249\nmain.runLs\n\tls.go:470"
    assert "id 13 not found\nand more" == messages.without_stack(f"id 13 not found\n{frames}\nand more")
    assert "id 13 not found" == messages.complaint(
        json.dumps({"message": f"id 13 not found\n{frames}\nruntime.main\n\tproc.go:290"})
    )


async def test_a_look_whose_restic_was_killed_is_taken_once_more() -> None:
    """Memory may run short for a moment: no fault of what was looked at. A second death is told, and so is any other end."""
    killed, broken = ResticError("killed", None, -9), ResticError("broken", None, 1)
    assert "seen" == await once_more(_looks([killed]))
    for ends, left in (([killed, killed, killed], 1), ([broken, killed], 1), ([killed, broken], 0)):
        with pytest.raises(ResticError):
            await once_more(_looks(ends))
        assert left == len(ends)


def _looks(ends: list[ResticError]) -> Callable[[], Awaitable[str]]:
    """A look that ends like these, one after the other, and then well."""

    async def look() -> str:
        if ends:
            raise ends.pop(0)
        return "seen"

    return look

"""The protocol at its border: one word or nothing, a request checked field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs_agent.words import (
    PROFILE_NAME,
    Exit,
    Outcome,
    Request,
    StopWord,
    Word,
    outcome_of,
    parse_request,
    parse_word,
    request_line,
)

GOOD = Request(run="r1", socket="/s/x.sock", source="web", tags=("source=web",), password="secret-word")
WORDS = [word.value.encode() for word in Word]
NASTY = [
    "'",
    '"',
    ";",
    "\n",
    "\r",
    "\t",
    " ",
    "$(id)",
    "`id`",
    "\0",
    "&&",
    "|",
    "../",
    "-",
    "\\",
    "*",
    "\x1b",
    "ping",
]


@pytest.mark.parametrize("word", Word)
def test_each_word_is_itself(word: Word) -> None:
    """A word, whole and exactly, is that word."""
    assert parse_word(word.value.encode()) is word


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from(NASTY + [w.value for w in Word])).map("".join).map(str.encode)
)
def test_nothing_else_is_a_word(command: bytes) -> None:
    """Whatever is not exactly one word is refused with exit 64."""
    if command in WORDS:
        return
    with pytest.raises(StopWord) as stop:
        parse_word(command)
    assert stop.value.code is Exit.WORD_REFUSED


@given(st.sampled_from(WORDS), st.sampled_from(NASTY), st.booleans())
def test_a_word_with_anything_around_it_is_refused(word: bytes, more: str, front: bool) -> None:
    """Not even a newline or a blank may stand beside a word."""
    with pytest.raises(StopWord):
        parse_word(more.encode() + word if front else word + more.encode())


def test_no_word() -> None:
    """An interactive login is refused."""
    for command in (None, b""):
        with pytest.raises(StopWord) as stop:
            parse_word(command)
        assert stop.value.code is Exit.WORD_REFUSED


def test_a_request_survives_the_wire() -> None:
    """What the server writes is what the agent reads."""
    full = replace(
        GOOD, password=None, parent="a" * 64, force=True, scan=False, ignore=("inode", "ctime"), upload=1
    )
    for request in (GOOD, full):
        assert parse_request(request_line(request)) == request


def test_a_request_hides_its_password() -> None:
    """The password is in no repr, and so in no traceback."""
    assert "secret-word" not in repr(GOOD)


WRONG = [
    ("protocol", [None, 0, 2, "1", 1.0, True, 10**400]),
    ("run", [None, 1, "", "a b", "-x", "a" * 129, "a\n", "../x"]),
    (
        "socket",
        [
            None,
            "",
            "x.sock",
            "/s/",
            "/s/..",
            "/s/-x",
            "/s/a b",
            "/s/a:b",
            "/" + "x" * 107,
            "/s/a\0b",
            "/s/a%2f",
        ],
    ),
    ("password", [1, "", " x", "x ", "a\nb", "a\0b", "x" * 1025, "\ud800", "\ufeffx", []]),
    ("source", [None, "", "a/b", "-a", "a.b", "a" * 64, "ü"]),
    ("tags", [None, "x", [1], [""], ["a,b"], ["a\nb"], [" a"], ["\ud800"], ["x"] * 33, ["x" * 257]]),
    ("parent", ["", "abc", "A" * 64, "a" * 63, 1, "a" * 65, "--force"]),
    ("force", [None, 1, "true"]),
    ("scan", [None, 0, "no"]),
    ("ignore", [None, "inode", ["mtime"], [1], [["inode"]]]),
    (
        "limits",
        [1, [], {"upload": 0}, {"upload": -1}, {"upload": 1.5}, {"download": True}, {"download": 2**60}],
    ),
]


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in WRONG for v in values])
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    """Each wrong value ends as a bad request whose message names the field."""
    request = json.loads(request_line(GOOD)) | {field: value}
    with pytest.raises(StopWord) as stop:
        parse_request(
            json.dumps(request).encode() if value != 10**400 else b'{"protocol": 1' + b"0" * 400 + b"}"
        )
    assert (stop.value.code, field in stop.value.message) == (Exit.BAD_REQUEST, True)


@pytest.mark.parametrize("field", ["protocol", "run", "socket", "password", "source", "tags"])
def test_a_missing_field_is_named(field: str) -> None:
    """What has no default must be said, above all that there is no password."""
    request = json.loads(request_line(GOOD))
    del request[field]
    with pytest.raises(StopWord, match=field):
        parse_request(json.dumps(request).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*json.loads(request_line(GOOD)), "other"]), JSON), st.booleans())
def test_any_request_is_read_or_refused(changes: dict[str, Any], whole: bool) -> None:
    """No request brings out anything but a Request or a bad request."""
    request = changes if whole else json.loads(request_line(GOOD)) | changes
    try:
        code = None if isinstance(parse_request(json.dumps(request).encode()), Request) else Exit.FAILED
    except StopWord as stop:
        code = stop.code
    assert code in (None, Exit.BAD_REQUEST)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_request(line: bytes) -> None:
    """Random bytes end as a bad request, never as an exception of another kind."""
    with pytest.raises(StopWord):
        parse_request(line)


def test_outcomes() -> None:
    """Every exit status has one outcome; only what a rule of ours forbids is refused."""
    refused = {code for code in Exit if outcome_of(code) is Outcome.REFUSED}
    assert refused == {Exit.WORD_REFUSED, Exit.NOT_ALLOWED}


@pytest.mark.parametrize("name", ["", "-a", "a/b", "..", "a" * 64, "a b", "a\n"])
def test_profile_names(name: str) -> None:
    """A name cannot lead out of its folder."""
    assert not PROFILE_NAME.fullmatch(name)

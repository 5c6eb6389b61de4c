"""restic's key file, opened and wrapped again without restic."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs.errors import ResticError, WrongPassword
from pbs.repository.keyfile import CHEAP_N, key_cost, open_key, seal_key

MASTER = b'{"mac":{"k":"AA==","r":"AA=="},"encrypt":"AA=="}'
WHEN = "2026-11-21T05:43:01Z"


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.binary(min_size=1, max_size=300))
def test_round_trip(password: str, master: bytes) -> None:
    """What is wrapped opens again with the same password, whatever password and key are."""
    name, content = seal_key(master, password, WHEN)
    assert master == open_key(content, password)
    assert hashlib.sha256(content).hexdigest() == name
    again_name, again = seal_key(master, password, WHEN)
    assert master == open_key(again, password)
    assert again_name != name


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_wrong_password(right: str, wrong: str) -> None:
    """Another password never opens it, and the error names neither."""
    _, content = seal_key(MASTER, right, WHEN)
    if right == wrong:
        return
    with pytest.raises(WrongPassword) as caught:
        open_key(content, wrong)
    assert caught.value.hint


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changed_data_is_refused(data: st.DataObject) -> None:
    """A key file whose sealed bytes were changed anywhere is refused."""
    _, content = seal_key(MASTER, "pw", WHEN)
    record = json.loads(content)
    sealed = bytearray(base64.b64decode(record["data"]))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    record["data"] = base64.b64encode(bytes(sealed)).decode()
    with pytest.raises(WrongPassword):
        open_key(json.dumps(record).encode(), "pw")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_junk_is_an_error_of_ours(content: bytes) -> None:
    """T12: junk where a key file should be is refused in our words, never by a traceback."""
    with pytest.raises(ResticError):
        open_key(content, "pw")


@pytest.mark.parametrize(
    "change",
    [
        {"N": 1 << 40}, {"r": 1 << 30}, {"p": 1 << 20}, {"N": 1000}, {"N": -4}, {"N": "x"}, {"p": 0},
        {"kdf": "argon2"}, {"data": "AA=="}, {"data": None}, {"salt": "!"}, {"N": float("inf")},
    ],
    ids=str,
)  # fmt: skip
def test_absurd_parameters(change: dict[str, object]) -> None:
    """T12: a key file that would cost gigabytes or for ever to open is refused at once."""
    _, content = seal_key(MASTER, "pw", WHEN)
    with pytest.raises(ResticError):
        open_key(json.dumps({**json.loads(content), **change}).encode(), "pw")


def test_cost_tells_cheap_from_expensive() -> None:
    """Of several keys that open, the cheap one is preferred."""
    _, content = seal_key(MASTER, "pw", WHEN)
    assert key_cost(content) == CHEAP_N * 8
    assert key_cost(json.dumps({"N": 32768, "r": 8, "p": 5}).encode()) > key_cost(content)

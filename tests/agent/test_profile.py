"""The profile: what is read, what is refused and where the message points; our reader of TOML and Python's agree."""

from __future__ import annotations

import contextlib
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbs_agent import profile, subset
from pbs_agent.profile import Hook
from pbs_agent.words import Exit, StopWord

if TYPE_CHECKING:
    from pathlib import Path

FULL = """\
# a comment
path = "/srv/data/"   # more
exclude = [
  "*.tmp",  # with a comment, and a comma at the end
  'C:\\literal',
]
one_file_system = true
restore = true
snapshot = "none"
restic = "/opt/restic"
tools = "/opt"
cache = "/c"
sockets = "/run/x"
nice = 1_0

[hooks]
before = ["/bin/a", "b c", "\\u00fc"]
before_timeout = 5
on_failure = ["/bin/z"]
"""


@pytest.fixture(params=["own", "tomllib"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both readers, as on Python 3.9 and on 3.11."""
    if request.param == "own":
        monkeypatch.setattr("sys.version_info", (3, 9, 0))
    return request.param


def test_every_key(reader: str) -> None:
    """Every key arrives where it belongs."""
    found = profile.parse(FULL, "f.toml")
    assert found == profile.Profile(
        file="f.toml",
        path="/srv/data",
        exclude=("*.tmp", "C:\\literal"),
        one_file_system=True,
        restore=True,
        restic="/opt/restic",
        tools="/opt",
        cache="/c",
        sockets="/run/x",
        nice=10,
        before=Hook(("/bin/a", "b c", "ü"), 5),
        on_failure=Hook(("/bin/z",), 300),
    )


WRONG = [
    ("", 1, "path"),
    ('path = "/a"\npaths = ["/b"]', 2, "either"),
    ('path = "a"', 1, "absolute"),
    ('path = "/a/../b"', 1, "absolute"),
    ('path = "/a"\npth = 1', 2, "'pth' is not a key"),
    ('path = "/a"\n\nrestore = "yes"', 3, "restore must be true or false"),
    ('path = "/a"\nsnapshot = "btrfs"', 2, "btrfs"),
    ('path = "/a"\nnice = 20', 2, "nice"),
    ('path = "/a"\nnice = true', 2, "nice"),
    ('path = "/a"\nexclude = "x"', 2, "exclude"),
    ('path = "/a"\nexclude = [1]', 2, "exclude"),
    ('path = "/a"\n[hooks]\nbefore = ["a"]', 3, "absolute"),
    ('path = "/a"\n[hooks]\nbefore = "a"', 3, "list"),
    ('path = "/a"\n[hooks]\nbefor = []', 3, "befor"),
    ('path = "/a"\n[hooks]\nbefore_timeout = 0', 3, "before_timeout"),
    ('path = "/a"\nnonsense', 2, ""),
    ('path = "/a"\npath = "/b"', 2, ""),
    ('path = "/a', 1, ""),
    ('path = "/a"\nnice = 1' + "0" * 5000, None, "large"),
    ("path = " + "[" * 100_000, None, ""),
]


@pytest.mark.parametrize(("text", "line", "part"), WRONG, ids=range(len(WRONG)))
def test_faults_name_file_and_line(reader: str, text: str, line: int | None, part: str) -> None:
    """Each fault is refused with file, line and what is wrong."""
    with pytest.raises(StopWord) as stop:
        profile.parse(text, "f.toml")
    assert stop.value.code is Exit.NOT_ALLOWED
    assert stop.value.message.startswith(f"f.toml line {line}: " if line else "f.toml line ")
    assert part in stop.value.message


STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    STRINGS | st.booleans() | st.integers(-(10**18), 10**18),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,10}", fullmatch=True)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


def written(value: object, gap: str) -> str:
    """A value as TOML, with blanks, newlines and comments where lists allow them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{gap}" + "".join(f"{written(v, gap)}{gap},{gap}" for v in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if c < " " or c in '"\\\x7f' else c for c in value) + '"'
    return str(value)


@given(
    TABLES, st.dictionaries(KEYS, TABLES, max_size=3), st.sampled_from(["", " ", "\n", "\t# x ]\n", "\r\n"])
)
def test_both_readers_agree(top: dict[str, object], tables: dict[str, dict[str, object]], gap: str) -> None:
    """Any document of the subset means the same to both."""
    tables = {name: table for name, table in tables.items() if name not in top}
    lines = [f"{key} = {written(value, gap)}" for key, value in top.items()]
    for name, table in tables.items():
        lines += [f"[{name}] # table", *(f"{key}={written(value, gap)}" for key, value in table.items())]
    text = "\n".join(lines)
    assert subset.loads(text) == tomllib.loads(text) == {**top, **tables}


PIECES = st.sampled_from(
    ["a", "b", "=", " ", "\n", '"', "'", "\\", "[", "]", ",", "#", "1", "0", "-", "+", "_", ".", "true", "\r", "\t", "{", "\\u0041",
     '"x"', "'y'", "[t]", "a=1", "[[", "x = [", "\x00", "é", "1.5", "0x1", "1979-05-27"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=25).map("".join))
@example("a=1\n[a]")
@example("a = +0\nb = -01")
@example("a = ''''''")
def test_what_our_reader_accepts_python_reads_alike(text: str) -> None:
    """Our reader accepts nothing that full TOML refuses or reads otherwise."""
    with contextlib.suppress(subset.SubsetError):
        assert subset.loads(text) == tomllib.loads(text)


def test_missing(tmp_path: Path) -> None:
    """A missing profile says which files were looked for, and what to write there."""
    with pytest.raises(StopWord, match=r"/etc/pbs-agent/nosuch\.toml.*path = ") as stop:
        profile.load("nosuch")
    assert stop.value.code is Exit.NOT_ALLOWED


def test_writable_by_everybody(tmp_path: Path) -> None:
    """A profile that every user may change is not the operator's word."""
    file = tmp_path / "x.toml"
    file.write_text('path = "/a"')
    file.chmod(0o646)
    with pytest.raises(StopWord, match="chmod o-w"):
        profile.load("x", str(file))


def test_not_utf8(tmp_path: Path) -> None:
    """A file in another encoding is named with its line."""
    file = tmp_path / "x.toml"
    file.write_bytes(b'path = "/a"\n# \xff\n')
    with pytest.raises(StopWord, match="line 2: not UTF-8"):
        profile.load("x", str(file))

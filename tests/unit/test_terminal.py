"""Tables in a real terminal: ruled and in colours; nothing of a stranger's text steers it, and elsewhere they are plain lines."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import Any

import pytest

from pbs.cli.show import columns, table

HEAD = ("RUN", "OUTCOME", "SIZE", "WHY")
HOSTILE = "[red]x[/red] :smile: \x1b[2J\x1b]0;title\x07\u202e[link=http://evil]y[/link]"
LINES = [
    ["20261121T155959Z-web1-pull-ab12", "ok", "1.2 GB", ""],
    ["20261121T155959Z-web2-pull-cd34", "failed", "5 B", "words " * 20],
    [HOSTILE, "ok, damaged", None, HOSTILE],
]
PROGRAM = (
    "import json, sys; from pbs.cli.show import table; table(*json.loads(sys.argv[1]), right=frozenset({2}))"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shown(width: int, **environment: str) -> str:
    """What a terminal of this width gets to see."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    command = [sys.executable, "-I", "-c", PROGRAM, json.dumps([HEAD, LINES])]
    base = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env={**base, **environment})
    os.close(slave)
    said = b""
    while True:
        try:
            said += (part := os.read(master, 65536))
        except OSError:  # the other side is closed
            break
        if not part:
            break
    os.close(master)
    assert 0 == child.wait(), said
    return said.decode().replace("\r\n", "\n")


def test_a_terminal_gets_rules_and_colours_and_whole_ids() -> None:
    """Words of ours have their colour, the last column folds, ids stay in one piece."""
    seen = shown(100)
    assert "\x1b[32mok" in seen
    assert "\x1b[1;31mfailed" in seen
    assert "\x1b[1;31mok, damaged" in seen
    bare = COLOUR.sub("", seen)
    assert "──────" in bare
    assert all(line[0] in bare for line in LINES[:2])
    assert max(map(len, bare.splitlines())) <= 100
    assert bare.count("words") == 20


def test_strangers_steer_nothing() -> None:
    """Markup is text, control characters are gone, and a name has no colour."""
    seen = shown(200)
    assert "\x1b" not in COLOUR.sub("", seen)
    assert "\u202e" not in seen
    assert seen.count("[red]x[/red] :smile: [link=http://evil]y[/link]") == 2


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_nobody_wants_them(environment: dict[str, str]) -> None:
    """NO_COLOR and a terminal that has none are heeded."""
    assert "\x1b" not in shown(100, **environment)


def test_what_cannot_be_folded_is_printed_whole() -> None:
    """In a narrow terminal no id is cut."""
    bare = COLOUR.sub("", shown(40))
    assert all(line[0] in bare for line in LINES[:2])
    assert "1.2 GB" in bare


def test_elsewhere_the_lines_are_plain(capsys: pytest.CaptureFixture[Any]) -> None:
    """To a pipe or a file: columns of text and nothing else."""
    table(HEAD, LINES, right=frozenset({2}))
    said = capsys.readouterr().out
    assert said == "".join(f"{line}\n" for line in columns(HEAD, LINES, right=frozenset({2})))
    assert "\x1b" not in said
    assert "─" not in said

"""The forced command as a process: hello, refusals, what a person sees; and the one file that it is shipped as."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pbs_agent
from pbs_agent.bundle import build_pyz, pyz_bytes

pytestmark = pytest.mark.slow
SOURCES = sorted(Path(pbs_agent.__file__).parent.glob("*.py"))


def test_ping(both: Any) -> None:
    """ping answers without reading its input and tells all that the controller needs."""
    said = both.say("ping")
    assert (said.status, said.end["outcome"]) == (0, "ok")
    assert list(said.hello) == [
        "event", "protocol", "agent", "restic", "profile", "socket_folder", "restore", "free_bytes", "paths", "words",
    ]  # fmt: skip
    assert said.hello["socket_folder"] == str(both.sockets)
    assert said.hello["paths"] == [str(both.data)]
    assert (said.hello["protocol"], said.hello["words"]) == (1, ["ping", "backup", "clear"])
    assert said.hello["free_bytes"] > 0


def test_ping_with_closed_descriptors(both: Any) -> None:
    """Even with nothing at its three descriptors the agent neither hangs nor opens a file there."""
    command = subprocess.list2cmdline(
        [*both.command, "--profile", "web", "--config", str(both.root / "web.toml")]
    )
    environment = {"SSH_ORIGINAL_COMMAND": "ping"}
    shell = [
        "/bin/sh",
        "-c",
        'exec "$@" <&- >&- 2>&-',
        "sh",
        *both.command,
        "--config",
        str(both.root / "web.toml"),
    ]
    assert subprocess.run(shell, env=environment, timeout=30, check=False).returncode == 0, command


GARBAGE = [
    b"",
    b"ping ",
    b" ping",
    b"ping\n",
    b"PING",
    b"ping;id",
    b"sh -c id",
    b"$(touch x)",
    b"\xff" * 200,
    None,
]


@pytest.mark.parametrize("command", GARBAGE)
def test_garbage_words(both: Any, command: bytes | None) -> None:
    """Anything that is not a word is refused with 64, one event and one sentence."""
    said = both.say(command)
    assert (said.status, len(said.events), said.end["outcome"]) == (64, 1, "refused")
    assert len(said.text.splitlines()) == 1


@pytest.mark.parametrize("word", ["restore", "proof"])
def test_known_but_refused(both: Any, word: str) -> None:
    """restore and proof are known, and refused by profile or by age."""
    said = both.say(word)
    assert (said.status, said.end["outcome"], "not allowed" in said.end["message"]) == (77, "refused", True)
    both.profile("restore = true")
    said = both.say(word)
    assert (said.status, "not offered" in said.end["message"], said.hello["restore"]) == (77, True, True)


def test_clear(both: Any) -> None:
    """clear counts what it removed."""
    for name in ("a.sock", "b.sock"):
        with socket.socket(socket.AF_UNIX) as link:
            link.bind(str(both.sockets / name))
    said = both.say("clear")
    assert (said.status, said.end["message"]) == (0, "removed 2 dead sockets")
    assert list(both.sockets.iterdir()) == []


def test_missing_path(both: Any) -> None:
    """A path that is not there fails ping and backup: an unmounted disk is never an empty backup."""
    both.data.rename(both.root / "away")
    for said in (both.say("ping"), both.backup()):
        assert (said.status, said.end["message"]) == (1, f"path {both.data} of profile web does not exist")


def test_file_as_path(place: Any) -> None:
    """A single file has to be written as one of `paths`."""
    place.profile(f'path = "{place.data}/one"', path=None)
    said = place.say("ping")
    assert (said.status, "paths = " in said.end["message"]) == (1, True)


@pytest.mark.parametrize(
    ("text", "part"), [(None, "no profile web"), ("path = ", "line 1"), ("x = 1", "line 1")]
)
def test_no_good_profile(both: Any, text: str | None, part: str) -> None:
    """Without a good profile hello still comes, with nulls, and the end says what to do."""
    (both.root / "web.toml").unlink()
    if text is not None:
        (both.root / "web.toml").write_text(text)
    said = both.say("backup")
    assert (said.status, said.end["outcome"], part in said.end["message"]) == (77, "refused", True)
    assert (said.hello["profile"], said.hello["socket_folder"], said.hello["restic"]) == ("web", None, None)


def test_without_a_name(place: Any) -> None:
    """A key's line that names no profile is told so."""
    agent = place.start("ping", "--config", "/nonexistent/.toml")
    said = agent.finish()
    assert (said.status, "--profile NAME" in said.end["message"]) == (77, True)


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", ""])
def test_names_that_lead_elsewhere(place: Any, name: str) -> None:
    """A profile's name is no path."""
    assert place.say("ping", f"--profile={name}").status == 77


def test_unknown_argument(place: Any) -> None:
    """A mistake in the key's line is refused and named, whatever the word."""
    said = place.say("ping", "--profil", "web")
    assert (said.status, "--profil" in said.end["message"]) == (64, True)


@pytest.mark.parametrize(
    ("version", "part"), [("0.14.0", "is 0.14.0"), ("0.16.5", "is 0.16.5"), ("", "does not tell")]
)
def test_old_restic(both: Any, version: str, part: str) -> None:
    """A restic that is too old, or none of ours, is named with its version and what to do."""
    fake = both.root / "old"
    fake.write_text(f"#!/bin/sh\necho restic {version} compiled with go\n")
    fake.chmod(0o755)
    both.restic = str(fake)
    both.profile()
    for word in ("ping", "backup"):
        said = both.say(word)
        assert (said.status, said.end["outcome"], said.hello["restic"]) == (69, "failed", None)
        assert part in said.end["message"]
        assert "0.17" in said.end["message"]


def test_a_restic_says_its_version_once(place: Any) -> None:
    """It is not started again for that until its file is another one, or what was remembered makes no sense."""
    counted, cache = place.root / "counted", place.root / "cache"
    fake = place.root / "fake"
    place.restic = str(fake)
    place.profile()

    def told(version: str, starts: int) -> None:
        assert version == place.say("ping").hello["restic"]
        assert starts == len(counted.read_text().splitlines())

    for number, version in enumerate(("0.19.1", "0.20.0")):
        fake.write_text(f"#!/bin/sh\necho x >>{counted}\necho restic {version} compiled with go\n")
        fake.chmod(0o755)
        told(version, number + 1)
        told(version, number + 1)
    for number, junk in enumerate(("", "{}", "[" * 9000, f'["{fake}"]')):
        (cache / "restic-version").write_text(junk)
        told("0.20.0", number + 3)


def test_missing_restic(both: Any) -> None:
    """A restic that the profile names and that is not there is missing, although there may be others."""
    both.restic = "/no/such/restic"
    both.profile()
    said = both.say("ping")
    assert (said.status, "/no/such/restic" in said.end["message"]) == (69, True)


def test_restic_beside_the_agent(place: Any) -> None:
    """A restic beside the agent's own file is found without a word in the profile, through a link too."""
    (place.root / "bin").mkdir()
    (place.root / "pbs-agent.pyz").rename(place.root / "bin" / "pbs-agent")
    (place.root / "pbs-agent").symlink_to("bin/pbs-agent")
    (place.root / "bin" / "restic").symlink_to(place.restic)
    (place.root / "web.toml").write_text(f'path = "{place.data}"\nsockets = "{place.sockets}"\n')
    place.command = [str(place.root / "pbs-agent")]
    check = place.start(None, "--profile", "web", "--config", str(place.root / "web.toml"), "--check")
    out, _ = check.process.communicate(timeout=30)
    assert f"({place.root}/bin/restic)".encode() in out


def test_check_for_people(both: Any) -> None:
    """--check prints what would be backed up, and each problem."""
    both.profile('exclude = ["*.tmp"]', "[hooks]", 'before = ["/bin/true"]')
    options = ("--profile", "web", "--config", str(both.root / "web.toml"), "--check")
    agent = both.start(None, *options)
    out, _ = agent.process.communicate(timeout=30)
    assert (agent.process.returncode, out.endswith(b"ready\n")) == (0, True)
    assert f"path       {both.data}\nexclude    *.tmp\n".encode() in out
    both.data.rename(both.root / "away")
    agent = both.start(None, *options)
    out, _ = agent.process.communicate(timeout=30)
    assert (agent.process.returncode, b"does not exist" in out) == (1, True)


def test_usage_on_a_terminal(both: Any) -> None:
    """Whoever starts it by hand on a terminal learns what it is for."""
    ours, theirs = os.openpty()
    done = subprocess.run([*both.command], stdin=theirs, capture_output=True, env={}, timeout=30, check=False)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, b"authorized_keys" in done.stderr) == (64, True)


@pytest.mark.parametrize(("option", "stream"), [("--version", "stdout"), ("--help", "stderr")])
def test_version_and_help(both: Any, option: str, stream: str) -> None:
    """--version and --help answer and exit 0."""
    done = subprocess.run([*both.command, option], capture_output=True, timeout=30, check=False, text=True)
    assert (done.returncode, "pbs-agent" in getattr(done, stream)) == (0, True)


def test_the_environment_changes_nothing(place: Any) -> None:
    """Variables of the session neither choose code nor tools nor places."""
    (place.root / "evil").mkdir()
    (place.root / "evil" / "json.py").write_text("raise SystemExit(99)")
    environment = {
        "SSH_ORIGINAL_COMMAND": "ping",
        "PYTHONPATH": str(place.root / "evil"),
        "PYTHONSTARTUP": str(place.root / "evil" / "json.py"),
        "PATH": str(place.root / "evil"),
        "HOME": str(place.root / "evil"),
        "LC_ALL": "tr_TR.ISO-8859-9",
        "XDG_CONFIG_HOME": str(place.root / "evil"),
    }
    command = [*place.command, "--config", str(place.root / "web.toml")]
    assert (
        subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False).returncode == 0
    )


def test_the_file_is_reproducible(tmp_path: Path) -> None:
    """The same source gives the same bytes, by the script too."""
    build_pyz(tmp_path / "a")
    script = Path(__file__).resolve().parents[2] / "scripts" / "build-agent"
    subprocess.run([sys.executable, str(script), str(tmp_path / "b")], check=True, capture_output=True)
    assert (tmp_path / "a").read_bytes() == pyz_bytes()
    assert (tmp_path / "b").read_bytes() == pyz_bytes()
    assert os.access(tmp_path / "a", os.X_OK)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_grammar_and_library_of_3_9(source: Path) -> None:
    """Every module parses as Python 3.9 and imports the standard library and itself only, never the server."""
    tree = ast.parse(source.read_text(), feature_version=(3, 9))
    names = {
        n.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names
    }
    names |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names) | {"pbs_agent"}
    assert "tomllib" not in names or source.name == "profile.py"

"""Sources that come and go, and verbs that name what is not there: one sentence says so, and nothing is lost."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path

import pytest
from liar import lie, repent
from shared import (
    add,
    add_plainly,
    ask,
    ends,
    fresh,
    here,
    host_key,
    new_key,
    refused,
    refused_here,
    snapshots,
    state,
)
from stage import Pbs, SourceHost, eventually, free_port

from pbs.restore import compare

pytestmark = pytest.mark.slow


# Sources that come and go


def test_a_name_is_taken_once(home: Pbs, name: str, source: SourceHost) -> None:
    """A second source of a name is refused, whatever its case, and the first one stays as it was."""
    add(home, name, source)
    before = (home.home / f"sources.d/{name}.toml").read_bytes()
    key = host_key(source)
    for again in (name, name.upper()):
        said = refused(home, "source", "add", again, "--host", "192.0.2.1", "--host-key", key, code=2)
        assert f"there is a source {name} already" in said
    assert before == (home.home / f"sources.d/{name}.toml").read_bytes()
    ends(home, name, "ok", 0)


@pytest.mark.parametrize(
    "bad", ["all", "Latest", "a/b", "..", "", "-x", "a b", "é", "a" * 64, "a\nb", "x.toml"]
)
def test_names_that_are_no_names(home: Pbs, bad: str) -> None:
    """A name that could not be a file, a word or part of an address is refused, exit 2, and nothing is made."""
    before = {path.name for path in (home.home / "sources.d").iterdir()}
    words = ["source", "add", "--host", "127.0.0.1", "--accept-host-key", "--", bad]
    assert "letters, digits" in refused(home, *words, code=2)
    assert before == {path.name for path in (home.home / "sources.d").iterdir()}


def test_a_host_key_must_be_said(home: Pbs, name: str, source: SourceHost) -> None:
    """Without a terminal nobody can compare a key: adding without one is exit 2; accepting the answer is a choice."""
    words = ["source", "add", name, "--host", "127.0.0.1", "--port", str(source.port)]
    assert "--accept-host-key" in refused(home, *words, code=2)
    assert not (home.home / f"sources.d/{name}.toml").exists()
    key = json.loads(home(*words, "--accept-host-key", "--json").stdout)["host_key"]
    assert key in (source.root / "host_key.pub").read_text()
    refused(home, "source", "add", fresh(), "--host", "127.0.0.1", "--port", str(free_port()),
            "--accept-host-key", code=1)  # fmt: skip


def test_impossible_settings_are_named_together(home: Pbs, name: str) -> None:
    """Every setting of `source add` that cannot be is named; nothing is made."""
    said = refused(
        home, "source", "add", name, "--host", "127.0.0.1", "--host-key", "ssh-ed25519 AAAA",
        "--set", "timeout=soon", "--set", "limits.upload=fast", "--set", "colour=red", "--set", "x", code=2,
    )  # fmt: skip
    for word in ("timeout", "limits.upload", "colour", "KEY=VALUE"):
        assert word in said
    said = refused(home, "source", "add", name, "--host", "a b", "--host-key", "ssh-ed25519 AAAA", code=2)
    assert "a b" in said
    assert "host_key" in said
    assert not home.repository(name).exists()


def test_a_source_written_by_hand_is_taken_up(home: Pbs, name: str, source: SourceHost) -> None:
    """After a reload it has repository, key and endpoint, and can be pulled."""
    other = fresh("web")
    add(home, other, source)
    config = home.home / "pbs.toml"
    before = config.read_text()
    text = (home.home / f"sources.d/{other}.toml").read_text()
    config.write_text(f"{before}\n[source.{name}]\n{text}")
    try:
        home("reload")
        assert home.repository(name).is_dir()
        assert (home.home / f"etc/keys/{name}.key").stat().st_mode & 0o777 == 0o600
        eventually((home.home / f"var/run/endpoint/{name}.sock").exists, what="the endpoint")
        ends(home, name, "ok", 0)
        assert "pbs.toml" in refused(home, "source", "remove", name, code=2)
    finally:
        config.write_text(before)
        home("reload")


def test_a_broken_configuration_changes_nothing(home: Pbs, name: str, source: SourceHost) -> None:
    """A reload of a broken pbs.toml is exit 2, the old one stays in force, and pulls and restores go on."""
    add(home, name, source)
    ends(home, name, "ok", 0)
    config = home.home / "pbs.toml"
    before = config.read_text()
    try:
        for broken in ("[server\n", f"{before}\nworkers = 0\n", "\0", f"{before}\n[source.x]\n", "\xff"):
            config.write_bytes(broken.encode("latin-1"))
            assert "pbs config check" in refused(home, "reload", code=2)
            assert "pbs.toml" in refused(home, "config", "check", code=2)
        ends(home, name, "ok", 0)
        home("runs", name)
        home("ls", name)
        home("status")
        refused(home, "source", "show", name, code=2)
        config.unlink()
        refused(home, "reload", code=2)
        ends(home, name, "ok", 0)
    finally:
        config.write_text(before)
    home("reload")
    ends(home, name, "ok", 0)


def test_a_removed_source_keeps_its_repository_and_can_come_back(
    home: Pbs, name: str, source: SourceHost, folder: Path
) -> None:
    """Removing keeps every snapshot; adding again goes on with the same history; --purge deletes all of it."""
    add(home, name, source)
    first = ends(home, name, "ok", 0)
    assert 0 == here(home, "source", "remove", name)[0]
    assert (home.repository(name) / "config").exists()
    assert "there is no source" in refused(home, "pull", name, code=7)
    assert 0 == here(home, "restore", name, "--to", str(folder / "out"))[0]
    assert not compare(source.data, folder / "out")
    add(home, name, source)
    second = ends(home, name, "ok", 0)
    found = [each["id"] for each in snapshots(home, name)]
    assert [first["snapshot"], second["snapshot"]] == found
    assert "--yes" in refused(home, "source", "remove", name, "--purge", code=2)
    assert home.repository(name).exists()
    assert 0 == here(home, "source", "remove", name, "--purge", "--yes")[0]
    assert not home.repository(name).exists()
    assert not (home.home / f"etc/keys/{name}.key").exists()
    refused(home, "restore", name, "--to", str(folder / "no"), code=7)
    add(home, name, source)
    ends(home, name, "ok", 0)
    assert len(snapshots(home, name)) == 1


def test_a_source_is_not_removed_under_its_run(home: Pbs, name: str, source: SourceHost) -> None:
    """While a run goes on, removing is refused, exit 4, and the run is not disturbed."""
    lie(source, "def job():\n    hello()\n    wish = request()\n    while not os.path.exists(ROOT + '/go'):\n"
                "        time.sleep(0.05)\n    end(snapshot=backup(wish))")  # fmt: skip
    add(home, name, source)
    run = ask(home, name)["id"]
    eventually(lambda: state(home, run)["state"] == "running", what="the run")
    for more in ((), ("--purge", "--yes")):
        assert "goes on" in refused(home, "source", "remove", name, *more, code=4)
    assert (home.home / f"sources.d/{name}.toml").exists()
    (source.root / "go").touch()
    eventually(lambda: state(home, run)["state"] == "ended", what="its end")
    assert state(home, run)["outcome"] == "ok"
    repent(source)
    home("source", "remove", name, "--purge", "--yes")


# Verbs that name what is not there


def test_what_is_not_there_is_exit_7(home: Pbs, name: str, source: SourceHost, folder: Path) -> None:
    """No such source, run or snapshot is exit 7, with the verb that lists what there is."""
    add(home, name, source)
    assert "has no snapshot yet" in refused(home, "restore", name, "--to", str(folder / "x"), code=7)
    ends(home, name, "ok", 0)
    nobody = ("pull", "migrate", "runs", "snapshots", "log", "ls", "umount", "feed", "doctor")
    for verb in nobody:
        refused_here(home, verb, "nobody", code=7)
    refused(home, "mount", "nobody", code=7)
    for words in (
        ("source", "show", "nobody"), ("source", "remove", "nobody"), ("key", "export", "nobody"),
        ("config", "show", "nobody"), ("log", "x" * 300), ("log", "../../etc/passwd"),
        ("pull", name, "nobody"), ("restore", "nobody", "--to", "/nonexistent/x"),
        ("restore", name, "deadbeef00", "--to", str(folder / "x")), ("ls", name, "/nothing/here"),
        ("ls", name, "--snapshot", "f" * 64), ("get", name, "/nothing", "-o", str(folder / "y")),
    ):  # fmt: skip
        refused_here(home, *words, code=7)
    assert len(home.json("runs", name)["runs"]) == 1, "a command with one unknown name asked for a run"
    assert not (folder / "x").exists()
    assert not (folder / "y").exists()


def test_what_makes_no_sense_is_exit_2(home: Pbs, name: str, source: SourceHost, folder: Path) -> None:
    """A command that cannot be meant is exit 2 and says how it goes; an output that cannot be is one sentence."""
    add(home, name, source)
    ends(home, name, "ok", 0)
    (folder / "full").mkdir()
    (folder / "full/file").touch()
    refused(home, "nosuchverb", code=2)
    for words in (
        ("pull",), ("pull", "--all", name), ("restore", name), ("restore", name, "ab", "--to", "x"),
        ("ls", name, "/a", "/b"), ("get", name, "relative"), ("mount", name, "--for", "ever"),
        ("restore", name, "--to", str(folder / "x"), "--delete"), ("nosuchverb",), ("runs", "-n", "0"),
        ("source", "add", fresh(), "--host", "h", "--port", "99999", "--accept-host-key"),
        ("completion", "tcsh"), ("init", str(folder / "full")), ("init", str(folder / "full/file")),
        ("get", name, "/hard", "-o", "/nonexistent/x"), ("get", name, "/hard", "-o", str(folder)),
        ("--home", "x" * 300, "status"), ("--home", str(folder / "full"), "pull", name),
        ("--home", str(folder / "none"), "runs"), ("--home", "/etc/passwd", "stop"),
    ):  # fmt: skip
        refused_here(home, *words, code=2)
    assert os.listdir(folder / "full") == ["file"]


def test_json_says_the_same_in_one_document(home: Pbs) -> None:
    """With --json an error is one document of the shape that the API has, and the exit code stays."""
    done = home("pull", "nobody", "--json", code=7)
    error = json.loads(done.stdout)["error"]
    assert {"code", "message", "hint"} == set(error)
    assert error["code"] == "not_found"


def test_a_pull_can_be_queued_alone(home: Pbs, name: str, source: SourceHost) -> None:
    """--no-wait prints the queued run and exits 0, whatever becomes of it; asking again joins or follows it."""
    source.authorized_keys.chmod(0o600)
    add(home, name, source)
    run = ask(home, name)
    assert run["state"] in ("queued", "running")
    assert None is run["outcome"]
    eventually(lambda: state(home, run["id"])["state"] == "ended", what="its end")
    assert state(home, run["id"])["outcome"] == "ok"


def test_one_key_for_two_sources_of_one_account_is_said(home: Pbs, name: str, source: SourceHost) -> None:
    """sshd takes the first line of a key: the second source would get the first one's data, and is refused instead."""
    other = fresh("web")
    add(home, name, source)
    ends(home, name, "ok", 0)
    key = host_key(source)
    words = ("source", "add", other, "--host", "127.0.0.1", "--port", str(source.port), "--host-key", key,
             "--user", getpass.getuser(), "--agent-path", str(source.agent))  # fmt: skip
    assert f"{name} has the same account and key" in home(*words).stderr
    ends(home, other, "refused", 4, f"the profile {name}", "a key of its own")
    home("source", "remove", other, "--purge", "--yes")
    add(home, other, source, "--set", f"ssh_key=etc/keys/{other}.ssh")
    ends(home, other, "ok", 0)


@pytest.mark.long
def test_the_worst_outcome_is_the_exit_code_of_all(pbs: Pbs, source: SourceHost) -> None:
    """`pull --all` pulls every source; one that fails makes it exit 1, one that is refused exit 4, the rest is ok."""
    pbs.start()
    assert "source add" in refused(pbs, "pull", "--all", code=7)
    add(pbs, "one", source)
    add(pbs, "two", source, "--set", "ssh_key=etc/keys/two.ssh")
    ended = pbs.json("pull", "--all")["runs"]
    assert sorted((run["source"], run["outcome"]) for run in ended) == [("one", "ok"), ("two", "ok")]
    key = new_key(source.root)
    add_plainly(pbs, "three", "127.0.0.1", source.port, key)
    ended = pbs.json("pull", "one", "two", "three", "one", code=4)["runs"]
    assert [run["outcome"] for run in ended] == ["ok", "ok", "refused"]
    add_plainly(pbs, "four", "127.0.0.1", free_port(), key)
    ended = pbs.json("pull", "--all", code=1)["runs"]
    outcomes = {run["source"]: run["outcome"] for run in ended}
    assert outcomes == {"one": "ok", "two": "ok", "three": "refused", "four": "failed"}

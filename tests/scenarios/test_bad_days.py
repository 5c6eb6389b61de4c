"""Bad days: whatever is wrong with a source, a home or a command, one sentence says so, and nothing is lost."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
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
    home_in_service,
    host_key,
    items,
    new_key,
    powerless,
    refused,
    refused_here,
    snapshots,
    state,
)
from stage import PBS, Pbs, SourceHost, eventually, free_port

from pbs.restore import compare

pytestmark = [pytest.mark.slow, pytest.mark.user]


@pytest.fixture(scope="module")
def home() -> Iterator[Pbs]:
    """One served home for all tests of this module that spoil only their own source."""
    with home_in_service() as pbs:
        yield pbs


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return fresh("web")


# The source does not answer, or is not who it was


def test_an_unreachable_source_fails_the_run(home: Pbs, name: str, folder: Path) -> None:
    """Where nobody listens the run fails, exit 1, and the feed says so."""
    add_plainly(home, name, "127.0.0.1", free_port(), new_key(folder))
    run = ends(home, name, "failed", 1, "nobody answers at backup@127.0.0.1", "name and the port")
    assert run["snapshot"] is None
    done = home("pull", name, code=1)
    assert f"{name} pull: failed" in done.stdout
    assert "pbs log" in done.stderr


def test_a_machine_that_is_no_ssh_server_fails_the_run(home: Pbs, name: str, folder: Path) -> None:
    """A web server at that port is a failed run with a reason."""
    add_plainly(home, name, "127.0.0.1", home.port, new_key(folder))
    ends(home, name, "failed", 1, f"127.0.0.1:{home.port}", "sshd")


def test_a_name_that_does_not_resolve_fails_the_run(home: Pbs, name: str, folder: Path) -> None:
    """A host name without an address is a failed run with a reason."""
    add_plainly(home, name, "nowhere.invalid", 22, new_key(folder))
    ends(home, name, "failed", 1, "nowhere.invalid")


def test_a_wrong_host_key_refuses_the_run_and_sends_nothing(home: Pbs, name: str, source: SourceHost) -> None:
    """T24: another key than the pinned one is refused, exit 4, before our key or any word is shown to it."""
    lie(source, "open(os.path.join(ROOT, 'reached'), 'w')")
    add(home, name, source, "--host-key", " ".join(new_key(source.root).read_text().split()[:2]))
    run = ends(home, name, "refused", 4, "another host key", "nothing was sent", "host_key")
    assert run["snapshot"] is None
    assert not (source.root / "reached").exists()
    assert "Accepted" not in (source.root / "sshd.log").read_text()
    assert "Connection closed by authenticating user" not in (source.root / "sshd.log").read_text()


def test_a_changed_host_key_refuses_runs_until_it_is_the_old_one_again(
    home: Pbs, name: str, source: SourceHost
) -> None:
    """T24: a machine that was replaced is refused from that moment on, and welcome when its old key is back."""
    add(home, name, source)
    assert ends(home, name, "ok", 0)
    source.stop()
    source.start("other_host_key")
    ends(home, name, "refused", 4, "another host key")
    source.stop()
    source.start()
    ends(home, name, "ok", 0)


def test_a_host_key_of_another_type_alone_is_refused(home: Pbs, name: str, source: SourceHost) -> None:
    """T24: a server that has no key of the pinned type is another one: refused, not failed."""
    add(home, name, source)
    source.stop()
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", source.root / "ecdsa_key"], check=True)
    source.start("ecdsa_key")
    ends(home, name, "refused", 4, "another host key")


def test_every_way_to_write_a_host_works(home: Pbs, source: SourceHost) -> None:
    """An IPv6 literal with and without brackets, and a name, reach the machine."""
    source.stop()
    source.start("host_key", "ListenAddress ::1")
    for host in ("::1", "[::1]", "localhost"):
        name = fresh("web")
        source.authorized_keys.write_text("")
        add(home, name, source, "--host", host)
        ends(home, name, "ok", 0)


# The account on the source


def test_an_unknown_user_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """An account that is not there fails the run; the advice names authorized_keys."""
    add(home, name, source, "--user", "nobody-of-that-name")
    ends(home, name, "failed", 1, "does not accept our key", "authorized_keys", "nobody-of-that-name")


def test_a_missing_key_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """Without our line in authorized_keys the run fails and says which line is wanted; with it, all is well."""
    add(home, name, source)
    line = source.authorized_keys.read_text()
    source.authorized_keys.write_text("")
    ends(home, name, "failed", 1, "does not accept our key", "authorized_keys", "pbs source show")
    source.authorized_keys.write_text(line)
    ends(home, name, "ok", 0)


def test_a_missing_agent_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """A login that finds no agent fails and says what to install, and that its path must be absolute."""
    add(home, name, source, "--agent-path", "/nonexistent/pbs-agent")
    ends(home, name, "failed", 1, "no agent answers", "127", "install pbs-agent", "absolute path")


def test_a_shell_that_prints_text_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """Words before the agent's first are named as what they are: the shell's start-up files must be silent."""
    add(home, name, source)
    agent = source.agent.read_text()
    source.agent.write_text(agent.replace("#!/bin/sh\n", "#!/bin/sh\necho 'Welcome to Debian, user!'\n"))
    ends(home, name, "failed", 1, "prints text", "Welcome to Debian, user!", "start-up files")


def test_a_password_question_of_a_shell_does_not_hold_the_run(
    home: Pbs, name: str, source: SourceHost
) -> None:
    """A program that ends before it says anything fails the run with its exit code and its complaint."""
    add(home, name, source)
    source.agent.write_text("#!/bin/sh\necho 'Your account has expired' >&2\nexit 9\n")
    ends(home, name, "failed", 1, "Your account has expired", "exit 9")


# The agent, its tools and its profile


def test_an_agent_of_another_protocol_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """An agent that speaks another protocol is told apart from a broken one; the advice says what to install."""
    add(home, name, source)
    for protocol in ("0", "2", '"1"', "null", "[1]", "1e400", "-1", "1" + "0" * 4000):
        lie(source, f"def greet():\n    hello(protocol=json.loads({protocol!r}))")
        said = protocol if protocol in "02" else "an unknown one"
        ends(home, name, "failed", 1, f"speaks protocol {said}, this server speaks 1", "pbs agent bundle")


def test_a_source_without_restic_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """A missing restic on the source fails the run and says how to get one there."""
    source.profile(restic="/nonexistent/restic")
    add(home, name, source)
    ends(home, name, "failed", 1, "lacks a tool", "/nonexistent/restic", "pbs agent bundle")


def test_a_source_with_an_old_restic_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """A restic that cannot speak over a socket is named with its version and with what is needed."""
    old = source.root / "restic"
    old.write_text("#!/bin/sh\necho 'restic 0.14.0 compiled with go1.19.8 on linux/amd64'\n")
    old.chmod(0o755)
    source.profile(restic=str(old))
    add(home, name, source)
    ends(home, name, "failed", 1, "0.14.0", "0.17 or newer")


def test_a_missing_profile_refuses_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """Without a profile the source allows nothing: refused, exit 4, and it says what to write where."""
    add(home, name, source)
    (source.root / "profile.toml").unlink()
    ends(home, name, "refused", 4, "there is no profile", "path = ")


def test_a_malformed_profile_refuses_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """A profile that cannot be read allows nothing; the line at fault is named."""
    add(home, name, source)
    with (source.root / "profile.toml").open("a") as file:
        file.write("exclud = ['*.tmp']\n")
    ends(home, name, "refused", 4, "profile.toml line 5", "exclud")


def test_a_missing_path_fails_the_run(home: Pbs, name: str, source: SourceHost) -> None:
    """A folder that is not there is a failed run, never an empty snapshot."""
    add(home, name, source)
    ends(home, name, "ok", 0)
    kept = snapshots(home, name)
    source.data.rename(source.root / "elsewhere")
    ends(home, name, "failed", 1, str(source.data), "does not exist")
    assert kept == snapshots(home, name)


def test_unreadable_files_make_a_run_partial(home: Pbs, name: str, source: SourceHost, folder: Path) -> None:
    """What could not be read is listed in log and feed; the snapshot is `latest` and known to be incomplete."""
    secret = source.data / "closed"
    secret.write_text("for nobody")
    secret.chmod(0)
    honest = source.root / "agent.plain"
    shutil.copy2(source.agent, honest)
    source.agent.write_text(f'#!/bin/sh\nexec {" ".join(powerless(str(honest)))} "$@"\n')
    add(home, name, source)
    run = ends(home, name, "partial", 3, "1 file(s) or folder(s) could not be read", "exclude")
    assert run["warnings"] == 1
    assert f"cannot read {secret}: open closed: permission denied" in home("log", name).stdout
    assert f"cannot read {secret}: " in items(home, name)[0]["description"]
    (snapshot,) = snapshots(home, name)
    assert (run["snapshot"], False, "admitted") == (snapshot["id"], snapshot["complete"], snapshot["state"])
    assert "incomplete" in home("snapshots", name).stdout
    done = home("restore", name, "--to", str(folder / "out"))
    assert "incomplete" in done.stderr
    assert [str(each) for each in only_in(source.data, folder / "out")] == ["closed"]
    secret.chmod(0o600)
    ends(home, name, "ok", 0)


def only_in(left: Path, right: Path) -> list[Path]:
    """What lies below one folder and not below the other."""
    return sorted(
        path.relative_to(left)
        for path in left.rglob("*")
        if not os.path.lexists(right / path.relative_to(left))
    )


# The repository and its key


def test_a_repository_that_is_away_is_never_made_anew(home: Pbs, name: str, source: SourceHost) -> None:
    """Without its disk a run is refused and nothing is made in its place; when it is back, all goes on."""
    add(home, name, source)
    ends(home, name, "ok", 0)
    there, away = home.repository(name), source.root / "unmounted"
    there.rename(away)
    ends(home, name, "refused", 4, "is its disk mounted")
    refused(home, "restore", name, "--to", str(source.root / "out"), code=1)
    home("reload")
    assert not there.exists()
    ends(home, name, "refused", 4, "is its disk mounted")
    away.rename(there)
    ends(home, name, "ok", 0)
    assert len(snapshots(home, name)) == 2


def test_another_repository_in_its_place_is_refused(home: Pbs, name: str, source: SourceHost) -> None:
    """A repository with another id is not the one that the ledger knows: refused, and neither is touched."""
    other = fresh("web")
    add(home, name, source)
    add(home, other, source)
    ends(home, name, "ok", 0)
    mine, theirs, aside = home.repository(name), home.repository(other), source.root / "aside"
    mine.rename(aside)
    shutil.copytree(theirs, mine)
    shutil.copy2(home.home / f"etc/keys/{name}.key", source.root / "key")
    shutil.copy2(home.home / f"etc/keys/{other}.key", home.home / f"etc/keys/{name}.key")
    before = sorted(path.name for path in mine.rglob("*"))
    ends(home, name, "refused", 4, "is another one", "put the right one back")
    assert before == sorted(path.name for path in mine.rglob("*"))
    shutil.rmtree(mine)
    aside.rename(mine)
    shutil.copy2(source.root / "key", home.home / f"etc/keys/{name}.key")
    ends(home, name, "ok", 0)


def test_a_lost_key_file_is_named(home: Pbs, name: str, source: SourceHost, folder: Path) -> None:
    """Without its key file a run fails and a restore too, both say so; with it, both work again."""
    add(home, name, source)
    ends(home, name, "ok", 0)
    key = home.home / f"etc/keys/{name}.key"
    kept = key.read_bytes()
    key.unlink()
    ends(home, name, "failed", 1, "no key file", "pbs key export")
    assert "no key file" in refused(home, "restore", name, "--to", str(folder / "out"), code=1)
    home("reload")
    assert not key.exists()
    key.write_bytes(kept)
    assert 0 == here(home, "restore", name, "--to", str(folder / "out"))[0]
    assert not compare(source.data, folder / "out")


def test_a_wrong_key_file_is_named(home: Pbs, name: str, source: SourceHost) -> None:
    """A key file that does not open the repository fails the run and points to the recovery sheet."""
    add(home, name, source)
    key = home.home / f"etc/keys/{name}.key"
    kept = key.read_bytes()
    for wrong in (b"not the right one\n", b"\xff\xfe\x00", b"\n"):
        key.write_bytes(wrong)
        ends(home, name, "failed", 1, "key", "pbs key export")
        refused(home, "key", "export", name, code=2) if wrong[:1] == b"\xff" else None
    key.write_bytes(kept)
    ends(home, name, "ok", 0)


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


# The home itself


def test_a_stopped_service_is_exit_6(pbs: Pbs) -> None:
    """Verbs that need the service say that it does not run; those that do not need it work."""
    for words in (("pull", "web"), ("pull", "--all"), ("reload",), ("stop",), ("migrate", "web")):
        assert "pbs serve" in refused(pbs, *words, code=6)
    assert "not running" in pbs("status", code=6).stderr
    for words in (("runs",), ("source", "list"), ("config", "check"), ("feed", "all"), ("mount",)):
        pbs(*words)


def test_a_taken_port_is_said_at_once(pbs: Pbs) -> None:
    """A port that somebody has is exit 2 before anything starts; listen = "off" is the way out."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", pbs.port))
        other.listen()
        assert "listen" in refused(pbs, "serve", "--detach", code=2)
        pbs("status", code=6)
        pbs.configure('listen = "off"')
        pbs.start()
        pbs("status")


def test_stale_sockets_do_not_keep_a_home_from_starting(pbs: Pbs, source: SourceHost) -> None:
    """Sockets that a killed service left are replaced, and the first pull works."""
    pbs.start()
    add(pbs, "web", source)
    pbs("stop")
    left = ("controller.sock", "supervisor.sock", "endpoint/web.sock", "wake/controller", "wake/worker-0")
    for name in left:
        path = pbs.home / "var/run" / name
        path.unlink(missing_ok=True)
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM if "wake" in name else socket.SOCK_STREAM
        ) as dead:
            dead.bind(str(path))
    pbs.start()
    ends(pbs, "web", "ok", 0)


def test_a_home_with_a_long_path_says_the_way_out(folder: Path, source: SourceHost) -> None:
    """Sockets that the kernel would not take are refused at start and by the check; a short run_dir works."""
    pbs = Pbs(folder / ("d" * 60) / ("e" * 30))
    assert "run_dir" in refused(pbs, "serve", "--detach", code=2)
    assert "run_dir" in refused(pbs, "config", "check", code=2)
    key = host_key(source)
    assert "run_dir" in refused(pbs, "source", "add", "web", "--host", "h", "--host-key", key, code=2)
    assert not list((pbs.home / "sources.d").iterdir())
    pbs.configure(f'listen = "off"\nrun_dir = "{folder}/r"')
    add(pbs, "web", source)
    pbs.start()
    try:
        ends(pbs, "web", "ok", 0)
        assert (folder / "r").stat().st_mode & 0o777 == 0o700
        pbs.configure(f'listen = "off"\nrun_dir = "{folder}/other"')
        assert "already served" in refused(pbs, "serve", "--detach", code=2)
        pbs("status")
    finally:
        pbs("stop")


def test_every_fault_of_a_configuration_is_told_at_once(pbs: Pbs) -> None:
    """Ten faults are ten lines, each with file and key; nothing starts."""
    pbs.configure(
        'listen = "here"\nworkers = "two"\nmax_runs = 0\ncolour = 1\nbase_url = "ftp://x"\n',
        '[defaults]\nschedule = "sometimes"\ntimeout = -1\n[source.latest]\nhost = "h"\n'
        '[source.web]\nhost = "a b"\nport = "ssh"\nhost_key = "no"\nlimits = { up = 1 }\n',
    )
    (pbs.home / "sources.d/db.toml").write_text('host = "db"\nkeep = "sometimes"\n')
    said = refused(pbs, "config", "check", code=2)
    for place in ("server.listen", "server.workers", "server.max_runs", "server.colour", "server.base_url",
                  "defaults.schedule", "defaults.timeout", "source.latest", "source.web.host", "source.web.port",
                  "source.web.host_key", "source.web.limits.up", "source.web.user", "sources.d/db.toml: keep",
                  "sources.d/db.toml: user", "sources.d/db.toml: host_key"):  # fmt: skip
        assert place in said, place
    assert len(json.loads(pbs("config", "check", "--json", code=2).stdout)["faults"]) >= 16
    refused(pbs, "serve", "--detach", code=2)
    pbs("status", code=2)
    pbs("runs")


def test_garbage_among_the_sources_is_told(pbs: Pbs, folder: Path) -> None:
    """A folder, a device, a loop, bytes and an empty file in sources.d are faults of the configuration, no traces."""
    place = pbs.home / "sources.d"
    (place / "folder.toml").mkdir()
    os.mkfifo(place / "pipe.toml")
    (place / "loop.toml").symlink_to("loop.toml")
    (place / "bytes.toml").write_bytes(bytes(range(256)) * 64)
    (place / "empty.toml").touch()
    (place / "no name.toml").touch()
    (place / "deep.toml").write_text("x = " + "[" * 100_000)
    (place / "big.toml").write_text("x = " + "9" * 100_000)
    (place / ".hidden.toml").write_text("[")
    (place / "notes.txt").write_text("[")
    (place / os.fsdecode(b"\xff.toml")).touch()
    said = refused(pbs, "config", "check", code=2)
    for word in ("folder", "pipe", "loop", "bytes", "empty", "no name", "deep", "big"):
        assert f"sources.d/{word}.toml" in said, said
    assert "hidden" not in said
    assert "notes" not in said
    refused(pbs, "serve", "--detach", code=2)


VERBS = (
    ("status",), ("runs",), ("pull", "web"), ("source", "list"), ("source", "show", "web"), ("snapshots", "web"),
    ("restore", "web", "--to", "/nonexistent/x"), ("mount", "web"), ("mount",), ("feed", "all"), ("log", "web"),
    ("key", "export", "web"), ("config", "check"), ("doctor",), ("serve", "--detach"), ("stop",), ("reload",),
    ("source", "remove", "web"),
)  # fmt: skip


def test_a_home_of_somebody_else_is_closed(pbs: Pbs) -> None:
    """Whoever may not enter a home is told so by every verb, exit 2, in one sentence."""
    closed = ("etc", "var/lib", "var/run", "var/log", "sources.d")
    for name in closed:
        shutil.chown(pbs.home / name, 65534) if os.geteuid() == 0 else (pbs.home / name).chmod(0)
    try:
        for words in VERBS:
            done = subprocess.run(
                powerless(*PBS, "--home", str(pbs.home), *words), capture_output=True, text=True, check=False
            )
            assert done.returncode == 2, (words, done)
            assert "Traceback" not in done.stderr, done.stderr
            assert done.stderr.startswith("pbs: "), done.stderr
            assert "own" in done.stderr, done.stderr
    finally:
        for name in closed:
            shutil.chown(pbs.home / name, 0) if os.geteuid() == 0 else (pbs.home / name).chmod(0o700)


def test_a_home_that_cannot_be_written_does_not_start(pbs: Pbs, source: SourceHost) -> None:
    """Without the right to write, starting and adding are exit 2 and say so, reading works, and nothing is half made."""
    folders = [pbs.home, *(path for path in pbs.home.rglob("*") if path.is_dir())]
    modes = {path: path.stat().st_mode & 0o7777 for path in folders}
    for path in folders:
        path.chmod(0o500)
    key = host_key(source)
    try:
        for words, code in (
            (("serve", "--detach"), 2), (("init", str(pbs.home)), 1), (("runs",), 0), (("config", "check"), 0),
            (("source", "add", "web", "--host", "h", "--host-key", key), 2),
        ):  # fmt: skip
            done = subprocess.run(
                powerless(*PBS, "--home", str(pbs.home), *words), capture_output=True, text=True, check=False
            )
            assert code == done.returncode, (words, done)
            assert "Traceback" not in done.stderr, done.stderr
            assert not code or "belong" in done.stderr or "own" in done.stderr, done.stderr
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert not list((pbs.home / "sources.d").iterdir())
    pbs.start()


def test_a_ledger_that_is_lost_or_torn_is_said(pbs: Pbs) -> None:
    """A missing, foreign or damaged ledger is one sentence; what lies there is kept."""
    ledger = pbs.home / "var/lib/ledger.sqlite"
    whole = ledger.read_bytes()
    for torn in (b"this is no database" * 100, whole[: len(whole) // 2]):
        ledger.write_bytes(torn)
        for words in (("runs",), ("serve", "--detach"), ("doctor",)):
            done = pbs(*words, code=None)
            assert done.returncode in (1, 2), (words, done)
            assert "Traceback" not in done.stderr, done.stderr
            assert "ledger" in done.stderr + done.stdout
        assert torn == ledger.read_bytes()
    ledger.unlink()
    refused(pbs, "runs", code=1)
    ledger.write_bytes(whole)
    pbs("runs")


def test_a_missing_or_empty_token_lets_nobody_in(pbs: Pbs) -> None:
    """Without the operator's token a server that listens on TCP does not start; `init` makes it again."""
    token = pbs.home / "etc/keys/admin.token"
    token.write_text("\n")
    assert "token" in refused(pbs, "serve", "--detach", code=2)
    token.write_text("hunter2")
    assert "guess" in refused(pbs, "serve", "--detach", code=2)
    token.unlink()
    assert "pbs init" in refused(pbs, "serve", "--detach", code=2)
    pbs("init", str(pbs.home))
    assert len(token.read_text().strip()) > 30
    pbs.start()


def test_tools_that_are_missing_or_too_old_are_named(pbs: Pbs, folder: Path, source: SourceHost) -> None:
    """A server without restic, or with one that is too old, says so at the first verb that needs it."""
    fake = folder / "tools"
    fake.mkdir()
    (fake / "restic").write_text("#!/bin/sh\necho 'restic 0.14.0 compiled with go1.19.8 on linux/amd64'\n")
    (fake / "restic").chmod(0o755)
    key = host_key(source)
    words = ("source", "add", "web", "--host", "h", "--host-key", key)
    done = subprocess.run(
        [*PBS, "--home", str(pbs.home), *words], capture_output=True, text=True, check=False,
        env=os.environ | {"PBS_TOOLS": str(fake)},
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "restic 0.14.0 is too old" in done.stderr
    assert "install restic" in done.stderr
    assert not list((pbs.home / "sources.d").iterdir())
    pbs(*words)


def test_help_is_there_without_a_home(folder: Path) -> None:
    """Every verb explains itself anywhere; no words at all are the help, exit 2."""
    for words in (
        ("--help",),
        ("pull", "--help"),
        ("source", "add", "-h"),
        ("--version",),
        ("config", "schema"),
    ):
        done = subprocess.run([*PBS, *words], capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done
    done = subprocess.run([sys.executable, "-m", "pbs.cli.main"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage:")

"""Bad days: whatever is wrong with a source or a repository, one sentence says so, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from liar import lie
from shared import (
    add,
    add_plainly,
    ends,
    fresh,
    here,
    items,
    new_key,
    powerless,
    refused,
    snapshots,
)
from stage import Pbs, SourceHost, free_port

from pbs.restore import compare

pytestmark = pytest.mark.slow


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

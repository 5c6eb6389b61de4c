"""`pbs doctor` believes in a lock only when what it locks out has failed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from shared import add, fresh, here
from stage import Pbs, SourceHost, eventually, find, processes

from pbs.tunnel import public_key

pytestmark = [pytest.mark.slow, pytest.mark.user]

# What a key without `restrict` opens; an sshd of an ordinary user can give no terminal, and reaches no unix socket.
OPEN = {"tcp-forward-to-source", "tcp-forward-from-source", *(["pty"] if os.geteuid() == 0 else [])}
LENT = {"unix-forward-to-source"} if os.geteuid() == 0 else set()


@pytest.fixture
def name(home: Pbs, source: SourceHost) -> Iterator[str]:
    """A source with the very line that `source add` printed."""
    name = fresh("web")
    add(home, name, source)
    yield name
    # An agent that was asked for nothing but its start may still be ending.
    eventually(lambda: not processes("pbs_agent", str(source.root)), what="the end of the agents")


def examined(home: Pbs, *words: str, code: int) -> dict[str, dict[str, Any]]:
    """The checks of the doctor by their names."""
    done = home("doctor", *words, "--json", code=code)
    checks = json.loads(done.stdout)["checks"]
    for check in checks:
        assert check["detail"], check
        assert check["state"] == "ok" or check["advice"], check
    return {check["name"]: check for check in checks}


def broken(checks: dict[str, dict[str, Any]]) -> set[str]:
    """The names of what must not be as it is."""
    return {name for name, check in checks.items() if check["state"] == "broken"}


def test_a_locked_account_passes(home: Pbs, name: str) -> None:
    """With our line everything that must work works, and everything else is refused: exit 0."""
    checks = examined(home, name, code=0)
    assert not broken(checks)
    tried = {"shell", "command", "tcp-forward-to-source", "tcp-forward-from-source", "unix-forward-to-source", "pty",
             "agent-forward", "sftp", "ping", "clear", "forward", "login", "repository"}  # fmt: skip
    assert tried <= set(checks)
    said = home("doctor", name)
    assert "✗" not in said.stdout


def test_a_plain_key_is_found_out(home: Pbs, name: str, source: SourceHost) -> None:
    """A key without any lock: no agent answers, and shell, command, forwards, terminal and sftp are named, exit 1."""
    source.authorized_keys.write_text(public_key(home.home / "etc/keys/ssh_ed25519") + "\n")
    checks = examined(home, name, code=1)
    assert {"agent_missing", "shell", "command", "sftp", *OPEN} <= broken(checks)
    assert "pbs source show" in checks["shell"]["advice"]
    said = here(home, "doctor", name)[1]
    assert "authorized_keys" in said


def test_a_key_without_restrictions_is_found_out(home: Pbs, name: str, source: SourceHost) -> None:
    """A forced command alone is no lock: terminal, forwards and agent are named."""
    key = public_key(home.home / "etc/keys/ssh_ed25519")
    source.authorized_keys.write_text(f'command="{source.agent} --profile {name}" {key}\n')
    found = broken(examined(home, name, code=1))
    assert {*OPEN, *LENT} <= found
    assert not {"shell", "command", "sftp"} & found


def test_a_key_without_a_command_is_found_out(home: Pbs, name: str, source: SourceHost) -> None:
    """An account that runs whatever it is told: shell, command and sftp are named as well."""
    bin_folder = source.root / "bin"
    bin_folder.mkdir()
    for word in ("ping", "clear", "backup"):
        script = bin_folder / word
        script.write_text(
            f"#!/bin/sh\nSSH_ORIGINAL_COMMAND={word}; export SSH_ORIGINAL_COMMAND\nexec {source.agent} --profile {name}\n"
        )
        script.chmod(0o755)
    source.stop()
    source.start("host_key", f"SetEnv PATH={bin_folder}:/usr/bin:/bin")
    source.authorized_keys.write_text(public_key(home.home / "etc/keys/ssh_ed25519") + "\n")
    found = broken(examined(home, name, code=1))
    assert {"shell", "command", "sftp", *LENT, *OPEN} <= found
    assert {"ping", "clear", "forward", "login", "repository"}.isdisjoint(found)


def test_what_does_not_work_is_named(home: Pbs, name: str, source: SourceHost) -> None:
    """Without login, with a wrong host key, without profile, without repository: each is one broken check with advice."""
    line = source.authorized_keys.read_text()
    source.authorized_keys.write_text("")
    assert {"login_refused"} == broken(examined(home, name, code=1))
    source.authorized_keys.write_text(line)
    profile = (source.root / "profile.toml").read_text()
    (source.root / "profile.toml").write_text("path = 7\n")
    assert {"ping"} == broken(examined(home, name, code=1))
    (source.root / "profile.toml").write_text(profile)
    source.stop()
    assert {"unreachable"} == broken(examined(home, name, code=1))
    source.start("other_host_key")
    assert {"host_key"} == broken(examined(home, name, code=1))
    source.stop()
    source.start()
    home.repository(name).rename(source.root / "away")
    assert {"repository"} == broken(examined(home, name, code=1))
    (source.root / "away").rename(home.repository(name))
    assert not broken(examined(home, name, code=0))


def test_the_server_is_looked_at(home: Pbs) -> None:
    """Tools, keys, disk, configuration, ledger and service; a loose key file is broken, exit 1."""
    checks = examined(home, code=0)
    assert {"restic", "rest-server", "keys", "disk", "configuration", "ledger", "service"} <= set(checks)
    assert str(find("restic")) in checks["restic"]["detail"]
    key = home.home / "etc/keys/admin.token"
    key.chmod(0o644)
    try:
        found = examined(home, code=1)
        assert {"keys"} == broken(found)
        assert "chmod" in found["keys"]["advice"]
    finally:
        key.chmod(0o600)
    config = home.home / "pbs.toml"
    before = config.read_text()
    config.write_text("[")
    try:
        assert {"configuration"} == broken(examined(home, code=1))
    finally:
        config.write_text(before)

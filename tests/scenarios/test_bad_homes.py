"""Whatever is wrong with a home, its ports, its tools or its ledger: one sentence says so, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from shared import (
    add,
    ends,
    host_key,
    powerless,
    refused,
)
from stage import PBS, Pbs, SourceHost

pytestmark = pytest.mark.slow


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


@pytest.mark.user
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


@pytest.mark.user
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

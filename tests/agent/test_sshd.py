"""Behind a real sshd with the documented line: words pass, everything else is refused, a tunnel and a backup work."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
SSHD = "/usr/sbin/sshd"
LINE = (
    'restrict,port-forwarding,permitopen="localhost:1",permitlisten="localhost:1",command="{command}" {key}\n'
)
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {root}/host
AuthorizedKeysFile {root}/authorized_keys
PidFile none
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
AcceptEnv *
"""


@dataclass
class Server:
    """An sshd and the way to it."""

    place: Any
    port: int

    @property
    def options(self) -> list[str]:
        root = self.place.root
        given = {
            "UserKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
        }
        pairs = [part for key, value in given.items() for part in ("-o", f"{key}={value}")]
        return ["-F", "none", "-i", f"{root}/key", *pairs, "-p", str(self.port)]

    def ssh(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
        command = ["ssh", *self.options, *options, f"{getpass.getuser()}@127.0.0.1", *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def server(place: Any) -> Iterator[Server]:
    """An sshd of our own on a port of its own, whose only key is the agent's."""
    root = place.root
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True)
    command = f"{root}/pbs-agent.pyz --profile web --config {root}/web.toml"
    (root / "authorized_keys").write_text(
        LINE.format(command=command, key=(root / "key.pub").read_text().strip())
    )
    port = free_port()
    (root / "sshd_config").write_text(CONFIG.format(port=port, root=root))
    with (root / "sshd.log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(root / "sshd_config")], stderr=log)
    place.running.append(process)
    end = time.monotonic() + 10
    while not answers(port):
        assert time.monotonic() < end, (root / "sshd.log").read_text()
        time.sleep(0.05)
    return Server(place, port)


def events(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_ping(server: Server) -> None:
    """ping passes."""
    done = server.ssh("ping")
    assert (done.returncode, [e["event"] for e in events(done)]) == (0, ["hello", "end"]), done.stderr


@pytest.mark.parametrize("command", ["id", "ping; id", "/bin/sh", "cat /etc/passwd", "scp -t /tmp", ""])
def test_other_commands(server: Server, command: str) -> None:
    """Any other command, and a login, is refused and runs nothing."""
    done = server.ssh(*([command] if command else []))
    assert (done.returncode, [e["outcome"] for e in events(done)]) == (64, ["refused"])


def test_sftp_and_terminal(server: Server) -> None:
    """Neither the sftp subsystem nor a terminal is to be had."""
    assert [e["outcome"] for e in events(server.ssh("sftp", options=("-s",)))] == ["refused"]
    assert b"PTY allocation request failed" in server.ssh("ping", options=("-tt",)).stderr


def test_tcp_forward(server: Server) -> None:
    """A TCP port can be opened neither way."""
    port = free_port()
    done = server.ssh(
        "ping", options=("-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:{port}:127.0.0.1:22")
    )
    assert (done.returncode, b"forwarding failed" in done.stderr) == (255, True)
    done = server.ssh(options=("-W", f"127.0.0.1:{server.port}"))
    assert (done.returncode, done.stdout, b"forwarding failed" in done.stderr) == (255, b"", True)


def test_planted_environment(server: Server) -> None:
    """An sshd that accepts every variable gives the controller no hold on the agent."""
    planted = ("-o", "SetEnv=PYTHONPATH=/tmp RESTIC_REPOSITORY=/tmp/x LD_LIBRARY_PATH=/tmp")
    assert server.ssh("ping", options=planted).returncode == 0


def lent(server: Server, place: Any) -> subprocess.Popen[bytes]:
    """A backup with the repository's socket lent through the same connection."""
    far, near = f"{place.sockets}/run9.sock", str(place.socket)
    command = ["ssh", *server.options, "-R", f"{far}:{near}", f"{getpass.getuser()}@127.0.0.1", "backup"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    place.running.append(process)
    return process


def test_backup_through_the_tunnel(server: Server) -> None:
    """The whole way: a socket lent through ssh, a backup over it, an end with the snapshot."""
    place = server.place
    place.repository()
    process = lent(server, place)
    process.stdin.write(json.dumps(place.request(socket=f"{place.sockets}/run9.sock")).encode() + b"\n")
    process.stdin.flush()
    lines = [json.loads(process.stdout.readline())]
    while lines[-1]["event"] != "end":
        lines.append(json.loads(process.stdout.readline()))
    assert (lines[-1]["outcome"], process.wait(20)) == ("ok", 0)
    (snapshot,) = json.loads(place.run_restic("snapshots", "--json"))
    assert lines[-1]["snapshot"] == snapshot["id"]


def test_connection_lost(server: Server) -> None:
    """kill -9 of the controller's end in mid-upload: agent and restic are gone within 10 s, as sshd alone would not do."""
    place = server.place
    (place.data / "large").write_bytes(os.urandom(24_000_000))
    place.repository()
    process = lent(server, place)
    request = place.request(socket=f"{place.sockets}/run9.sock", limits={"upload": 200_000, "download": None})
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    while json.loads(process.stdout.readline())["event"] != "progress":
        pass
    mark = str(place.root).encode()
    assert running(mark)
    process.kill()
    end = time.monotonic() + 10
    while running(mark):
        assert time.monotonic() < end, "the agent or restic outlived its controller"
        time.sleep(0.1)


def running(mark: bytes) -> list[bytes]:
    """The command lines of agents and restics of this test that live."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = line.read_bytes()
        except OSError:
            continue
        if mark in text and (b"--profile\0web" in text or b"backup\0--json" in text):
            found.append(text)
    return found

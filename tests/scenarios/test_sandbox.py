"""A rest-server that turned against us reaches its own repository and nothing else, as root and as an ordinary user."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.user]
# Tries to reach what is none of its business, and tells what worked.
ROGUE = """\
import json, os, signal, socket, sys
home, repository, port, victim = {home!r}, {repository!r}, {port}, {victim}
def unix(path):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
attempts = {{
    "keys": lambda: open(home + "/etc/keys/web.key").read(),
    "neighbours": lambda: open(home + "/srv/backup/pbs/db.restic/config").read(),
    "users": lambda: open("/etc/passwd").read(),
    "controller": lambda: unix(home + "/var/run/controller.sock"),
    "network": lambda: socket.create_connection(("127.0.0.1", port), 2),
    "signals": lambda: os.kill(victim, 0),
    "system": lambda: open("/usr/pbs-was-here", "w"),
    "devices": lambda: os.mknod(repository + "/null", 0o20666, os.makedev(1, 3)),
    "repository": lambda: open(repository + "/data", "w").write("x"),
}}
worked = []
for name, attempt in attempts.items():
    try:
        attempt()
        worked.append(name)
    except OSError:
        pass
print(json.dumps(worked))
"""
NAMESPACES_TOO = {"controller"}  # Landlock knows no rule about sockets that have a path


class Home:
    """As much of a home as there is to reach, with real listeners and a process to signal."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("etc/keys", "srv/backup/pbs/web.restic", "srv/backup/pbs/db.restic", "var/run/locks"):
            (root / folder).mkdir(parents=True)
        (root / "etc/keys/web.key").write_text("secret")
        (root / "srv/backup/pbs/db.restic/config").write_text("config")
        self.controller = socket.socket(socket.AF_UNIX)
        self.controller.bind(str(root / "var/run/controller.sock"))
        self.controller.listen()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.victim = subprocess.Popen(["sleep", "600"])
        self.repository = root / "srv/backup/pbs/web.restic"
        self.rogue = root / "rest-server"
        self.rogue.write_text("#!/usr/bin/python3 -I\n" + self.attack)
        self.rogue.chmod(0o755)

    @property
    def attack(self) -> str:
        """What the rogue does."""
        return ROGUE.format(
            home=str(self.root), repository=str(self.repository), port=self.tcp.getsockname()[1],
            victim=self.victim.pid,
        )  # fmt: skip

    def close(self) -> None:
        """Leave nothing."""
        self.controller.close()
        self.tcp.close()
        self.victim.kill()
        self.victim.wait()


@pytest.fixture
def home(folder: Path) -> Iterator[Home]:
    """The same, for one test."""
    made = Home(folder)
    yield made
    made.close()


def test_what_the_rogue_tries_would_work(home: Home) -> None:
    """Outside the sandbox every attempt succeeds that this user could make: the test below can fail."""
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", home.attack], capture_output=True, text=True, check=True
    )
    assert {"keys", "neighbours", "users", "controller", "network", "signals", "repository"} <= set(
        json.loads(done.stdout)
    )
    for left in (home.repository / "null", Path("/usr/pbs-was-here")):
        left.unlink(missing_ok=True)


def test_a_rest_server_reaches_its_repository_alone(home: Home) -> None:
    """Started as supervisord starts it, the rogue can write to its repository, and that is all."""
    command = [sys.executable, "-I", "-m", "pbs.guard", home.root / "s", home.root / "var/run/locks/web",
               home.rogue, home.repository, "-"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    layers, found = done.stdout.splitlines()
    assert "landlock" in layers, done
    assert "namespaces" in layers, done
    assert ["repository"] == json.loads(found)


def test_landlock_alone_holds_too(home: Home) -> None:
    """Where nobody may make namespaces, all is refused still but sockets that have a path."""
    script = (
        "from pbs.guard import sandbox\n"
        f"sandbox._drop_privileges()\nassert sandbox._landlock({str(home.repository)!r}, {str(home.rogue)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script + home.attack], capture_output=True, text=True, check=True
    )
    assert {"repository"} <= set(json.loads(done.stdout)) <= {"repository"} | NAMESPACES_TOO

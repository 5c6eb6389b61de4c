"""What systemd is told, on a real datagram socket, and the unit that it is given."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from pbs.errors import UsageError
from pbs.systemd import ALIVE, READY, Manager, reloading, unit


def test_the_manager_hears_us(tmp_path: Path) -> None:
    """A message is lines of NAME=VALUE on its socket; also on one of Linux's abstract names."""
    for address in (str(tmp_path / "notify"), f"@pbs-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(10)
            manager.bind("\0" + address[1:] if address.startswith("@") else address)
            environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "HOME": "/"}
            told = Manager(environment)
            assert {"HOME": "/"} == environment
            assert 30 == told.every
            told.say(READY, status="serving /srv")
            assert b"READY=1\nSTATUS=serving /srv" == manager.recv(1000)
            told.say(reloading(1.5))
            assert b"RELOADING=1\nMONOTONIC_USEC=1500000" == manager.recv(1000)
            told.say(ALIVE)
            assert b"WATCHDOG=1" == manager.recv(1000)


def test_without_a_manager_nothing_is_said(tmp_path: Path) -> None:
    """No address, a dead one, a watchdog that is meant for another process: nothing fails, nothing is watched."""
    quiet: dict[str, str] = {}
    assert Manager(quiet).every is None
    Manager(quiet).say(READY)
    Manager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).say(READY)
    for usec, pid in (("0", str(os.getpid())), ("x", str(os.getpid())), ("60000000", "1")):
        given = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
        assert Manager(given).every is None


def made(home: Path, *, closed: bool, user: str = "") -> str:
    """The unit of this home, for the user of the tests."""
    user = user or getpass.getuser()
    return unit(
        home, Path("/bin/true"), user, grp.getgrgid(os.getgid()).gr_name, closed=closed, stop_seconds=120
    )


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("folder", ["plain", 'b l%a$n"k \\'])
def test_systemd_takes_the_unit(tmp_path: Path, folder: str, closed: bool) -> None:
    """Whatever the home is called, systemd finds no fault in the unit."""
    path = tmp_path / "pbs.service"
    path.write_text(made(tmp_path / folder, closed=closed))
    analyze = shutil.which("systemd-analyze")
    assert analyze is not None, "systemd-analyze is missing: apt-get install systemd"
    done = subprocess.run([analyze, "verify", path], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "pbs.service" in line]
    assert (0, []) == (done.returncode, said)


def test_the_unit_lets_the_service_mount(tmp_path: Path) -> None:
    """By default nothing stands in the way of FUSE: the device, fusermount3's privileges, mounts that others see."""
    for user in ("root", "pbs"):
        words = {
            line.partition("=")[0]: line.partition("=")[2]
            for line in made(tmp_path, closed=False, user=user).splitlines()
            if not line.startswith("#")
        }
        assert "/dev/fuse rw" == words["DeviceAllow"]
        assert "CAP_SYS_ADMIN" in words["CapabilityBoundingSet"]
        own_files = {"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ReadWritePaths", "ProtectProc",
                     "ProtectKernelTunables", "ProtectControlGroups", "InaccessiblePaths", "PrivateMounts"}  # fmt: skip
        assert not own_files & set(words)
        assert ("notify", "mixed", "on-failure") == (words["Type"], words["KillMode"], words["Restart"])
        if user != "root":
            assert not {"NoNewPrivileges", "SystemCallFilter", "LockPersonality", "RestrictRealtime"} & set(
                words
            )
    closed = made(tmp_path, closed=True)
    assert "ProtectSystem=strict" in closed
    assert f"ReadWritePaths={tmp_path}" in closed


def test_a_path_that_no_unit_can_hold_is_refused() -> None:
    """A line end in a path would be a line of the unit."""
    with pytest.raises(UsageError):
        made(Path("/srv/x\nExecStartPre=/bin/sh"), closed=False)
    with pytest.raises(UsageError):
        made(Path("relative"), closed=False)

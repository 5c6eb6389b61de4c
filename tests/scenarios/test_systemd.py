"""What systemd hears of a service: that it is ready, that it lives, that it ends; and no word of life from one that hangs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import PBS, Pbs, eventually, processes

pytestmark = [pytest.mark.slow, pytest.mark.user]


@pytest.fixture
def manager(folder: Path) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.settimeout(0.1)
        yield listening


def heard(manager: socket.socket, seconds: float, until: str = "\0") -> list[str]:
    """What comes within a time, line by line; ends with the first that begins with `until`."""
    lines: list[str] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not any(line.startswith(until) for line in lines):
        try:
            lines += manager.recv(10_000).decode().split("\n")
        except TimeoutError:
            continue
    return lines


def test_systemd_is_told_how_the_service_is(pbs: Pbs, folder: Path, manager: socket.socket) -> None:
    """READY when it answers, WATCHDOG while it answers, none while the controller hangs or is dead for good, then STOPPING.

    The watchdog is one of two seconds here.
    """
    environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "2000000"}
    with (folder / "out").open("wb") as out:
        serving = subprocess.Popen(
            [*PBS, "--home", str(pbs.home), "serve"], env=environment, stdout=out, stderr=out
        )
    try:
        assert "READY=1" in heard(manager, 60, "READY=1"), (folder / "out").read_text()
        assert "WATCHDOG=1" in heard(manager, 30, "WATCHDOG=1")
        [controller] = processes(str(pbs.home), "controller")
        for pid in processes(str(pbs.home)):
            if pid != serving.pid:
                told = Path(f"/proc/{pid}/environ").read_bytes()
                assert b"NOTIFY_SOCKET" not in told, "a child could speak in our name"
        os.kill(controller, signal.SIGSTOP)
        heard(manager, 2)  # what was on its way
        said = heard(manager, 6)
        assert "WATCHDOG=1" not in said
        os.kill(controller, signal.SIGCONT)
        assert "WATCHDOG=1" in heard(manager, 60, "WATCHDOG=1")
        os.kill(controller, signal.SIGKILL)
        # One that comes back is no reason to restart everything.
        assert "WATCHDOG=1" in heard(manager, 60, "WATCHDOG=1")
        serving.send_signal(signal.SIGHUP)
        said = heard(manager, 60, "RELOADING=1")
        assert "RELOADING=1" in said
        # Whoever says that it reloads must say that it is ready again.
        assert "READY=1" in said + heard(manager, 60, "READY=1")
        serving.terminate()
        assert "STOPPING=1" in heard(manager, 60, "STOPPING=1")
        assert 0 == serving.wait(60)
    finally:
        serving.kill()
        serving.wait()
        eventually(lambda: not processes(str(pbs.home)), what="the end of the service")


def test_a_controller_that_cannot_come_back_is_no_life(
    pbs: Pbs, folder: Path, manager: socket.socket
) -> None:
    """Where the controller dies again and again the watchdog starves, and the status says why."""
    environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
    with (folder / "out").open("wb") as out:
        serving = subprocess.Popen(
            [*PBS, "--home", str(pbs.home), "serve"], env=environment, stdout=out, stderr=out
        )
    try:
        assert "READY=1" in heard(manager, 60, "READY=1"), (folder / "out").read_text()
        ledger = pbs.home / "var/lib/ledger.sqlite"
        ledger.rename(folder / "away")
        [controller] = processes(str(pbs.home), "controller")
        os.kill(controller, signal.SIGKILL)
        heard(manager, 3)
        said = heard(manager, 5)
        assert "WATCHDOG=1" not in said
        assert any(line.startswith("STATUS=") and "does not answer" in line for line in said), said
        (folder / "away").rename(ledger)
    finally:
        serving.terminate()
        serving.wait(60)
        eventually(lambda: not processes(str(pbs.home)), what="the end of the service")


def test_the_unit_names_this_home(pbs: Pbs) -> None:
    """`pbs unit` prints it filled in, for the owner of the home."""
    said = pbs("unit").stdout
    assert f"--home {pbs.home} serve" in said
    assert f"RequiresMountsFor={pbs.home}" in said
    assert "ProtectSystem=strict" not in said
    assert "ProtectSystem=strict" in pbs("unit", "--closed").stdout

"""Waits for the end of supervisord, and tells whoever manages us that the service is alive for as long as it is.

Alive means that supervisord and the controller answer, not that their processes exist: who hangs is restarted as well.
It ends nothing and restarts nothing by itself.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import subprocess
from pathlib import Path

from pbs.clock import SystemClock
from pbs.endpoint import Supervisor
from pbs.errors import PbsError, ServiceStopping
from pbs.home import Home
from pbs.systemd import ALIVE, Manager

ANSWER_SECONDS = 10.0
# A controller that was killed is back within seconds: it is looked at again before the manager gives up on us.
AGAIN_SECONDS = 2.0


def attend(child: subprocess.Popen[bytes], home: Home, manager: Manager) -> int:
    """Supervisord's exit code, once it has ended."""
    if manager.every is None:
        return child.wait()
    clock = SystemClock()
    ending = os.pidfd_open(child.pid)
    try:
        while child.poll() is None:
            before = clock.monotonic()
            fine = alive(home)
            if fine:
                manager.say(ALIVE, status=f"serving {home.root}")
            else:
                manager.say(status="supervisord or the controller does not answer; see var/log")
            pause = manager.every if fine else min(AGAIN_SECONDS, manager.every)
            select.select([ending], [], [], max(0.0, before + pause - clock.monotonic()))
    finally:
        os.close(ending)
    return child.wait()


def alive(home: Home) -> bool:
    """Whether supervisord and the controller answer."""
    try:
        Supervisor(home.supervisor_socket, home.etc / "supervisord.d").ask("getState")
    except ServiceStopping:
        return True
    except PbsError:
        return False
    return _controller_answers(home.controller_socket)


def _controller_answers(path: Path) -> bool:
    """Whether the controller answers a question: one that hangs still takes connections."""
    connection = http.client.HTTPConnection("localhost", timeout=ANSWER_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(ANSWER_SECONDS)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", "/api/v1/runs?limit=1")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()

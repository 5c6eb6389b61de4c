"""What systemd is told of the service, and the unit that it runs it by. Without systemd it says nothing to anybody.

The protocol is a few lines of text on a datagram socket; a message that does not arrive is nobody's error.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from pbs.errors import UsageError
from pbs.render import render

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"
OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Manager:
    """Whoever started us and wants to know how we are, where somebody does."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take the address out of the environment: what we start must not speak in our name."""
        self.environment = {name: environment[name] for name in OURS if name in environment}
        address = environment.pop("NOTIFY_SOCKET", "")
        seconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watched = address != "" and meant and seconds.isdigit() and int(seconds) > 0
        # Half of what is allowed, as its makers advise.
        self.every = int(seconds) / 2_000_000 if self._watched else None

    def say(self, *words: str, status: str | None = None) -> None:
        """Tell it something; `status` is what `systemctl status` shows."""
        if not self._address:
            return
        lines = [*words, *([f"STATUS={status}"] if status is not None else [])]
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            # A manager that does not read must not stop us.
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


def reloading(monotonic: float) -> str:
    """What is said before a reload; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={int(monotonic * 1_000_000)}"


def unit(
    home: Path,
    program: Path,
    user: str,
    group: str,
    *,
    closed: bool,
    stop_seconds: int,
    sockets: Path | None = None,
) -> str:
    """The text of a unit that serves this home.

    Args:
        home: Its folder.
        program: The `pbs` program.
        user: Who it runs as: the owner of the home.
        group: The user's group.
        closed: Shut it off from the rest of the file system; mounts that the service makes are then seen by nobody else.
        stop_seconds: How long a stop may take.
        sockets: Where its sockets lie, if not in the home.
    """
    outside = [sockets] if sockets is not None and not sockets.is_relative_to(home) else []
    below_run = [str(path.relative_to("/run")) for path in outside if path.is_relative_to("/run")]
    for path in (home, program, *outside):
        if re.search(r"[\x00-\x1f\x7f]", str(path)) or not path.is_absolute():
            raise UsageError(
                f"systemd cannot be told of the path {str(path)!r}", "name a path without control characters"
            )
    return render(
        "pbs.service.j2",
        home=quoted(home),
        mounts_for=quoted(home / "srv/backup/pbs"),
        path=quoted(program),
        shown=str(home).replace("%", "%%"),
        user=user,
        group=group,
        root=user == "root",
        closed=closed,
        stop_seconds=stop_seconds,
        more=[quoted(path) for path in outside if not path.is_relative_to("/run")],
        runtime=" ".join(below_run),
    )


def quoted(path: Path) -> str:
    """A path as a word of a unit: its specifiers, variables and quotes mean themselves."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if re.search(r"[^A-Za-z0-9/._+@-]", text) else text

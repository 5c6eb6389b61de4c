"""Becomes the rest-server of one source: one at a time, on a fresh socket, dying with supervisord.

Run by supervisord as `python -m pbs.endpoint.guard SOCKET LOCK SERVER REPOSITORY [QUOTA]`. It removes only a
socket that nobody answers, and never touches the repository. Imports as little as it can: there may be a
thousand of these starting at once.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import stat
import sys
import time

WAIT_SECONDS = 10.0


def main(arguments: list[str]) -> None:
    """Take the lock, clear the way, and become rest-server."""
    path, lock, server, repository = arguments[:4]
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG outlives exec
    if os.getppid() != parent:
        sys.exit("supervisord died while this endpoint started")
    os.umask(0o077)
    _only_one(lock)
    _clear(path)
    command = [server, "--listen", f"unix:{path}", "--append-only", "--no-auth", "--path", repository]
    if len(arguments) > 4:
        command += ["--max-size", arguments[4]]
    os.execv(server, command)  # noqa: S606 - no shell is wanted


def _only_one(lock: str) -> None:
    """Hold the lock for the life of rest-server; wait for a predecessor that is just being killed."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("another rest-server of this source still runs: end it, then try again")
            time.sleep(0.05)
        else:
            return


def _clear(path: str) -> None:
    """Remove a socket that a killed rest-server left behind: it never does so itself."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            sys.exit(f"{path} is not a socket: move it away")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            sys.exit(f"somebody else already listens on {path}")
    os.unlink(path)  # noqa: PTH108 - pathlib costs time at each start


if __name__ == "__main__":
    main(sys.argv[1:])

"""Becomes the rest-server of one source: one at a time, on a fresh socket, dying with supervisord.

Run by supervisord as `python -m pbs.guard SOCKET LOCK SERVER REPOSITORY QUOTA [open]` (a quota of `-` is none, `open`
means without a sandbox). It removes only a
socket that nobody answers, and never touches the repository. It binds the socket itself and hands it over, so that
rest-server needs nothing but its repository, and shuts it in before it starts. Imports as little as it can: there may
be a thousand of these starting at once.
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

from pbs.guard.sandbox import confine

WAIT_SECONDS = 10.0
# As many as rest-server's own listener would hold back.
BACKLOG = 4096
# Where a service manager hands sockets over, by the convention that rest-server follows.
FIRST_DESCRIPTOR = 3
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Take the lock, clear the way, and become rest-server."""
    if arguments[:1] == ["--try"]:
        _try(*arguments[1:])
    path, lock, server, repository, quota = arguments[:5]
    parent = os.getppid()
    _die_with(parent)
    os.umask(0o077)
    held = _only_one(lock)
    _clear(path)
    _hand_over(path, held)
    # Kept as an argument though the socket is handed over: it tells whoever looks at the processes which one this is.
    command = [server, "--listen", f"unix:{path}", "--append-only", "--no-auth", "--path", repository]
    if quota != "-":
        command += ["--max-size", quota]
    real = os.path.realpath(server)
    if arguments[5:] != ["open"]:
        _shut_in(repository, real, os.path.dirname(os.path.realpath(lock)))  # noqa: PTH120 - as in the sandbox
        _die_with(parent)  # new credentials have undone it
    _become(real, command, {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})


def _try(server: str, folder: str, scratch: str) -> None:
    """Become a rest-server that says its version, shut in as an endpoint would be: for a look at this machine."""
    real = os.path.realpath(server)
    _shut_in(folder, real, scratch)
    _become(real, [server, "--version"], {})


def _shut_in(repository: str, program: str, scratch: str) -> None:
    layers = confine(os.path.realpath(repository), program, os.path.realpath(scratch))
    print(f"shut in by {' and '.join(layers) or 'nothing: neither kernel nor user allow it'}", flush=True)


def _become(program: str, command: list[str], environment: dict[str, str]) -> None:
    try:
        os.execve(program, command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **environment})  # noqa: S606 - no shell
    except OSError as error:
        sys.exit(
            f'{program} does not start in its sandbox ({error.strerror}); set sandbox = "off" for the source'
        )


def _die_with(parent: int) -> None:
    """Have the kernel end us when supervisord is gone, also after exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("supervisord died while this endpoint started")


def _hand_over(path: str, held: int) -> None:
    """Listen on the socket, as the descriptor at which rest-server looks for it; `held` makes room for it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(BACKLOG)
    if held == FIRST_DESCRIPTOR:
        os.set_inheritable(fcntl.fcntl(held, fcntl.F_DUPFD, FIRST_DESCRIPTOR + 1), True)
    if listener.fileno() == FIRST_DESCRIPTOR:
        listener.set_inheritable(True)
    else:
        os.dup2(listener.fileno(), FIRST_DESCRIPTOR)
    listener.detach()


def _only_one(lock: str) -> int:
    """Hold the lock for the life of rest-server; wait for a predecessor that is just being killed. Its descriptor."""
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
            return descriptor


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

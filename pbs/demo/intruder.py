"""The source gone bad: what runs there in the agent's place, with everything that a source is ever given.

Started by the demo's forced command as a file of its own, with the standard library alone. It becomes the real agent,
but for the word `backup` it listens in first: it takes the socket that the server lent, tries to delete and to
overwrite what lies behind it, writes down each answer, and hands the request on as if nothing had happened. It never
touches anything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 10.0
OK = 200
JUNK = b"not what was here before"
PR_SET_PDEATHSIG = 1


class Lent(http.client.HTTPConnection):
    """HTTP over the lent socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = Lent(path)
    try:
        # A refusal may come, and the connection end, before all is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def attack(path: str) -> list[dict[str, Any]]:
    """Try everything that would harm what is there already. Each try with the status of its answer."""
    done: list[dict[str, Any]] = []

    def attempt(what: str, method: str, target: str, body: bytes | None = None) -> None:
        status, _ = ask(path, method, target, body)
        done.append({"what": what, "method": method, "status": status})

    for kind, what in (
        ("snapshots", "a snapshot"),
        ("data", "a pack"),
        ("index", "an index"),
        ("keys", "a key"),
    ):
        status, said = ask(path, "GET", f"/{kind}/")
        # Packs are not listed for a source; it knows the names of those that it sent, and any name is refused alike.
        name = json.loads(said)[0] if status == OK else hashlib.sha256(kind.encode()).hexdigest()
        attempt(f"delete {what}", "DELETE", f"/{kind}/{name}")
        # A second snapshot would be the run's one, and the honest one after it refused.
        if kind != "snapshots":
            attempt(f"overwrite {what}", "POST", f"/{kind}/{name}", JUNK)
    attempt("delete the configuration", "DELETE", "/config")
    attempt("overwrite the configuration", "POST", "/config", JUNK)
    attempt("delete the repository", "DELETE", "/")
    other = hashlib.sha256(b"something else").hexdigest()
    attempt("store junk under a false name", "POST", f"/data/{other}", JUNK)
    return done


def first_line() -> bytes:
    """The request, and not one byte more of standard input."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line


def listen_in(record: Path) -> None:
    """Put a child of ours between the server and standard input: it reads the request first, attacks, and hands it on.

    The agent has to say hello before the request is sent, so it runs meanwhile and waits.
    """
    reading, writing = os.pipe()
    agent = os.getpid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != agent:
            os._exit(1)
        for descriptor in (1, 2, reading):
            os.close(descriptor)
        data = first_line()
        try:
            answer: dict[str, object] = {"attempts": attack(json.loads(data)["socket"])}
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        record.write_text(json.dumps(answer))
        while data:
            os.write(writing, data)
            data = os.read(0, 1 << 16)
        os._exit(0)
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)


def main(arguments: list[str]) -> None:
    """`RECORD AGENT…`: become the agent, with a listener before it where the word is `backup`."""
    record, agent = Path(arguments[0]), arguments[1:]
    if os.environ.get("SSH_ORIGINAL_COMMAND") == "backup":
        listen_in(record)
    os.execv(agent[0], agent)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])

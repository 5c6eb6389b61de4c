"""The ways into a repository: REST over a unix socket, as a source has it, and a folder, as nobody but its owner has."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
from pathlib import Path
from typing import Any, Protocol


class Way(Protocol):
    """How files come in and out."""

    def names(self, kind: str) -> list[str]:
        """The files of a kind."""
        ...

    def get(self, kind: str, name: str) -> bytes:
        """One file."""
        ...

    def put(self, kind: str, data: bytes) -> str:
        """A new file; its name."""
        ...


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class Refused(Exception):
    """The door did not do it."""


class Door:
    """rest-server on a unix socket; a connection of its own for each question."""

    def __init__(self, path: str, below: str = "") -> None:
        self.path = path
        self.below = below

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """One exchange: status and answer."""
        link = _Unix(self.path)
        try:
            # Who says no may do so before it has heard all.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                link.request(method, self.below + path, body, headers)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def names(self, kind: str) -> list[str]:
        """The files of a kind."""
        status, answer = self.ask("GET", f"/{kind}/")
        if status != 200:
            raise Refused(f"GET /{kind}/: {status}")
        return [each["name"] if isinstance(each, dict) else each for each in json.loads(answer) or []]

    def get(self, kind: str, name: str) -> bytes:
        """One file."""
        status, answer = self.ask("GET", f"/{kind}/{name}")
        if status != 200:
            raise Refused(f"GET /{kind}/{name}: {status}")
        return answer

    def put(self, kind: str, data: bytes) -> str:
        """A new file; its name."""
        name = hashlib.sha256(data).hexdigest()
        status, answer = self.ask("POST", f"/{kind}/{name}", data)
        if status != 200:
            raise Refused(f"POST /{kind}/{name}: {status} {answer[:200]!r}")
        return name


class Folder:
    """A repository on a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _place(self, kind: str, name: str) -> Path:
        return self.path / kind / name[:2] / name if kind == "data" else self.path / kind / name

    def names(self, kind: str) -> list[str]:
        """The files of a kind."""
        return sorted(path.name for path in (self.path / kind).rglob("*") if path.is_file())

    def get(self, kind: str, name: str) -> bytes:
        """One file."""
        return self._place(kind, name).read_bytes()

    def put(self, kind: str, data: bytes) -> str:
        """A new file; its name."""
        name = hashlib.sha256(data).hexdigest()
        place = self._place(kind, name)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        return name

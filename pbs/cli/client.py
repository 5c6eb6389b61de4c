"""Asks the service over its socket. Standard library only, so that it costs nothing to import."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from pbs.clock import SystemClock, pause
from pbs.errors import HomeError, NotFound, PbsError, RunOver, ServiceDown, UsageError

TIMEOUT_SECONDS = 60.0
RESTART_SECONDS = 20.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Service:
    """The controller of one home."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, path: str) -> Any:
        """Ask for something."""
        return self._ask("GET", path, None)

    def get_now(self, path: str) -> Any:
        """Ask for something; a controller that is just being restarted counts as one that is not there."""
        return self._ask("GET", path, None, patience=0.0)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask for something to be done."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _connected(self, patience: float) -> _UnixConnection:
        """A connection. Where supervisord lives, a controller that died is back within seconds."""
        clock = SystemClock()
        deadline = clock.monotonic() + patience
        while True:
            connection = _UnixConnection(self._path)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                passing = isinstance(error, ConnectionRefusedError | FileNotFoundError)
                if not passing or clock.monotonic() > deadline or not self._supervised():
                    raise
                pause(0.1)
            else:
                return connection

    def _supervised(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                return probe.connect_ex(str(self._path.with_name("supervisor.sock"))) == 0
            except OSError:  # a path that no socket can have: a home that was never served from there
                return False

    def _ask(self, method: str, path: str, body: bytes | None, *, patience: float = RESTART_SECONDS) -> Any:
        """One exchange.

        Raises:
            ServiceDown: nobody answers.
            HomeError: the socket belongs to somebody else.
            PbsError: the service says no; with its own words.
        """
        connection: _UnixConnection | None = None
        try:
            connection = self._connected(patience)
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            data = json.loads(answer.read())
        except PermissionError as error:
            raise HomeError(
                f"{self._path} is closed to this user", "run as the user that owns the home"
            ) from error
        except TimeoutError as error:
            raise PbsError(
                f"the service did not answer within {TIMEOUT_SECONDS:g} s",
                "see whether this machine is overloaded; `pbs status` and var/log/controller.log tell more",
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._supervised():
                raise ServiceDown(
                    "the service runs, but its controller does not answer",
                    "`pbs status` shows its programs; look at var/log/controller.log",
                ) from error
            raise ServiceDown(
                "the service is not running in this home", "start it with `pbs serve`"
            ) from error
        finally:
            if connection is not None:
                connection.close()
        if answer.status >= 400:
            raise _refusal(data)
        return data


def _refusal(data: Any) -> PbsError:
    said = data.get("error", {}) if isinstance(data, dict) else {}
    kinds: dict[str, type[PbsError]] = {"not_found": NotFound, "usage": UsageError, "run_over": RunOver}
    code = str(said.get("code", "failed"))
    error = kinds.get(code, PbsError)(str(said.get("message", "the service refuses")), said.get("hint"))
    if code in ("configuration", "home"):
        error.exit_code = 2
    error.code = code
    return error

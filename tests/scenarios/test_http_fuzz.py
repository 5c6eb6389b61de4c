"""A client that knows nothing but the OpenAPI document tries everything that it allows, and what it forbids, on both listeners."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared import add, http
from stage import Pbs, SourceHost

SECONDS = 200
# /health answers 503 where a promise is broken, and a client that tries everything breaks some.
SETTINGS = """
[[operations]]
include-name = "GET /health"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SECONDS)]


@contextlib.contextmanager
def relay(path: Path) -> Iterator[int]:
    """A port whose connections lead to a unix socket: the client speaks TCP alone."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far, contextlib.suppress(OSError):
            far.connect(str(path))
            while True:
                for ready in select.select([near, far], [], [], 60)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (far if ready is near else near).sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def with_names(document: dict[str, Any], **known: str) -> dict[str, Any]:
    """The document, whose paths now and then name what is really there: strangers only ever guess what is not."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in known and parameter["in"] == "path":
                    parameter["schema"] = {
                        "anyOf": [{"const": known[parameter["name"]]}, parameter["schema"]]
                    }
    return document


def tried(home: Pbs, folder: Path, name: str, phase: str, *more: str, port: int) -> None:
    """What the client says of everything that the document of this home allows; it must have found nothing."""
    run = json.loads(http(home, "GET", f"/api/v1/runs?source={name}")[2])["runs"][0]
    document = json.loads(http(home, "GET", "/api/v1/openapi.json")[2])
    path = folder / "openapi.json"
    path.write_text(
        json.dumps(
            with_names(document, name=name, run=run["id"], snapshot=run["snapshot"], file=f"{name}.xml")
        )
    )
    settings = folder / "schemathesis.toml"
    settings.write_text(SETTINGS)
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", str(path), "--url", f"http://127.0.0.1:{port}", "--seed", "7",
            # One worker: two that parse at once trip over each other in CPython 3.11 (python/cpython#106905).
            "--phases", phase, "--workers", "1", "--no-shrink",
            # Too many wrong tokens are 429, which it takes for a contradiction; test_login.py tries them.
            "--exclude-checks", "ignored_auth",
            "--request-timeout", "30", "--generation-database", "none", "--continue-on-failure", *more,
        ],
        capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-20000:] + done.stderr[-2000:]


def test_nothing_is_found_by_a_client_that_tries_everything(
    home: Pbs, source: SourceHost, tmp_path: Path
) -> None:
    """No answer is a fault of ours, and none contradicts the document: on TCP what it names case by case, on the socket by chance."""
    add(home, "web", source)
    home.pull("web")
    token = (home.home / "etc/keys/admin.token").read_text().strip()
    tried(home, tmp_path, "web", "coverage", "-H", f"Authorization: Bearer {token}", port=home.port)
    with relay(home.home / "var/run/controller.sock") as port:
        tried(home, tmp_path, "web", "fuzzing", "--max-examples", "8", port=port)
    http(home, "DELETE", "/api/v1/mounts/web")
    log = (home.home / "var/log/controller.log").read_text()
    assert "Traceback" not in log, log

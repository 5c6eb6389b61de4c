"""A served home that the tests of one module share, and how they look at what it says."""

from __future__ import annotations

import contextlib
import getpass
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from stage import Pbs, SourceHost, processes, short_folder

from pbs.cli.main import run

_numbers = itertools.count(1)


def fresh(word: str = "s") -> str:
    """A name that no source of this process has had."""
    return f"{word}{next(_numbers)}"


@contextlib.contextmanager
def home_in_service(server: str = "", rest: str = "", *, base_url: str = "") -> Iterator[Pbs]:
    """A served home in a folder of its own; nothing of it may outlive the block."""
    with short_folder() as path:
        pbs = Pbs(path)
        pbs.base_url = base_url or pbs.base_url
        if server or rest or base_url:
            pbs.configure(f"{pbs.address}{server}", rest)
        pbs.start()
        try:
            yield pbs
        finally:
            pbs.stop()
        left = processes(str(path))
        assert not left, f"left behind: {left}"


def items(pbs: Pbs, name: str) -> list[dict[str, str]]:
    """The feed of a source, newest first, as its tags and texts."""
    document = ET.fromstring(get(pbs, f"/feeds/{name}.xml"))
    return [{part.tag: part.text or "" for part in item} for item in document.iter("item")]


def refused(pbs: Pbs, *arguments: str, code: int, **more: Any) -> str:
    """What a verb complains of: it must be one sentence and advice, never a trace. The standard error."""
    done = pbs(*arguments, code=code, **more)
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    assert "a fault of pbs" not in done.stderr, done.stderr
    assert lines, "nothing was said"
    assert lines[0].startswith("pbs: "), done.stderr
    assert len(lines) > 1, f"no advice: {done.stderr}"
    return done.stderr


def here(pbs: Pbs, *arguments: str) -> tuple[int, str, str]:
    """Run one verb in this process, without the half second of its start: exit code, output, complaints."""
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        code = run(["--home", str(pbs.home), *arguments])
    return code, said.getvalue(), errors.getvalue()


def refused_here(pbs: Pbs, *arguments: str, code: int) -> str:
    """Like `refused`, in this process."""
    found, said, told = here(pbs, *arguments)
    assert (code, "") == (found, said), (arguments, told)
    assert "a fault of pbs" not in told, told
    assert told.startswith("pbs: "), told
    assert len(told.splitlines()) > 1, f"no advice: {told}"
    return told


def host_key(source: SourceHost) -> str:
    """What `source add --host-key` takes."""
    return " ".join((source.root / "host_key.pub").read_text().split()[:2])


def add(pbs: Pbs, name: str, source: SourceHost, *more: str) -> None:
    """Add a source, and put its line into the source's authorized_keys."""
    code, said, told = here(
        pbs, "source", "add", name, "--host", "127.0.0.1", "--port", str(source.port), "--user", getpass.getuser(),
        "--host-key", host_key(source), "--agent-path", str(source.agent), "--json", *more,
    )  # fmt: skip
    assert 0 == code, told
    with source.authorized_keys.open("a") as file:
        file.write(json.loads(said)["authorized_keys"] + "\n")


def ends(pbs: Pbs, name: str, outcome: str, code: int, *words: str) -> dict[str, Any]:
    """Pull, and see that it ends like this, says why, what to do, and tells it in the feed. The run."""
    ended = pbs.pull(name, code=code)
    said = f"{ended['message']} / {ended['hint']}"
    assert outcome == ended["outcome"], said
    for word in words:
        assert word in said, (word, said)
    assert "a fault of pbs" not in said, said
    if outcome != "ok":
        assert ended["hint"], said
        title = f"{name} backup {outcome}"
        newest = items(pbs, name)[0]
        assert (title, ended["id"]) == (newest["title"], newest["guid"])
    return ended


def ask(pbs: Pbs, name: str) -> dict[str, Any]:
    """Have a pull queued, and do not wait for it."""
    asked: dict[str, Any] = pbs.json("pull", name, "--no-wait")
    return asked


def state(pbs: Pbs, run_id: str) -> dict[str, Any]:
    """A run as the service tells it now."""
    told: dict[str, Any] = json.loads(get(pbs, f"/api/v1/runs/{run_id}"))
    return told


def snapshots(pbs: Pbs, name: str) -> list[dict[str, Any]]:
    """The receipts of a source, as the service tells them."""
    found: list[dict[str, Any]] = json.loads(get(pbs, f"/api/v1/sources/{name}/snapshots"))["snapshots"]
    return found


def get(pbs: Pbs, path: str) -> bytes:
    """What the service answers on its socket."""
    status, _, body = http(pbs, "GET", path)
    assert 200 == status, body
    return body


def http(
    pbs: Pbs, method: str, path: str, body: bytes | None = None, *, tcp: bool = False, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One exchange, over the controller's socket or over TCP: status, headers in small letters, body."""
    connection = HTTPConnection("127.0.0.1", pbs.port, timeout=60)
    if not tcp:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        connection.sock.connect(str(pbs.home / "var/run/controller.sock"))
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def worker_peak(pbs: Pbs) -> int:
    """The most memory, in bytes, that any worker of this home has ever had."""
    peaks = []
    for pid in processes(str(pbs.home), "worker"):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            peaks.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
    assert peaks, "no worker runs"
    return max(peaks)


def powerless(*command: str) -> list[str]:
    """A command without the powers that let root pass over owners and modes; for anybody else, as it is."""
    if os.geteuid() != 0:
        return list(command)
    return [shutil.which("setpriv") or "setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]


def add_plainly(pbs: Pbs, name: str, host: str, port: int, key: Path) -> None:
    """`source add` without a source that would be there."""
    words = " ".join(key.read_text().split()[:2])
    code, _, told = here(pbs, "source", "add", name, "--host", host, "--port", str(port), "--host-key", words)
    assert 0 == code, told


def new_key(folder: Path, kind: str = "ed25519") -> Path:
    """A host key that no machine has; its public half."""
    path = folder / f"key-{fresh()}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return path.with_name(f"{path.name}.pub")

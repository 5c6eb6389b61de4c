"""The stage of the scenarios: a backup server and a source, both real, each in a short folder and on ports of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PBS = [sys.executable, "-m", "pbs.cli.main"]
PATIENCE_SECONDS = 30.0


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], seconds: float = PATIENCE_SECONDS, what: str = "it") -> Any:
    """The first true value of `check`."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return value


def processes(*words: str) -> dict[int, list[str]]:
    """The living processes whose command line holds all these words: pid → argv."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            argv = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if not dead and all(word in " ".join(argv) for word in words):
                found[int(entry.name)] = argv
    return found


@dataclasses.dataclass
class SourceHost:
    """A real sshd on the loopback, an agent, a profile, and the folder that is backed up."""

    root: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    # Where it is reached, and what sshd is started through: another network, say.
    address: str = "127.0.0.1"
    within: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.data.mkdir(parents=True)
        self.port = self.port or free_port()
        for name in ("host_key", "other_host_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.root / name], check=True
            )
        self.authorized_keys.touch(mode=0o600)
        self.profile()
        self.agent.write_text(
            f"#!/bin/sh\nPYTHONPATH='{os.environ.get('PYTHONPATH', '')}' exec '{sys.executable}' -m pbs_agent "
            f"--config '{self.root}/profile.toml' \"$@\"\n"
        )
        self.agent.chmod(0o755)

    @property
    def data(self) -> Path:
        """What is backed up."""
        return self.root / "data"

    @property
    def agent(self) -> Path:
        """The command of the authorized_keys line."""
        return self.root / "agent"

    @property
    def authorized_keys(self) -> Path:
        """The account's keys."""
        return self.root / "authorized_keys"

    @property
    def sockets(self) -> Path:
        """Where the agent puts the forwarded socket."""
        return self.root / "s"

    def profile(self, **more: Any) -> None:
        """Write the agent's profile."""
        restic = shutil.which(
            "restic", path=os.environ.get("PBS_TOOLS", "") + os.pathsep + os.environ["PATH"]
        )
        values = {"path": str(self.data), "sockets": str(self.sockets), "cache": str(self.root / "cache"),
                  "restic": str(find("restic") or restic), **more}  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
        (self.root / "profile.toml").write_text("\n".join(lines) + "\n")

    def start(self, host_key: str = "host_key", *options: str) -> None:
        """Start sshd; it answers when this returns."""
        Path("/run/sshd").mkdir(exist_ok=True) if os.geteuid() == 0 else None
        lines = [
            f"Port {self.port}", f"ListenAddress {self.address}", f"HostKey {self.root / host_key}",
            f"AuthorizedKeysFile {self.authorized_keys}", "StrictModes no", "UsePAM no", "PidFile none",
            "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
            "MaxStartups 100", "Subsystem sftp internal-sftp", *options,
        ]  # fmt: skip
        (self.root / "sshd_config").write_text("\n".join(lines) + "\n")
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        log = (self.root / "sshd.log").open("ab")
        self.process = subprocess.Popen(
            [*self.within, sshd, "-D", "-e", "-f", self.root / "sshd_config"],
            stderr=log,
            start_new_session=True,
        )
        log.close()
        eventually(self._answers, what="sshd")

    def _answers(self) -> bool:
        # Into another network nobody sees from here; there a first start is what the log tells.
        if self.within:
            return b"Server listening" in (self.root / "sshd.log").read_bytes()
        return _answers(self.port)

    def stop(self) -> None:
        """End sshd and everything that it started."""
        if self.process is not None:
            for pid in children(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
            self.process = None


def find(name: str) -> Path | None:
    """A tool, where the product finds it."""
    from pbs.process import find_tool

    return find_tool(name)


def children(pid: int) -> list[int]:
    """Every process below `pid`."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        todo += (new := below.get(todo.pop(), []))
        found += new
    return found


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Pbs:
    """A backup server in a home of its own, driven by its command line alone."""

    # What the service is started through: another network, another clock.
    within: tuple[str, ...] = ()

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self("init", str(self.home))
        self.configure(self.address)

    @property
    def address(self) -> str:
        """Where it listens, as fields of [server]."""
        return f'listen = "127.0.0.1:{self.port}"\nbase_url = "{self.base_url}"\n'

    def configure(self, server: str, rest: str = "") -> None:
        """Replace pbs.toml. Runs come when a test asks for them, unless it says otherwise."""
        rest = rest if "[defaults]" in rest else f'[defaults]\nschedule = "manual"\nretries = 0\n{rest}'
        (self.home / "pbs.toml").write_text(f"[server]\n{server}\n{rest}")

    def __call__(
        self,
        *arguments: str,
        code: int | None = 0,
        timeout: float = 120,
        within: tuple[str, ...] = (),
        **more: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run one verb; its exit code must be `code` unless that is None."""
        done = subprocess.run(
            [*within, *PBS, "--home", str(self.home), *arguments],
            capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL, errors="surrogateescape", **more,
        )  # fmt: skip
        assert code is None or done.returncode == code, (
            f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        )
        return done

    def json(self, *arguments: str, code: int | None = 0, timeout: float = 120) -> Any:
        """Run one verb with --json and parse what it prints."""
        return json.loads(self(*arguments, "--json", code=code, timeout=timeout).stdout)

    def start(self) -> None:
        """Serve in the background."""
        self("serve", "--detach", within=self.within)

    def stop(self) -> None:
        """End the service, whatever state it is in."""
        self("stop", code=None)
        for pid in processes(str(self.home)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def add(self, name: str, source: SourceHost, *more: str) -> None:
        """Add a source and put its line into the source's authorized_keys."""
        answer = self.json(
            "source", "add", name, "--host", source.address, "--port", str(source.port), "--user", getpass.getuser(),
            "--host-key", " ".join((source.root / "host_key.pub").read_text().split()[:2]),
            "--agent-path", str(source.agent), *more,
        )  # fmt: skip
        with source.authorized_keys.open("a") as file:
            file.write(answer["authorized_keys"] + "\n")

    def pull(self, name: str = "web", code: int = 0, timeout: float = 120) -> dict[str, Any]:
        """Pull; the run as it ended."""
        run: dict[str, Any] = self.json("pull", name, code=code, timeout=timeout)
        return run

    def repository(self, name: str = "web") -> Path:
        """The repository of a source."""
        return self.home / f"srv/backup/pbs/{name}.restic"

    def restic(self, *arguments: str, name: str = "web") -> subprocess.CompletedProcess[str]:
        """restic on the repository itself, as a person at the server would."""
        key = self.home / f"etc/keys/{name}.key"
        how = ["--password-file", str(key)] if key.exists() else ["--insecure-no-password"]
        return subprocess.run(
            [str(find("restic")), "-r", str(self.repository(name)), "--no-cache", *how, *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def logs(self) -> str:
        """The ends of the service's logs."""
        texts = []
        for path in sorted((self.home / "var/log").glob("*")):
            if path.is_file():
                texts.append(
                    f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
                )
        return "\n".join(texts)


def grow(folder: Path, files: int = 40, size: int = 20_000, seed: int = 1) -> None:
    """A small tree with something of everything that is awkward."""
    import random

    dice = random.Random(seed)
    for number in range(files):
        path = folder / f"d{number % 5}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(size) if number % 2 else (b"text line %d\n" % number) * (size // 14))
    (folder / "link").unlink(missing_ok=True)
    (folder / "link").symlink_to("d0/file-0")
    (folder / "empty").mkdir(exist_ok=True)
    if not (folder / "hard").exists():
        os.link(folder / "d0/file-0", folder / "hard")
    (folder / "odd \n'name\" $(x);").write_bytes(b"odd")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad-\xff-utf8")).write_bytes(b"bytes")
    with (folder / "sparse").open("wb") as file:
        file.truncate(5_000_000)
        file.seek(1_000_000)
        file.write(b"island")


def big(folder: Path, megabytes: int) -> None:
    """Data that takes a while to send: random, so that it neither compresses nor repeats."""
    folder.mkdir(exist_ok=True)
    for number in range(megabytes // 4):
        (folder / f"big-{number}").write_bytes(os.urandom(4 << 20))


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short path: unix sockets take 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="pbs-", dir="/tmp"))
    try:
        yield folder
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", folder], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)

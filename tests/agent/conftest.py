"""What the agent's tests stand on: tools, a short folder, a repository behind a unix socket, the agent as a process."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOP = Path(__file__).resolve().parents[2]
try:
    import pbs_agent
except ImportError:  # a checkout that is not installed
    sys.path.insert(0, str(TOP / "agent"))
    import pbs_agent
from pbs_agent.bundle import build_pyz  # noqa: E402 - after the path is there

PASSWORD = "correct-horse-" + secrets.token_hex(8)
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def find_tool(*names: str) -> str:
    """The first of these programs in PBS_TOOLS, .tools/bin or PATH; no test may be skipped for want of one."""
    for folder in (os.environ.get("PBS_TOOLS"), TOP / ".tools" / "bin"):
        for name in names:
            if folder and os.access(Path(folder) / name, os.X_OK):
                return str(Path(folder) / name)
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"{names[0]} is missing: set PBS_TOOLS to a folder that holds it"
    return found


def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first true value of `check`, or the failure to get one in time."""
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(
                int(stat.parent.name)
            )
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return [child for child in found if alive(child)]


@dataclass
class Said:
    """A finished agent: its events, its exit status, its text for people."""

    events: list[dict[str, Any]]
    status: int
    text: str
    seconds: float = 0.0

    @property
    def end(self) -> dict[str, Any]:
        assert self.events[-1]["event"] == "end"
        assert self.events[-1]["exit"] == self.status
        return self.events[-1]

    @property
    def hello(self) -> dict[str, Any]:
        assert self.events[0]["event"] == "hello"
        return self.events[0]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]


@dataclass
class Agent:
    """A running agent, seen from sshd's side."""

    process: subprocess.Popen[bytes]
    seen: bytearray = field(default_factory=bytearray)

    def send(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, request: dict[str, Any]) -> None:
        self.send(json.dumps(request).encode() + b"\n")

    def hang_up(self) -> None:
        self.process.stdin.close()

    def wait_for(self, event: str, seconds: float = 20.0) -> dict[str, Any]:
        """Read until an event of this kind came."""
        end = time.monotonic() + seconds
        while True:
            for line in bytes(self.seen).splitlines(keepends=True):
                if line.endswith(b"\n") and json.loads(line)["event"] == event:
                    return json.loads(line)
            left = end - time.monotonic()
            assert left > 0, f"no {event} within {seconds} s"
            self.send(b"\n")  # the controller is alive
            if select.select([self.process.stdout], [], [], min(0.5, left))[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, f"the agent ended without {event}: {self.seen!r}"
                self.seen += data

    def finish(self, seconds: float = 60.0) -> Said:
        """Wait for the end with the input still open, as the controller does."""
        start = time.monotonic()
        keep, self.process.stdin = self.process.stdin, None
        out, err = self.process.communicate(timeout=seconds)
        with contextlib.suppress(BrokenPipeError):
            keep.close()
        events = [json.loads(line) for line in (bytes(self.seen) + out).splitlines()]
        return Said(events, self.process.returncode, err.decode(), time.monotonic() - start)


@dataclass
class Place:
    """One source and its repository, in one short folder."""

    root: Path
    command: list[str]
    restic: str
    rest_server: str
    prefix: list[str] = field(default_factory=list)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def sockets(self) -> Path:
        return self.root / "s"

    @property
    def socket(self) -> Path:
        return self.sockets / "run1.sock"

    def profile(self, *lines: str, path: str | None = "path") -> None:
        """Write the profile `web`; the lines come first, because a table may be among them."""
        own = [f'restic = "{self.restic}"', f'sockets = "{self.sockets}"', f'cache = "{self.root}/cache"']
        what = [f'path = "{self.data}"'] if path else []
        (self.root / "web.toml").write_text("\n".join([*what, *own, *lines]) + "\n")

    def request(self, **changes: Any) -> dict[str, Any]:
        return {
            "protocol": 1,
            "run": "20260101T000000Z-web-pull-abcd",
            "socket": str(self.socket),
            "password": PASSWORD,
            "source": "web",
            "tags": ["source=web", "run=20260101T000000Z-web-pull-abcd"],
            "parent": None,
            "force": False,
            "limits": {"upload": None, "download": None},
        } | changes

    def start(self, word: str | bytes | None, *options: str, command: list[str] | None = None) -> Agent:
        """Start the agent as sshd would: one word in the environment, pipes at its ends."""
        environment: dict[bytes, bytes] = {
            b"PATH": b"/usr/local/bin:/usr/bin:/bin",
            b"RESTIC_PASSWORD": b"planted",
        }
        if word is not None:
            environment[b"SSH_ORIGINAL_COMMAND"] = word.encode() if isinstance(word, str) else word
        options = options or ("--profile", "web", "--config", str(self.root / "web.toml"))
        pipe = subprocess.PIPE
        arguments = [*self.prefix, *(command or self.command), *options]
        process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd="/")
        self.running.append(process)
        return Agent(process)

    def say(self, word: str | bytes | None, *options: str) -> Said:
        """One word without a request, to its end."""
        return self.start(word, *options).finish()

    def backup(self, **changes: Any) -> Said:
        """One whole backup."""
        agent = self.start("backup")
        agent.ask(self.request(**changes))
        return agent.finish()

    def slow_backup(self, *, megabytes: int = 24, rate: int = 200_000) -> Agent:
        """A backup that is in the middle of its upload and will be there for a minute."""
        (self.data / "large").write_bytes(os.urandom(megabytes * 1_000_000))
        agent = self.start("backup")
        agent.ask(self.request(limits={"upload": rate, "download": None}))
        agent.wait_for("progress")
        eventually(lambda: self.restics(agent))
        return agent

    def restics(self, agent: Agent) -> list[int]:
        """The restic processes below an agent."""
        names = {pid: Path(f"/proc/{pid}/cmdline") for pid in descendants(agent.process.pid)}
        return [
            pid for pid, line in names.items() if line.exists() and b"backup\0--json" in line.read_bytes()
        ]

    def repository(self, *, initialise: bool = True, password: str = PASSWORD) -> subprocess.Popen[bytes]:
        """Serve a repository on the socket, as the tunnel would."""
        folder = self.root / "repo"
        if initialise and not folder.exists():
            self.run_restic("init", password=password)
        folder.mkdir(exist_ok=True)
        self.own(folder)
        options = ["--append-only", "--no-auth", "--path", str(folder), "--listen", f"unix:{self.socket}"]
        with (self.root / "rest.log").open("ab") as log:
            server = subprocess.Popen([*self.prefix, self.rest_server, *options], stdout=log, stderr=log)
        self.running.append(server)
        eventually(self.socket.is_socket)
        return server

    def run_restic(self, *arguments: str, password: str = PASSWORD) -> str:
        """restic on the server's side, straight on the folder."""
        environment = {"PATH": "/usr/bin:/bin", "RESTIC_PASSWORD": password, "HOME": str(self.root)}
        command = [self.restic, "--no-cache", "--no-lock", "-r", str(self.root / "repo"), *arguments]
        if arguments[0] == "init":
            command.remove("--no-lock")
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def own(self, *folders: Path) -> None:
        """Hand folders to whoever the agent runs as."""
        if self.prefix:
            for folder in folders:
                for path in [folder, *folder.rglob("*")]:
                    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def as_ordinary_user(self) -> None:
        """From now on the agent and its repository run as a user whom permissions hold."""
        if os.getuid() == 0:
            for name, tool in (("restic", self.restic), ("rest-server", self.rest_server)):
                shutil.copy(tool, self.root / name)
            self.restic, self.rest_server = str(self.root / "restic"), str(self.root / "rest-server")
            self.prefix = AS_NOBODY
            self.own(self.sockets, self.data, self.root / "cache")

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    stream and stream.close()
            process.wait()


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as one file, built once."""
    target = tmp_path_factory.mktemp("pyz") / "pbs-agent.pyz"
    build_pyz(target)
    return target


def as_package() -> list[str]:
    """The agent from its package, as an installed command starts it; PBS_AGENT_PYTHON may be an older Python."""
    folder = str(Path(pbs_agent.__file__).resolve().parent.parent)
    start = (
        f"import sys; sys.path.insert(0, {folder!r}); from pbs_agent.wrapper import main; sys.exit(main())"
    )
    return [os.environ.get("PBS_AGENT_PYTHON", sys.executable), "-I", "-c", start]


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with a short name, for sockets, that an ordinary user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="pa-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(root: Path, pyz: Path) -> Iterator[Place]:
    """A source with some files and a profile; the agent is the one file."""
    shutil.copy(pyz, root / "pbs-agent.pyz")
    here = Place(
        root,
        [str(root / "pbs-agent.pyz")],
        find_tool("restic"),
        find_tool("rest-server", "restic-rest-server"),
    )
    here.sockets.mkdir(mode=0o700)
    (root / "cache").mkdir(mode=0o700)
    (here.data / "sub").mkdir(parents=True)
    (here.data / "one").write_bytes(b"1\n")
    (here.data / "sub" / "two").write_bytes(os.urandom(100_000))
    here.profile()
    yield here
    here.close()


@pytest.fixture(params=["package", "pyz"])
def both(request: pytest.FixtureRequest, place: Place) -> Place:
    """The same place, once with the package and once with the one file."""
    if request.param == "package":
        place.command = as_package()
    return place

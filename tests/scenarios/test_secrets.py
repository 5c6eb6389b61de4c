"""Where secrets are, and where they never are: a repository password is in its key file and in a pipe, nowhere else."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from liar import lie
from shared import add, ask, ends, fresh, get, here, state
from stage import Pbs, SourceHost, big, eventually, processes

pytestmark = [pytest.mark.slow, pytest.mark.user]
SOMEBODY_ELSE = 65534


class Watcher(threading.Thread):
    """Looks, for as long as it runs, at the arguments and the environment of every process."""

    def __init__(self, *secrets: bytes) -> None:
        super().__init__(daemon=True)
        self._secrets = secrets
        self._over = threading.Event()
        self.seen: list[str] = []
        self.looks = 0
        self.restic = 0

    def run(self) -> None:
        """Look again and again."""
        while not self._over.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    self._look(entry)
            self.looks += 1
            self._over.wait(0.05)

    def _look(self, entry: Path) -> None:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                data = (entry / name).read_bytes()
                self.restic += b"--host=" in data
                if any(secret in data for secret in self._secrets):
                    self.seen.append(f"{entry}/{name}: {data[:200]!r}")

    def finish(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()


def holders(folder: Path, secret: bytes) -> list[str]:
    """The files below a folder that hold these bytes."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and secret in path.read_bytes():
                found.append(str(path.relative_to(folder)))
    return found


def may_connect(path: Path, user: int | None = None) -> bool:
    """Whether somebody, we or another account, can connect to a socket."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(path))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def slow_run(home: Pbs, name: str, source: SourceHost) -> str:
    """A run that lasts a while and is just sending; its id."""
    big(source.data / "more", 4)
    add(home, name, source, "--set", "limits.upload=700KB/s")
    run = str(ask(home, name)["id"])
    eventually(lambda: b'"progress"' in get_log(home, name, run), what="progress")
    return run


def get_log(home: Pbs, name: str, run: str) -> bytes:
    """The log of a run as it is now."""
    path = home.home / f"var/log/runs/{name}/{run}.jsonl"
    return path.read_bytes() if path.exists() else b""


def over(home: Pbs, run: str) -> str:
    """The outcome of a run, once it has one."""
    eventually(lambda: state(home, run)["state"] == "ended", 60, "its end")
    return str(state(home, run)["outcome"])


def test_the_password_is_in_its_file_and_in_a_pipe_alone(home: Pbs, source: SourceHost) -> None:
    """During a run the password is in no argument, no environment and no file but its own; afterwards in nothing shown."""
    name = fresh("web")
    add(home, name, source)
    password = (home.home / f"etc/keys/{name}.key").read_bytes().strip()
    home("source", "remove", name)
    source.authorized_keys.write_text("")
    watcher = Watcher(password)
    watcher.start()
    run = slow_run(home, name, source)
    elsewhere = holders(home.home, password) + holders(source.root, password)
    assert "ok" == over(home, run)
    watcher.finish()
    assert not watcher.seen
    assert watcher.looks > 5
    assert watcher.restic > 0, "nobody looked while restic ran"
    assert [f"etc/keys/{name}.key"] == elsewhere
    assert [f"etc/keys/{name}.key"] == holders(home.home, password)
    assert not holders(source.root, password)
    shown = [get(home, path) for path in ("/", f"/sources/{name}", f"/sources/{name}/configuration", "/settings", "/audit", f"/runs/{run}", "/api/v1/runs", "/api/v1/sources", "/feeds/all.xml",
                                          f"/feeds/{name}.xml", f"/api/v1/sources/{name}/snapshots")]  # fmt: skip
    verbs = (("log", name), ("log", name, "--json"), ("source", "show", name, "--json"), ("runs", "--json"),
             ("config", "show", name), ("status", "--json"), ("doctor",))  # fmt: skip
    shown += ["".join(map(str, here(home, *words)[1:])).encode() for words in verbs]
    assert not [text for text in shown if password in text]
    token = (home.home / "etc/keys/admin.token").read_bytes().strip()
    assert ["etc/keys/admin.token"] == holders(home.home, token)
    assert not [text for text in shown if token in text]


def test_an_agent_that_repeats_the_password_is_not_repeated(home: Pbs, source: SourceHost) -> None:
    """Whatever an agent, its hooks or its shell print of the request, log, feed and pages show no password."""
    name = fresh("web")
    add(home, name, source)
    password = (home.home / f"etc/keys/{name}.key").read_text().strip()
    lie(source, """
def job():
    greet()
    wish = request()
    say("log", text="the password is " + wish["password"])
    say("warning", path="/" + wish["password"], reason=json.dumps(wish))
    raw(b"+ export RESTIC_PASSWORD=" + wish["password"].encode() + b"\\n")
    sys.stderr.write("trace: " + wish["password"] + "\\n")
    sys.stderr.flush()
    end(outcome="failed", exit=1, message="it was " + wish["password"])
""")  # fmt: skip
    run = ends(home, name, "failed", 1, "it was [password]")
    assert password not in str(run)
    for path in (f"/runs/{run['id']}", f"/feeds/{name}.xml", "/api/v1/runs"):
        assert password.encode() not in get(home, path)
    assert [f"etc/keys/{name}.key"] == holders(home.home, password.encode())
    lie(source, """
def job():
    greet()
    wish = request()
    sys.stderr.write("trace: " + wish["password"] + "\\n")
    sys.stderr.flush()
    raise SystemExit(3)
""")  # fmt: skip
    ends(home, name, "failed", 1, "trace: [password]")
    assert [f"etc/keys/{name}.key"] == holders(home.home, password.encode())


def test_what_is_secret_is_closed(home: Pbs, source: SourceHost) -> None:
    """Keys, sockets, logs and repositories are open to their owner alone, from the moment they exist."""
    name = fresh("web")
    add(home, name, source)
    ends(home, name, "ok", 0)
    closed = ("etc", "etc/keys", "var/run", "var/run/endpoint", "var/run/locks", "var/log", "var/lib", "var/cache",
              "srv/backup/pbs", f"srv/backup/pbs/{name}.restic", "sources.d", "mnt")  # fmt: skip
    loose = {
        path: oct(mode)
        for path in closed
        if (mode := stat.S_IMODE((home.home / path).stat().st_mode)) & 0o077
    }
    assert not loose
    for path in (home.home / "etc/keys").iterdir():
        wanted = 0o644 if path.suffix == ".pub" else 0o600
        assert wanted == stat.S_IMODE(path.stat().st_mode), path
    for path in (home.home / "var/run").rglob("*"):
        if path.is_socket():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.parent.name == "wake", path
    for path in home.repository(name).rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    ledger = home.home / "var/lib/ledger.sqlite"
    assert not stat.S_IMODE(ledger.stat().st_mode) & 0o077


def test_the_lent_socket_is_open_to_the_agents_account_alone(home: Pbs, source: SourceHost) -> None:
    """T26: while it is lent, the socket on the source lies in a closed folder with a new name, and is gone afterwards."""
    name = fresh("web")
    run = slow_run(home, name, source)
    (lent,) = [path for path in source.sockets.iterdir() if path.is_socket()]
    assert 0o700 == stat.S_IMODE(source.sockets.stat().st_mode)
    assert 0o600 == stat.S_IMODE(lent.stat().st_mode)
    assert os.getuid() == lent.stat().st_uid
    assert may_connect(lent)
    if os.geteuid() == 0:
        endpoint = home.home / f"var/run/endpoint/{name}.sock"
        # Opened up on purpose, to see what the sockets' own modes are worth.
        opened = [
            source.root,
            source.sockets,
            *(home.home / part for part in ("var/run", "var/run/endpoint")),
        ]
        for folder in (source.root.parent, home.home.parent, *opened):
            folder.chmod(0o755)
        for path in (
            lent,
            endpoint,
            home.home / "var/run/controller.sock",
            home.home / "var/run/supervisor.sock",
        ):
            assert may_connect(path), path
            assert not may_connect(path, SOMEBODY_ELSE), path
        for folder in opened[1:]:
            folder.chmod(0o700)
    assert "ok" == over(home, run)
    ends(home, name, "ok", 0)
    assert lent.name not in {path.name for path in source.sockets.iterdir()}
    assert not processes(lent.name)

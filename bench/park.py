"""Many sources on one sshd, and a home that pulls them: what bench/fleet.py measures."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import http.client
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from box import Box, Broken, await_that, environment
from contenders import PBS, Sshd, bundled_agent, profile, tool

TICKS = os.sysconf("SC_CLK_TCK")
OWN = {
    "append-only": "endpoints",
    "supervisord": "supervisord",
    "controller": "controller",
    "worker": "workers",
}


class Park:
    """A home with `count` sources s0000 …, each with a key, an agent profile and a small tree of its own."""

    def __init__(self, box: Box, count: int, files: int, at_once: int, limits: str = "{}") -> None:
        self.box, self.count, self._at_once, self._limits = box, count, at_once, limits
        self.home, self.trees = box.folder / "h", box.folder / "t"
        self.names = [f"s{number:04d}" for number in range(count)]
        self._environment = environment(box.folder)
        (box.folder / "ssh").mkdir()
        self.sshd = Sshd(box, box.folder / "ssh")
        self.pbs("init", str(self.home))
        agent = bundled_agent(self.pbs, self.box.folder)
        entries = [self._source(name, files, agent) for name in self.names]
        self.sshd.authorized_keys.write_text("\n".join(entries) + "\n")
        self.configure(endpoint="on-demand")

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.home / "var/lib/ledger.sqlite"

    def pbs(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """One verb.

        Raises:
            Broken: another exit code.
        """
        return self.box.run([*PBS, "--home", str(self.home), *words], env=self._environment, codes=codes)

    def _source(self, name: str, files: int, agent: Path) -> str:
        """Make one; returns its line for authorized_keys."""
        tree = self.trees / name
        tree.mkdir(parents=True)
        for number in range(files):
            (tree / f"file{number}").write_bytes(os.urandom(2000) + f"{name} {number}\n".encode() * 100)
        profile(
            agent / f"{name}.toml", tree, sockets=self.box.folder / "s", cache=self.box.folder / "ca" / name
        )
        key = self.home / "etc/keys" / f"{name}.ssh"
        self.box.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key])
        (self.home / "sources.d" / f"{name}.toml").write_text(f'ssh_key = "etc/keys/{name}.ssh"\n')
        command = f"{agent}/pbs-agent --profile {name} --config {agent}/{name}.toml"
        return (
            f'restrict,port-forwarding,command="{command}" {key.with_suffix(".ssh.pub").read_text().strip()}'
        )

    def configure(self, *, endpoint: str, schedule: str = "manual") -> None:
        """Write pbs.toml."""
        (self.home / "pbs.toml").write_text(
            f'[server]\nlisten = "off"\nworkers = {min(self._at_once, os.cpu_count() or 1)}\nmax_runs = {self._at_once}\n'
            f"max_runs_per_host = {self._at_once}\n"
            f'[defaults]\nhost = "127.0.0.1"\nport = {self.sshd.port}\nuser = "{getpass.getuser()}"\n'
            f'host_key = "{self.sshd.host_key}"\nendpoint = "{endpoint}"\nschedule = "{schedule}"\nlimits = {self._limits}\n'
        )

    def settle(self) -> float:
        """The first start: every repository is made. Seconds."""
        began = time.perf_counter()
        self.start()
        wanted = len(self.names)
        await_that(
            lambda: len(list((self.home / "srv/backup/pbs").glob("*.restic/config"))) == wanted or None,
            "making repositories",
            60 + 5 * wanted,
        )
        self.pbs("reload")
        return time.perf_counter() - began

    def on_paper(self, count: int) -> list[str]:
        """More sources p0000 … that are configured and in the ledger, and have no repository: nobody ever pulls them.

        For what looks at sources and not into repositories; while the service is stopped. Returns their names.
        """
        names = [f"p{number:04d}" for number in range(count)]
        now = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        with closing(sqlite3.connect(self.ledger)) as db:
            server = db.execute("SELECT server FROM source").fetchone()[0]
            for name in names:
                (self.home / "sources.d" / f"{name}.toml").write_text('ssh_key = "etc/keys/s0000.ssh"\n')
                db.execute(
                    "INSERT INTO source (uid, name, server, added) VALUES (?, ?, ?, ?)",
                    (name, name, server, now),
                )
                db.execute(
                    "INSERT INTO repository (id, source, engine, path, created) VALUES (?, ?, 'restic', ?, ?)",
                    (f"{name:0<64}", name, f"srv/backup/pbs/{name}.restic", now),
                )
            db.commit()
        return names

    def start(self) -> float:
        """Start the service; seconds until it answers a question about its sources."""
        began = time.perf_counter()
        self.box.daemon(
            [*PBS, "--home", str(self.home), "serve"], self.box.folder / "serve.log", self._environment
        )
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                if self.get("/api/v1/runs?limit=1"):
                    return time.perf_counter() - began
            if time.perf_counter() - began > 600:
                raise Broken(
                    f"the service does not answer: {(self.box.folder / 'serve.log').read_text()[-500:]}"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it."""
        self.pbs("stop")

    def get(self, path: str, codes: tuple[int, ...] = (200,)) -> bytes:
        """Ask the controller over its socket.

        Raises:
            Broken: it answers with another code.
        """
        line = http.client.HTTPConnection("localhost", timeout=60)
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.settimeout(60)
        with closing(line):
            line.sock.connect(str(self.home / "var/run/controller.sock"))
            line.request("GET", path)
            answer = line.getresponse()
            body = answer.read()
            if answer.status not in codes:
                raise Broken(f"GET {path}: {answer.status} {body[:200]!r}")
            return body

    def runs(self, **asked: str) -> list[dict[str, Any]]:
        """The newest runs of which this is true, the newest first."""
        found: list[dict[str, Any]] = json.loads(self.get(f"/api/v1/runs?{urlencode(asked)}"))["runs"]
        return found

    def pull_all(self) -> float:
        """Pull every source; seconds of the command."""
        began = time.perf_counter()
        self.pbs("pull", "--all", "--json")
        return time.perf_counter() - began

    def bare(self) -> Iterator[Callable[[], Any]]:
        """One bare restic run for each source, into a repository of its own that holds its tree already."""
        folder = self.box.folder / "bare"
        folder.mkdir()
        (folder / "password").write_text("correct horse battery staple")
        first = folder / self.names[0]
        for name in self.names:
            restic = [tool("restic"), "-q", "-r", str(folder / name), "-p", str(folder / "password"), "--cache-dir",
                      str(folder / "cache")]  # fmt: skip
            if name == self.names[0]:
                self.box.run([*restic, "init"], env=self._environment)
            else:
                shutil.copytree(first, folder / name)  # before its first backup: an empty repository
        runs = [self._bare_run(folder, name) for name in self.names]
        for run in runs:
            run()
        yield from runs

    def _bare_run(self, folder: Path, name: str) -> Callable[[], Any]:
        command = [tool("restic"), "-q", "-r", str(folder / name), "-p", str(folder / "password"), "--cache-dir",
                   str(folder / "cache" / name), "backup", str(self.trees / name)]  # fmt: skip
        return lambda: self.box.run(command, env=self._environment)

    def lateness(self, period: int) -> list[float]:
        """Have every source be due once; seconds between its slot and the begin of its run."""
        since = dt.datetime.now(dt.UTC)
        self.configure(endpoint="on-demand", schedule=f"every {period}s")
        self.pbs("reload")
        deadline = time.monotonic() + period * 1.3 + 60
        while time.monotonic() < deadline:
            late = self._late(since)
            if len(late) >= self.count:
                break
            time.sleep(2)
        self.configure(endpoint="on-demand")
        self.pbs("reload")
        return self._late(since) or [float("nan")]

    def _late(self, since: dt.datetime) -> list[float]:
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT source, min(due), started FROM run WHERE due IS NOT NULL AND started IS NOT NULL AND queued >= ? "
                "GROUP BY source", (f"{since:%Y-%m-%dT%H:%M:%S.%f}Z",)).fetchall()  # fmt: skip
        read = dt.datetime.fromisoformat
        return [max(0.0, (read(started) - read(due)).total_seconds()) for _, due, started in rows]


def parts_of(home: Path) -> dict[str, dict[str, float]]:
    """The processes of a home by part: how many, memory in bytes (proportional), processor seconds used."""
    found: dict[str, dict[str, float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, StopIteration):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if str(home) not in line:
                continue
            name = next((part for sign, part in OWN.items() if sign in line), "serve")
            memory = next(
                int(row.split()[1]) * 1024
                for row in (entry / "smaps_rollup").read_text().splitlines() if row.startswith("Pss:")
            )  # fmt: skip
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            part = found.setdefault(name, {"processes": 0, "memory": 0, "cpu_seconds": 0.0})
            part["processes"] += 1
            part["memory"] += memory
            part["cpu_seconds"] += (int(stat[11]) + int(stat[12])) / TICKS
    return found


def fill(ledger: Path, history: int) -> int:
    """Bring every source's history to so many ended runs, each with a receipt. Returns the rows of runs."""
    with closing(sqlite3.connect(ledger)) as db:
        # Nobody else is there, and a ledger that breaks here is thrown away: each page is written once.
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-1000000")
        db.execute(
            "CREATE TEMP TABLE more AS SELECT source.name, repository.id AS repository, "
            "(SELECT count(*) FROM run WHERE run.source = source.name) AS have "
            "FROM repository JOIN source ON source.uid = repository.source"
        )
        # Ten million rows are written in minutes, and the indexes made after them.
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('run', 'receipt') AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        # One hour apart, the newest an hour ago; in the order of time, as they would have been written.
        db.execute(
            "CREATE TEMP TABLE old AS WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?) "
            "SELECT name, repository, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', (n - ?) || ' hours') AS moment, "
            "printf('%08d-%s-pull', n, name) AS run, substr(printf('%08x', n) || lower(hex(name)) || printf('%064d', 0), 1, 64) AS snapshot "
            "FROM number JOIN more ON n >= have ORDER BY n", (history, history))  # fmt: skip
        db.execute(
            "INSERT INTO run (id, source, kind, cause, state, outcome, queued, started, ended, snapshot, files, bytes, added_bytes, "
            "stored_bytes, tunnel_bytes, warnings, message, output, attempt) SELECT run, name, 'pull', 'due', 'ended', 'ok', moment, "
            "moment, moment, snapshot, 20, 100000, 0, 0, 4000, 0, 'every file was read', 'nothing new', 1 FROM old"
        )
        db.execute(
            "INSERT INTO receipt (repository, reference, run, received, time, state, outcome, verified, paths, files, bytes, pinned) "
            "SELECT repository, snapshot, run, moment, moment, 'admitted', 'ok', 'full', '[]', 20, 100000, 0 FROM old"
        )
        for _, made in indexes:
            db.execute(made)
        db.execute(
            "UPDATE repository SET snapshots = (SELECT count(*) FROM receipt WHERE receipt.repository = repository.id "
            "AND state IN ('admitted', 'legacy') AND leaving IS NULL)"
        )
        db.commit()
        db.execute("PRAGMA journal_mode=WAL")
        return int(db.execute("SELECT count(*) FROM run").fetchone()[0])

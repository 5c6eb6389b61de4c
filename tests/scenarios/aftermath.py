"""What the tests of faults share: a stage to break, who can be killed on it, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared import here
from stage import PBS, Pbs, SourceHost, children, eventually, find, grow, processes, short_folder

from pbs.endpoint import Supervisor
from pbs.home import Home
from pbs.ledger import open_ledger
from pbs.model import Run, RunState
from pbs.restore import compare
from pbs.serve import answers, served

_numbers = itertools.count()
# A machine that does four other things at once is no fault.
PATIENCE = 90.0
MOST_KNOWN = 2
ASK_RESTORE = str(Path(__file__).with_name("ask_restore.py"))
# The full hour is no fault.
MANUAL = ("--set", "schedule=manual")


@dataclass
class Stand:
    """A served home, a source with one admitted snapshot, and a copy of what that snapshot holds."""

    folder: Path
    pbs: Pbs
    source: SourceHost
    name: str = "web"
    known: dict[str, Path] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        """Where everything of the server lies."""
        return Home.at(self.pbs.home)

    def prove_first(self, *settings: str) -> None:
        """Serve the home, add the source, and admit a first snapshot."""
        self.pbs.start()
        self.pbs.add(self.name, self.source, *MANUAL, *settings)
        self.remember(self.pbs.pull(self.name)["snapshot"])

    def remember(self, snapshot: str) -> None:
        """Keep a copy of the source as this snapshot must hold it."""
        copy = self.scratch("was")
        subprocess.run(["cp", "-a", self.source.data, copy], check=True)
        self.known[snapshot] = copy
        # The first and the newest tell all; every one that was ever known would take for ever.
        for old in list(self.known)[1:-MOST_KNOWN]:
            shutil.rmtree(self.known.pop(old))

    def scratch(self, word: str) -> Path:
        """A name in the stand's folder that was never used."""
        return self.folder / f"{word}-{next(_numbers)}"

    # what goes on

    def run(self, run_id: str) -> Run:
        """A run as the ledger tells it now."""
        with contextlib.closing(open_ledger(self.home.ledger)) as ledger:
            return ledger.run(run_id)

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        with contextlib.closing(open_ledger(self.home.ledger)) as ledger:
            return ledger.runs()

    def receipts(self, name: str | None = None) -> dict[str, str]:
        """The state of every snapshot that was ever received."""
        with contextlib.closing(open_ledger(self.home.ledger)) as ledger:
            return {each.id: each.state.value for each in ledger.receipts(name or self.name)}

    @contextlib.contextmanager
    def pulling(
        self, name: str | None = None, kind: str = "pull", *more: str
    ) -> Iterator[tuple[subprocess.Popen[str], Run]]:
        """`pbs pull` in a process of its own, and the run that it asked for."""
        name = name or self.name
        # One that waits already is joined.
        before = {run.id for run in self.runs() if run.state is not RunState.QUEUED}

        def new() -> Run | None:
            ours = (run for run in self.runs() if (run.source, run.kind) == (name, kind))
            return next((run for run in ours if run.id not in before), None)

        with self.following(name, kind, *more) as process:
            yield process, eventually(new, PATIENCE, "the new run")

    @contextlib.contextmanager
    def following(
        self, name: str | None = None, kind: str = "pull", *more: str
    ) -> Iterator[subprocess.Popen[str]]:
        """`pbs pull` in a process of its own, which ends with the block."""
        asks = [sys.executable, ASK_RESTORE] if kind == "restore" else [*PBS, "--home"]
        words = [] if kind == "restore" else [kind]
        process = subprocess.Popen(
            [*asks, str(self.pbs.home), *words, name or self.name, *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.kill()

    def ended(self, run_id: str) -> Run:
        """A run once it has ended."""

        def over() -> Run | None:
            run = self.run(run_id)
            return run if run.state is RunState.ENDED else None

        found: Run = eventually(over, PATIENCE, f"the end of {run_id}")
        return found

    def transferring(self, name: str | None = None, least: int = 1 << 20) -> bool:
        """Whether a pack is on its way: rest-server has a part of it."""
        for path in (self.pbs.repository(name or self.name) / "data").glob("*/*.rest-server-temp*"):
            with contextlib.suppress(OSError):
                if path.stat().st_size >= least:
                    return True
        return False

    # who can be killed

    def pids(self, victim: str) -> list[int]:
        """The processes that a victim's name stands for."""
        home, root = str(self.pbs.home), str(self.source.root)
        assert self.source.process is not None
        match victim:
            case "worker" | "controller":
                return [pid for pid, argv in processes(home, "pbs.cli.main").items() if victim in argv]
            case "supervisord":
                return list(processes(home, "pbs.keeper"))
            case "serve":
                return [pid for pid, argv in processes(home).items() if "serve" in argv]
            case "endpoint":
                return list(processes(home, "--append-only"))
            case "agent":
                return list(processes(root, "pbs_agent"))
            case "restic":
                return [pid for pid, argv in processes(root, "backup").items() if argv[0].endswith("restic")]
            case "import":
                return [pid for pid, argv in processes(home, "backup").items() if argv[0].endswith("restic")]
            case "reader":
                return [
                    pid
                    for pid, argv in processes(home).items()
                    if Path(argv[0]).name == "restic" and not {"--append-only", "backup", "mount"} & set(argv)
                ]
            case "connection":
                below = children(self.source.process.pid)
                return [pid for pid, argv in processes("sshd").items() if pid in below]
        raise AssertionError(victim)

    def kill(self, victim: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to all of these."""
        found = self.pids(victim)
        assert found, f"there is no {victim} to kill"
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    # what must hold afterwards

    def serve_again(self) -> None:
        """Start the service as an operator would, once what was killed has let go."""
        eventually(lambda: not served(self.home), PATIENCE, "the end of the killed service")
        self.pbs.start()

    def serving(self) -> bool:
        """Whether controller, first worker (unless it left for want of work) and every endpoint are up."""
        if not answers(self.home.controller_socket):
            return False
        programs = Supervisor(self.home.supervisor_socket, self.home.etc / "supervisord.d").all()
        return all(
            each["statename"] in ("RUNNING", "STARTING")
            for each in programs
            if not each["name"].startswith("worker-")
            or (each["name"] == "worker-0" and each["statename"] != "EXITED")
        )

    def source_is_quiet(self) -> bool:
        """Whether neither agent nor restic run on the source any more."""
        return not self.pids("agent") and not self.pids("restic")

    def busy(self) -> bool:
        """Whether a run of the source goes on, or waits for nothing but a worker."""
        return any(
            run.state is RunState.RUNNING or (run.state is RunState.QUEUED and not run.retry_of)
            for run in self.runs()
            if run.source == self.name
        )

    def titles(self, name: str | None = None) -> dict[str, str]:
        """The feed: run → title."""
        items = ET.fromstring(self.pbs("feed", name or self.name).stdout).iter("item")
        return {item.findtext("guid") or "": item.findtext("title") or "" for item in items}

    def nothing_left(self, name: str | None = None) -> None:
        """No run, lock, torn upload, temporary folder, dead socket or process of a run is left behind."""
        name = name or self.name
        # A run that was interrupted may be tried again by itself, later.
        assert [run.id for run in self.runs() if run.state is not RunState.ENDED and not run.retry_of] == []
        repository = self.pbs.repository(name)
        assert list((repository / "locks").iterdir()) == []
        assert [str(path) for path in repository.rglob("*temp*")] == []
        work = self.home.work(name)
        assert not work.exists() or list(work.iterdir()) == []
        for folder in (self.home.sockets, self.home.sockets / "endpoint"):
            assert [path for path in folder.iterdir() if is_dead(path)] == []
        # sshd never removes a socket that it made: the last run's stays until the agent of the next one comes.
        assert len([path for path in self.source.sockets.iterdir() if is_dead(path)]) <= 1
        assert self.source_is_quiet()
        for log in (*self.home.log.glob("worker-*.log*"), *self.home.log.glob("controller.log*")):
            text = log.read_text(errors="replace")
            assert "Traceback" not in text, text
            assert "never retrieved" not in text, text

    def restores(self, snapshot: str, like: Path) -> None:
        """A snapshot restores as exactly this tree."""
        target = self.scratch("restored")
        code, _, told = here(self.pbs, "restore", self.name, "--snapshot", snapshot, "--to", str(target))
        assert 0 == code, told
        difference = compare(like, target)
        assert not difference, difference
        shutil.rmtree(target)

    def whole(self) -> None:
        """Every byte of the repository is what it should be, and everything that was admitted restores identically."""
        checked = self.pbs.restic("check", "--read-data", name=self.name)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        for snapshot, like in self.known.items():
            self.restores(snapshot, like)

    def next_pull(self) -> dict[str, Any]:
        """The next pull simply works; its snapshot is the newest and restores as what is there now."""
        run = self.pbs.pull(self.name, timeout=PATIENCE * 2)
        assert run["outcome"] == "ok"
        self.restores("latest", self.source.data)
        return run


def is_dead(path: Path) -> bool:
    """Whether this is a stream socket that nobody answers."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def random_file(path: Path, size: int) -> None:
    """Data that neither compresses nor repeats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


@contextlib.contextmanager
def stand(*, folder: Path | None = None, **source_host: Any) -> Iterator[Stand]:
    """A stand whose home is not served yet; whatever was started with it ends with it."""
    with contextlib.ExitStack() as stack:
        place = folder or stack.enter_context(short_folder())
        source = SourceHost(place / "src", **source_host)
        grow(source.data, files=12)
        source.start()
        stack.callback(source.stop)
        pbs = Pbs(place)
        stack.callback(pbs.stop)
        yield Stand(place, pbs, source)


def restic() -> str:
    """The restic of this machine."""
    return str(find("restic"))

"""A source that forges: its forced command speaks the agent's protocol, and forges through the lent socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liar import lie, noted, repent
from shared import add, ends, fresh, here, items, snapshots
from stage import Pbs, SourceHost

from pbs.restore import compare

# How it ends where nothing is to count.
FAILS = "end(outcome='failed', exit=1, message='for today')"
# What the forger knows beside what every liar knows: `attacks`, `forger`, and the fields of a snapshot that looks right.
PLOT = """
sys.path.insert(0, {scenarios!r})
from datetime import datetime, timezone
from forge import Door, Forger, attacks


def tried(attack, *arguments, **fields):
    try:
        return attack(*arguments, **fields)
    except Exception as error:
        return repr(error)


def read(wish, *words):
    code, out, err = restic(wish, "--no-lock", "--no-cache", *words)
    assert code == 0, err
    return out


def job():
    greet()
    wish = request()
    forger = Forger(Door(wish["socket"]), wish["password"] or "", lambda *words: read(wish, *words))
    right = dict(hostname=wish["source"], tags=wish["tags"], paths=[DATA], time=datetime.now(timezone.utc).isoformat())
"""


def plot(source: SourceHost, *steps: str, past: Path | None = None) -> None:
    """Put an agent in place that takes these steps once it has been asked for a backup; `past` as for `lie`."""
    body = PLOT.replace("{scenarios!r}", repr(str(Path(__file__).parent)))
    lie(source, body + "".join(f"    {line}\n" for step in steps for line in step.splitlines()), past)


@dataclass
class Victim:
    """A source whose owner is about to change, with copies of what was admitted of it."""

    home: Pbs
    name: str
    source: SourceHost
    folder: Path
    known: dict[str, Path] = field(default_factory=dict)

    def honest(self, *words: str) -> str:
        """An honest pull, which must be ok and restore as what lies on the disk; the snapshot."""
        repent(self.source) if (self.source.root / "agent.honest").exists() else None
        run = ends(self.home, self.name, "ok", 0, *words)
        copy = self.folder / fresh("was")
        subprocess.run(["cp", "-a", self.source.data, copy], check=True)
        self.known[run["snapshot"]] = copy
        self.restores(run["snapshot"])
        return str(run["snapshot"])

    @property
    def endpoint(self) -> Path:
        """The endpoint's own socket: past the gate."""
        return self.home.home / f"var/run/endpoint/{self.name}.sock"

    def attacked(
        self, *steps: str, outcomes: tuple[str, ...] = ("ok", "refused", "failed"), past: bool = False
    ) -> dict[str, Any]:
        """The run in which these steps are taken; whatever they are, it ends with an outcome, and the feed tells it."""
        plot(self.source, *steps, past=self.endpoint if past else None)
        run = self.home.pull(self.name, code=None, timeout=240)
        said = f"{run['outcome']}: {run['message']} / {run['hint']}"
        assert run["outcome"] in outcomes, said
        assert "a fault of pbs" not in said
        assert "before it had finished" not in said, f"the attack itself broke down: {said}"
        newest = items(self.home, self.name)[0]
        assert run["id"] == newest["guid"]
        assert newest["title"] == f"{self.name} backup" + (
            f" {run['outcome']}" if run["outcome"] != "ok" else ""
        )
        return run

    def told(self, name: str = "told") -> Any:
        """What the forger noted."""
        return noted(self.source, name)

    def admitted(self) -> list[str]:
        """The snapshots that count, oldest first."""
        return [each["id"] for each in snapshots(self.home, self.name) if each["state"] == "admitted"]

    def take(self) -> None:
        """What counts now holds what lies on the disk."""
        for snapshot in self.admitted():
            if snapshot not in self.known:
                self.known[snapshot] = self.folder / fresh("was")
                subprocess.run(["cp", "-a", self.source.data, self.known[snapshot]], check=True)

    def restores(self, snapshot: str) -> None:
        """A snapshot restores byte for byte."""
        target = self.folder / fresh("out")
        code, _, told = here(self.home, "restore", self.name, snapshot, "--to", str(target))
        assert 0 == code, told
        difference = compare(self.known[snapshot], target)
        assert not difference, difference
        shutil.rmtree(target)

    def unharmed(self) -> None:
        """What was admitted restores as it was; the next honest run takes what is new and restores as well."""
        for snapshot in self.known:
            self.restores(snapshot)
        (self.source.data / fresh("new")).write_text("after the attack")
        self.honest()
        assert list(self.known) == self.admitted()


@contextlib.contextmanager
def owned(home: Pbs, folder: Path, *settings: str, files: int = 4, size: int = 2000) -> Iterator[Victim]:
    """A source of some files of about this size, with one admitted snapshot."""
    source = SourceHost(folder / "src")
    for number in range(files):
        (source.data / f"file-{number}").write_bytes(os.urandom(size + number))
    source.start()
    try:
        victim = Victim(home, fresh("v"), source, folder)
        add(home, victim.name, source, *settings)
        victim.honest()
        yield victim
    finally:
        source.stop()

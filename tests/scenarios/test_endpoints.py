"""Endpoints under supervisord: one program a source, back at once when killed, untouched by other sources' changes."""

from __future__ import annotations

import os
import signal

import pytest
from stage import Pbs, SourceHost, eventually, processes

pytestmark = pytest.mark.slow
# Proportional memory of one idle endpoint; the rest of a rest-server is shared with the others.
IDLE_BYTES = 12 << 20


def endpoints(pbs: Pbs) -> dict[str, int]:
    """The running rest-servers of this home: source → pid."""
    found = {}
    for pid, argv in processes("--append-only", str(pbs.home)).items():
        socket = argv[argv.index("--listen") + 1]
        found[socket.rpartition("/")[2].removesuffix(".sock")] = pid
    return found


def proportional(pid: int) -> int:
    """Memory of a process, shared pages divided among those who share them, in bytes."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def test_a_killed_endpoint_is_back_and_works(served: Pbs) -> None:
    """kill -9 of an idle endpoint: it is back within 5 s on a fresh socket, and the next pull is ok."""
    pid = eventually(lambda: endpoints(served).get("web"))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: endpoints(served).get("web") not in (None, pid), seconds=5, what="another endpoint")
    assert served.pull()["outcome"] == "ok"


def test_sources_come_and_go_without_touching_others(served: Pbs, source: SourceHost) -> None:
    """Adding, changing and removing a source leaves the processes of the others as they are."""
    first = eventually(lambda: endpoints(served).get("web"))
    served.add("db", source)
    eventually(lambda: {"web", "db"} == set(endpoints(served)))
    path = served.home / "sources.d/db.toml"
    path.write_text(path.read_text() + '\nquota = "5GB"\n')
    before = endpoints(served)["db"]
    served("reload")
    eventually(lambda: endpoints(served).get("db") not in (None, before), what="the changed endpoint")
    served("source", "remove", "db")
    eventually(lambda: set(endpoints(served)) == {"web"})
    assert first == endpoints(served)["web"]
    assert served.repository("db").is_dir()


def test_runs_go_on_while_repositories_are_still_made(pbs: Pbs, source: SourceHost) -> None:
    """A start with sources that were written by hand makes their repositories beside its runs; whoever is pulled makes his own."""
    pbs.add("web", source)
    written = (pbs.home / "sources.d/web.toml").read_text()
    others = [f"web{number}" for number in range(3)]
    for name in others:
        (pbs.home / f"sources.d/{name}.toml").write_text(written)
    pbs.start()
    assert pbs.pull(others[-1])["outcome"] == "ok"
    eventually(
        lambda: all((pbs.repository(name) / "config").exists() for name in others), what="repositories"
    )
    assert pbs.pull(others[0])["outcome"] == "ok"


def test_idle_endpoints_cost_little(pbs: Pbs, source: SourceHost) -> None:
    """Idle endpoints stay within their budget of memory and use no processor time."""
    pbs.start()
    eventually(
        lambda: processes(str(pbs.home), "pbs.attend"), what="the parent of the service as a small program"
    )
    for number in range(5):
        pbs.add(f"s{number}", source)
    pids = eventually(lambda: len(endpoints(pbs)) == 5 and endpoints(pbs))
    assert sum(map(proportional, pids.values())) < 5 * IDLE_BYTES
    ticks = {pid: cpu(pid) for pid in pids.values()}
    eventually(lambda: pbs.json("status")["running"])
    assert all(cpu(pid) - before <= 5 for pid, before in ticks.items())


def cpu(pid: int) -> int:
    """Clock ticks that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        words = file.read().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])

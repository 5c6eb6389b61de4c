"""What must hold after any fault: nothing lost, nothing left behind, no run forgotten, and the next run simply works.

It looks through the verbs where people look through them, and past them where they could be wrong. It changes nothing
but by asking for the next run.
"""

from __future__ import annotations

import sqlite3
import xml.etree.ElementTree as ET
from collections import Counter

from aftermath import PATIENCE, Stand
from stage import children, eventually, processes

from pbs.model import Kind, Outcome, RunState


def all_holds(stand: Stand) -> None:
    """Everything that is promised of a home after a fault, and of the run after it."""
    eventually(stand.serving, PATIENCE, "the service")
    eventually(lambda: not stand.busy(), PATIENCE, "an idle source")
    every_run_is_told(stand)
    arrived = {path.name for path in (stand.pbs.repository(stand.name) / "snapshots").iterdir()}
    orphans = arrived - set(stand.receipts())
    run = stand.next_pull()
    # What a dead worker's agent had finished is kept apart: never counted, never the newest.
    assert {stand.receipts().get(snapshot) for snapshot in orphans} <= {"quarantined"}
    stand.remember(run["snapshot"])
    eventually(lambda: not stand.busy(), PATIENCE, "an idle source")
    stand.nothing_left()
    nothing_else_left(stand)
    the_ledger_is_sound(stand)
    stand.whole()


def every_run_is_told(stand: Stand) -> None:
    """Each run that ended is in the feed, once, under a title that tells how; none is called running any more."""
    runs = [run for run in stand.runs() if run.source == stand.name]
    assert [run.id for run in runs if run.state is RunState.RUNNING] == []
    ended = [run for run in runs if run.state is RunState.ENDED]
    for text in (stand.pbs("feed", stand.name).stdout, written(stand, [run.id for run in ended])):
        items = list(ET.fromstring(text).iter("item"))
        told = Counter(item.findtext("guid") for item in items)
        assert set(told.values()) <= {1}, told
        missing = {run.id for run in ended[:100]} - set(told)
        assert not missing, f"not in the feed: {missing}"
        titles = {item.findtext("guid"): item.findtext("title") or "" for item in items}
        for run in ended[:100]:
            assert run.outcome is not None, run
            words = [] if run.outcome is Outcome.OK else [run.outcome.value]
            named = 3 if run.kind is Kind.RESTORE else 2  # `web local restore`, `web backup`
            assert titles[run.id].split()[named:] == words, (titles[run.id], run)


def written(stand: Stand, runs: list[str]) -> str:
    """The feed as it lies on disk, once it has caught up."""
    path = stand.home.feeds / f"{stand.name}.xml"

    def complete() -> str:
        text = path.read_text() if path.exists() else ""
        return text if all(run in text for run in runs[:100]) else ""

    return str(eventually(complete, PATIENCE, "the feed file") if runs else "<rss/>")


def nothing_else_left(stand: Stand) -> None:
    """No process without the service as its ancestor, no mount, no torn file of ours."""
    home = str(stand.pbs.home)
    (serve,) = stand.pids("serve")

    def strays() -> dict[int, list[str]]:
        return {pid: argv for pid, argv in processes(home).items() if pid not in {serve, *children(serve)}}

    # A child that ends between two looks is none.
    eventually(lambda: not strays(), 15, f"the end of {strays()}")
    with open("/proc/self/mounts") as mounts:
        ours = [line for line in mounts if f" {home}/mnt" in line or (home in line and "fuse" in line)]
    assert not ours, ours
    torn = [
        path
        for part in ("etc", "srv/feeds", "var/lib", "sources.d")
        for path in (stand.pbs.home / part).rglob(".*.tmp")
    ]
    assert not torn, torn
    assert not list(stand.home.feeds.glob("*.tmp"))


def the_ledger_is_sound(stand: Stand) -> None:
    """SQLite finds nothing wrong in it."""
    with sqlite3.connect(f"file:{stand.home.ledger}?mode=ro", uri=True) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert ledger.execute("PRAGMA foreign_key_check").fetchall() == []
    ledger.close()

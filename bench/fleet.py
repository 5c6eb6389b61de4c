#!/usr/bin/env python3
"""What a server with many sources costs: `.venv/bin/python bench/fleet.py [--sources 1000]`.

One real sshd with one key for each source, each a small tree. It measures and says; it never judges: the exit code is 0
whatever the figures are, 1 if something failed, 2 if it cannot run here. docs/performance.md tells the method.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import report
from box import Box, await_that
from contenders import PACKAGES, missing
from park import Park, fill, parts_of
from runner import in_box, say

STATES = ("always", "on-demand")
STARTED_SECONDS = 60


def main() -> int:
    """Measure, print, leave nothing behind."""
    options = arguments()

    def work(box: Box) -> None:
        found = measure(box, options)
        print(text(found))
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1) + "\n")

    return in_box(options.folder, missing([*PACKAGES]), work)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measures a server with many sources.")
    parser.add_argument("--sources", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--known", type=int, default=1000,
                        help="with the others on paper, for the idle service and the long ledger (default 1000)")  # fmt: skip
    parser.add_argument("--files", type=int, default=20, help="files of each source's tree (default 20)")
    parser.add_argument("--at-once", type=int, default=4, help="runs at a time (default 4)")
    parser.add_argument("--seconds", type=float, default=60, help="how long to watch it idle (default 60)")
    parser.add_argument("--history", type=int, default=10_000,
                        help="runs and receipts of each source in the long ledger (default 10000)")  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work; a short path"
    )
    parser.add_argument("--json", metavar="FILE", help="also write everything as JSON")
    options = parser.parse_args()
    if min(options.sources, options.files, options.at_once, options.history) < 1:
        parser.error("--sources, --files, --at-once and --history are at least 1")
    return options


def measure(box: Box, options: argparse.Namespace) -> dict[str, Any]:
    """Everything, one after the other.

    Raises:
        Broken: something failed.
    """
    say(f"making {options.sources} sources")
    park = Park(box, options.sources, options.files, options.at_once)
    found: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": report.machine(box.folder),
        "versions": report.versions([]),
        "sources": options.sources, "known": max(options.known, options.sources), "files": options.files, "at_once": options.at_once,
        "history": options.history, "seconds": options.seconds,
        "made_seconds": park.settle(),
    }  # fmt: skip
    say("first pulls")
    found["first_pulls_seconds"] = park.pull_all()
    found["pace"] = pace(park, options)
    found["lateness"] = lateness(park)
    found["idle"] = {}
    for endpoint in STATES:
        park.stop()
        park.configure(endpoint=endpoint)
        if endpoint == "on-demand":
            park.on_paper(max(0, options.known - options.sources))
        ready = park.start()
        say(f"{endpoint}: ready after {ready:.1f} s; idle for {options.seconds:.0f} s")
        found["idle"][endpoint] = {"ready_seconds": ready, "parts": idle(park, endpoint, options)}
    park.stop()
    found["ledger"] = [growth(park, runs) for runs in sorted({options.history // 10 or 1, options.history})]
    return found


def pace(park: Park, options: argparse.Namespace) -> dict[str, float]:
    """Unchanged pulls in a minute beside as many bare restic runs, as many at a time, in three turns each."""
    bare = list(park.bare())
    ours, theirs = [], []
    for turn in range(3):
        park.box.quiet()
        ours.append(park.pull_all())
        park.box.quiet()
        began = time.perf_counter()
        with ThreadPoolExecutor(options.at_once) as pool:
            list(pool.map(lambda one: one(), bare))
        theirs.append(time.perf_counter() - began)
        say(f"nothing changed, turn {turn + 1}: pulls {ours[-1]:.1f} s, bare restic {theirs[-1]:.1f} s")
    a, b = statistics.median(ours), statistics.median(theirs)
    return {
        "pulls_per_minute": options.sources / a * 60,
        "bare_per_minute": options.sources / b * 60,
        "share": b / a,
    }


def lateness(park: Park) -> dict[str, float]:
    """How long after its slot each source's run began, when every source is due once."""
    period = max(120, round(park.count * 1.5))
    say(f"every source is due once in {period} s")
    late = park.lateness(period)
    ordered = sorted(late)
    return {
        "period_seconds": period, "runs": len(late), "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))], "most": ordered[-1],
    }  # fmt: skip


def idle(park: Park, endpoint: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Memory (proportional) and processor share of each part of the service while nothing happens, a minute after its start."""
    if endpoint == "always":
        await_that(
            lambda: parts_of(park.home).get("endpoints", {}).get("processes", 0) >= park.count,
            "endpoints",
            60 + park.count,
        )
    # It looks at everything once when it starts, and writes a feed for each source that is new.
    time.sleep(STARTED_SECONDS)
    park.box.quiet()
    before = parts_of(park.home)
    time.sleep(options.seconds)
    after = parts_of(park.home)
    return {
        name: {
            **part,
            "cpu_percent": (part["cpu_seconds"] - before.get(name, part)["cpu_seconds"])
            / options.seconds
            * 100,
        }
        for name, part in after.items()
    }


def growth(park: Park, history: int) -> dict[str, float]:
    """Times of what people and readers ask for, with a ledger that holds so many runs of each source."""
    say(f"a ledger with {history} runs of each source")
    rows = fill(park.ledger, history)
    park.start()
    park.pbs("status", "--json")
    found = {
        "runs_per_source": history, "rows": rows, "ledger_bytes": park.ledger.stat().st_size,
        "status_seconds": best(lambda: park.pbs("status", "--json")),
        "feed_seconds": best(lambda: park.get("/feeds/s0001.xml")),
        "all_feed_seconds": best(lambda: park.get("/feeds/all.xml")),
        "plan_seconds": best(lambda: park.pbs("retain", "s0001", "--dry-run", "--json", codes=(0, 1, 4))),
        "pull_seconds": best(lambda: park.pbs("pull", "s0001", "--json")),
    }  # fmt: skip
    park.stop()
    return found


def best(act: Any) -> float:
    """The median of five."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def text(found: dict[str, Any]) -> str:
    """For people; tables in Markdown."""
    return "\n".join(lines(found))


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Line by line."""
    machine, pace_, late = found["machine"], found["pace"], found["lateness"]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    yield f"{found['sources']} sources of {found['files']} files each, {found['at_once']} runs at a time; {found['date']}"
    yield f"on demand and with a long ledger: {found['known']} sources, those beyond {found['sources']} configured and known, never pulled"
    yield f"{machine['cores']} cores, {machine['file_system']}, {machine['system']}, load at the beginning {machine['load'][0]}; {versions}"
    yield ""
    yield "| what | figure |"
    yield "| --- | --- |"
    yield f"| making all repositories, first start | {found['made_seconds']:.0f} s |"
    yield f"| first pulls of all | {found['first_pulls_seconds']:.0f} s |"
    yield f"| unchanged pulls | {pace_['pulls_per_minute']:.0f} a minute |"
    yield f"| as many bare restic runs, as many at a time | {pace_['bare_per_minute']:.0f} a minute |"
    yield f"| our share of that pace (aim ≥ 0.7) | {pace_['share']:.2f} |"
    yield (f"| begin of a run after its slot, all due once in {late['period_seconds']} s | median {late['median']:.1f} s, "
           f"95 of 100 within {late['p95']:.1f} s, at most {late['most']:.1f} s |")  # fmt: skip
    for endpoint, state in found["idle"].items():
        yield f"| from start to ready, `{endpoint}` | {state['ready_seconds']:.1f} s |"
    yield ""
    yield "idle, from a minute after the start on"
    yield ""
    yield "| endpoints | part | processes | memory MB (proportional) | processor % of one core |"
    yield "| --- | --- | --- | --- | --- |"
    for endpoint, state in found["idle"].items():
        parts = state["parts"]
        for name, part in sorted(parts.items()):
            yield f"| {endpoint} | {name} | {part['processes']} | {part['memory'] / 1e6:.1f} | {part['cpu_percent']:.2f} |"
        memory, cpu = (
            sum(p["memory"] for p in parts.values()) / 1e6,
            sum(p["cpu_percent"] for p in parts.values()),
        )
        yield f"| {endpoint} | **all** | {sum(p['processes'] for p in parts.values())} | **{memory:.1f}** | **{cpu:.2f}** |"
    yield ""
    yield "a long ledger"
    yield ""
    yield "| runs of each source | rows | ledger | `pbs status` | a feed | the feed of all | a retention plan | an unchanged pull |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in found["ledger"]:
        times = " | ".join(f"{one[key]:.2f} s" for key in
                           ("status_seconds", "feed_seconds", "all_feed_seconds", "plan_seconds", "pull_seconds"))  # fmt: skip
        yield f"| {one['runs_per_source']} | {one['rows']} | {one['ledger_bytes'] / 1e6:.0f} MB | {times} |"


if __name__ == "__main__":
    sys.exit(main())

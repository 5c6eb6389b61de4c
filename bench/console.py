#!/usr/bin/env python3
"""What the pages cost on a server with many sources: `.venv/bin/python bench/console.py [--sources 1000] [--history 1000]`.

A home with a few real sources, which are being pulled all the while, and many on paper, each with a long history. Every
page is asked for again and again, many at a time. It measures and says; it never judges: the exit code is 0 whatever the
figures are, 1 if something failed, 2 if it cannot run here. docs/performance.md tells the method.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gzip
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import report
from box import Box, await_that
from contenders import PACKAGES, missing
from park import Park, fill, parts_of
from runner import in_box

REAL = 4
TRICKLE = "300KB/s"
# A start writes a feed for each source that is new, and counts all runs there ever were.
STARTED_SECONDS = 30


def main() -> int:
    """Measure, print, leave nothing behind."""
    options = arguments()

    def work(box: Box) -> None:
        for line in measure(box, options):
            print(line, flush=True)

    return in_box(options.folder, missing([*PACKAGES]), work)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measures pages and metrics of a server with many sources.")
    parser.add_argument("--sources", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--history", type=int, default=1000, help="runs and receipts of each (default 1000)")
    parser.add_argument("--at-once", type=int, default=20, help="requests at a time (default 20)")
    parser.add_argument("--each", type=int, default=200, help="requests of each page (default 200)")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work; a short path"
    )
    options = parser.parse_args()
    if options.sources <= REAL or min(options.history, options.at_once, options.each) < 1:
        parser.error(f"--sources is more than {REAL}; --history, --at-once and --each are at least 1")
    return options


def measure(box: Box, options: argparse.Namespace) -> Iterator[str]:
    """The table, line by line.

    Raises:
        Broken: something failed.
    """
    park = Park(box, REAL, 20, REAL, limits=f'{{upload = "{TRICKLE}"}}')
    park.settle()
    park.pull_all()
    park.stop()
    park.on_paper(options.sources - REAL)
    rows = fill(park.ledger, options.history)
    park.start()
    time.sleep(STARTED_SECONDS)
    machine = report.machine(box.folder)
    yield f"{options.sources} sources, {rows} runs in the ledger; {options.at_once} requests at a time, {options.each} of each page;"
    yield f"{REAL} pulls going on; from {STARTED_SECONDS} s after the start on; {dt.datetime.now(dt.UTC):%Y-%m-%d}, {machine['cores']} cores, {machine['system']}"
    yield ""
    yield "| page | median ms | 95 of 100 within ms | most ms | KB | KB, compressed |"
    yield "| --- | --- | --- | --- | --- | --- |"
    with pulling(park):
        for path in pages(park):
            yield row(park, path, options)
        memory = parts_of(park.home)["controller"]["memory"] / 1e6
    park.stop()
    yield ""
    yield f"memory of the controller after all that: {memory:.0f} MB (proportional)"


def pages(park: Park) -> list[str]:
    """What people and programs ask for most."""
    name = park.names[0]
    run = park.runs(source=name)[0]["id"]
    return [
        "/", "/?sort=size", "/?state=broken", f"/sources/{name}", "/sources/p0000", f"/sources/{name}/retention", "/runs",
        f"/runs/{run}", "/promises", "/health", "/metrics", "/quarantine", f"/feeds/{name}.xml", "/feeds/all.xml",
        "/api/v1/sources", "/api/v1/runs?limit=100", f"/browse/{name}",
    ]  # fmt: skip


def row(park: Park, path: str, options: argparse.Namespace) -> str:
    """One line of the table: the page asked for so often, so many at a time."""
    body = park.get(path, codes=(200, 503))

    def once(_number: int) -> float:
        began = time.perf_counter()
        park.get(path, codes=(200, 503))
        return (time.perf_counter() - began) * 1000

    with ThreadPoolExecutor(options.at_once) as pool:
        taken = sorted(pool.map(once, range(options.each)))
    late = taken[min(len(taken) - 1, round(0.95 * len(taken)))]
    packed = len(gzip.compress(body, 6)) / 1000
    return f"| `{path}` | {taken[len(taken) // 2]:.0f} | {late:.0f} | {taken[-1]:.0f} | {len(body) / 1000:.0f} | {packed:.0f} |"


@contextmanager
def pulling(park: Park) -> Iterator[None]:
    """Pulls of all real sources going on for the length of the block, each with enough that is new to last."""
    enough = threading.Event()

    def keep_on(name: str) -> None:
        for number in itertools.count():
            (park.trees / name / "new").write_bytes(os.urandom(3_000_000))
            if enough.is_set():
                return
            park.pbs("pull", name, codes=(0, 5) if number else (0,))

    threads = [threading.Thread(target=keep_on, args=(name,), daemon=True) for name in park.names]
    for thread in threads:
        thread.start()
    try:
        await_that(lambda: len(park.runs(state="running")) == len(threads), "pulls")
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join(60)


if __name__ == "__main__":
    sys.exit(main())

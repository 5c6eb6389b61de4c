#!/usr/bin/env python3
"""How long a pull takes, beside what else there is: `.venv/bin/python bench/pull.py [--all]`.

It measures and says; it never judges: the exit code is 0 whatever the figures are, 1 if a contender failed,
2 if it cannot run here. docs/performance.md tells the method.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import report
import tree
from box import Box, Broken, remove
from contenders import MORE, MORE_PACKAGES, PACKAGES, USUAL, Contender, Pull, missing
from runner import in_box, say

from pbs.restore import compare


def main() -> int:
    """Measure, print, leave nothing behind."""
    options = arguments()
    contenders = USUAL + (MORE if options.all else [])
    lacking = missing([*PACKAGES, *(MORE_PACKAGES if options.all else ())])
    return in_box(
        options.folder, lacking, lambda box: publish(measure(box, contenders, options), options.json)
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Times pbs pull beside restic, and with --all beside others."
    )
    parser.add_argument("--size", type=tree.size_of, default="1GB", help="bytes of the tree (default 1GB)")
    parser.add_argument("--files", type=int, default=10_000, help="files of the tree (default 10000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes another tree (default 1)")
    parser.add_argument("--all", action="store_true", help="also rdiff-backup, borg and rsync")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work; a short path"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write everything as JSON; - prints it instead of the text"
    )
    options = parser.parse_args()
    if min(options.size, options.files, options.rounds) < 1:
        parser.error("--size, --files and --rounds are at least 1")
    return options


def measure(box: Box, contenders: list[type[Contender]], options: argparse.Namespace) -> dict[str, Any]:
    """All rounds.

    Raises:
        Broken: a contender failed.
    """
    facts = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": report.machine(box.folder),
        "versions": report.versions(contenders),
        "cpu_counted": box.counted,
        "rounds": options.rounds,
    }
    say(f"making {options.files} files, {options.size / 1e6:.0f} MB")
    data = box.folder / "t"
    data.mkdir()
    shape = tree.grow(data, options.size, options.files, options.seed)
    samples: report.Samples = {each.key: {run: [] for run in report.RUNS} for each in contenders}
    facts |= {
        "data": {field: getattr(shape, field) for field in shape.__slots__},
        "verified": None,
        "stages": [],
    }
    for number in range(options.rounds):
        shift = number % len(contenders)
        for kind in contenders[shift:] + contenders[:shift]:
            contender = kind(box, data, box.folder / "c")
            contender.folder.mkdir()
            try:
                take_part(box, contender, samples[kind.key], f"round {number + 1}: {kind.label}")
                if isinstance(contender, Pull):
                    facts["stages"].append(contender.stages())
                    if number == options.rounds - 1:
                        facts["verified"] = verify(data, contender)
            except Broken as error:
                raise Broken(f"{kind.label}: {error}") from error
            finally:
                contender.done()
            remove(contender.folder)
    return report.document(samples, contenders, facts)


def take_part(box: Box, contender: Contender, samples: dict[str, list[report.Sample]], title: str) -> None:
    """A first run and one where nothing changed."""
    contender.prepare()
    tree.read(contender.tree)
    for run in report.RUNS:
        contender.pause()
        sample = timed(box, contender.back_up, lambda: contender.recorded)
        samples[run].append(sample)
        say(f"{title}, {report.TITLES[run]}: {sample.time:.2f} s, CPU {sample.cpu:.2f} s")


def timed(box: Box, act: Callable[[], None], recorded: Callable[[], float | None]) -> report.Sample:
    """Wall time of `act`, and CPU time until all that it set going is quiet again."""
    os.sync()
    box.quiet()
    before, began = box.cpu(), time.perf_counter()
    act()
    wall = time.perf_counter() - began
    box.quiet()
    return report.Sample(wall, box.cpu() - before, recorded())


def verify(data: Path, contender: Pull) -> str:
    """Restore what the last pull stored and compare it byte by byte.

    Raises:
        Broken: it differs.
    """
    found = compare(data, contender.restored())
    if found:
        raise Broken(f"what was restored differs:\n{found}")
    return f"{found.names} names, {found.content_bytes} bytes, no difference"


def publish(found: dict[str, Any], target: str | None) -> None:
    """Print the text; write the document where it was asked for."""
    whole = json.dumps(found, indent=1, ensure_ascii=False)
    if target == "-":
        print(whole)
        return
    print(report.text(found))
    if target is not None:
        Path(target).write_text(whole + "\n")


if __name__ == "__main__":
    sys.exit(main())

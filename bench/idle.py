"""What an idle service costs: memory, descriptors and processor time with N sources, endpoints always up or on demand.

Starts a home with N sources that are never pulled, waits, and prints a table. Asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/scenarios"))
from stage import Pbs, SourceHost, processes, short_folder

TICKS = os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Proportional memory in bytes."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def cpu(pid: int) -> float:
    """Processor seconds used so far."""
    with open(f"/proc/{pid}/stat") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def kind_of(argv: list[str]) -> str:
    """Which part of the service a process is."""
    text = " ".join(argv)
    for sign, kind in (("--append-only", "endpoints"), ("supervisord", "supervisord"), (" controller", "controller"),
                       (" worker", "worker")):  # fmt: skip
        if sign in text:
            return kind
    return "serve"


def measure(endpoint: str, sources: int, seconds: float) -> None:
    """One line of the table for each part of the service."""
    with short_folder() as folder:
        host = SourceHost(folder / "src")
        pbs = Pbs(folder)
        try:
            for number in range(sources):
                pbs.add(f"s{number}", host, "--set", f"endpoint={endpoint}")
            pbs.start()
            time.sleep(5)
            live = processes(str(pbs.home))
            before = {pid: cpu(pid) for pid in live}
            time.sleep(seconds)
            parts: dict[str, list[float]] = {}
            for pid, argv in live.items():
                part = parts.setdefault(kind_of(argv), [0, 0, 0, 0])
                part[0] += 1
                part[1] += memory(pid) / 1e6
                part[2] += len(os.listdir(f"/proc/{pid}/fd"))
                part[3] += (cpu(pid) - before[pid]) / seconds * 100
        finally:
            pbs.stop()
    for kind, (count, megabytes, descriptors, percent) in sorted(parts.items()):
        print(f"| {endpoint} | {kind} | {count:.0f} | {megabytes:.1f} | {descriptors:.0f} | {percent:.2f} |")


def main() -> None:
    """Both ways of keeping endpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    wanted = parser.parse_args()
    print(f"{wanted.sources} sources, idle for {wanted.seconds:.0f} s\n")
    print(
        "| endpoint | part | processes | memory MB (proportional) | descriptors | processor % of one core |"
    )
    print("|---|---|---|---|---|---|")
    for endpoint in ("always", "on-demand"):
        measure(endpoint, wanted.sources, wanted.seconds)


if __name__ == "__main__":
    main()

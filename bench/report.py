"""From samples to medians and ratios, as a document for machines and as a text for people."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from contenders import Contender, tool

RUNS = ("first", "unchanged")
TITLES = {"first": "first run", "unchanged": "nothing changed"}
OURS = "pull"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contender. `record`: seconds by the run's own record, where there is one."""

    wall: float
    cpu: float
    record: float | None = None

    @property
    def time(self) -> float:
        """What is compared: the record where there is one."""
        return self.wall if self.record is None else self.record


@dataclass(frozen=True, slots=True)
class Aim:
    """Our run's time shall be at most this many times the baseline's."""

    baseline: str
    run: str
    at_most: float


AIMS = (Aim("tunnel", "first", 1.15), Aim("rdiff-backup", "first", 0.6), Aim("borg", "first", 0.6),
        Aim("local", "unchanged", 1.2))  # fmt: skip
# Contender → run → one sample for each round.
Samples = dict[str, dict[str, list[Sample]]]


def middle(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def summary(samples: list[Sample]) -> dict[str, Any]:
    """What is shown of one contender's runs of one kind."""
    found: dict[str, Any] = {
        "wall": middle([each.wall for each in samples]),
        "cpu": middle([each.cpu for each in samples]),
    }
    records = [each.record for each in samples if each.record is not None]
    if records:
        found["record"] = middle(records)
    return found


def ratios(samples: Samples, run: str) -> dict[str, dict[str, float]]:
    """Ours to each baseline: the median of the rounds' ratios."""
    ours = samples[OURS][run]
    return {
        key: {
            "time": round(
                statistics.median(a.time / b.time for a, b in zip(ours, theirs[run], strict=True)), 3
            ),
            "wall": round(
                statistics.median(a.wall / b.wall for a, b in zip(ours, theirs[run], strict=True)), 3
            ),
            "cpu": round(
                statistics.median(a.cpu / max(b.cpu, 1e-3) for a, b in zip(ours, theirs[run], strict=True)), 3
            ),
        }
        for key, theirs in samples.items()
        if key != OURS
    }


def machine(folder: Path) -> dict[str, Any]:
    """Where it ran."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "file_system": _lines_of(["df", "--output=fstype", str(folder)])[-1],
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def versions(contenders: Sequence[type[Contender]]) -> dict[str, str]:
    """Every tool that took part."""
    asked = {
        "restic": [tool("restic"), "version"],
        "rest-server": [tool("rest-server"), "--version"],
        "OpenSSH": [tool("ssh"), "-V"],
    }
    asked |= {
        each.key: [tool(each.key), "--version"]
        for each in contenders
        if each.key in ("rdiff-backup", "borg", "rsync")
    }
    found = {name: _version(" ".join(_lines_of(command))) for name, command in asked.items()}
    for package in ("pbs", "asyncssh", "cryptography", "uvloop"):
        found[package] = _installed(package)
    return {"Python": platform.python_version(), **found}


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return getattr(sys.modules.get(package), "__version__", "not installed")


def _lines_of(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines() or ["?"]


def _version(said: str) -> str:
    found = re.search(r"\d+\.\d[\w.]*", said)
    return found[0] if found else "?"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def document(
    samples: Samples, contenders: Sequence[type[Contender]], facts: dict[str, Any]
) -> dict[str, Any]:
    """Everything, for machines."""
    share = {run: ratios(samples, run) for run in RUNS}
    aims = [
        {
            **asdict(aim),
            "ratio": share[aim.run][aim.baseline]["time"],
            "met": share[aim.run][aim.baseline]["time"] <= aim.at_most,
        }
        for aim in AIMS
        if aim.baseline in samples
    ]
    measured = [
        {
            "key": each.key,
            "label": each.label,
            **{
                run: {
                    **summary(samples[each.key][run]),
                    "rounds": [asdict(one) for one in samples[each.key][run]],
                }
                for run in RUNS
            },
        }
        for each in contenders
    ]
    return {**facts, "contenders": measured, "ratios": share, "aims": aims}


def text(found: dict[str, Any]) -> str:
    """The same, for people; tables in Markdown."""
    where, data = found["machine"], found["data"]
    size, share = data["bytes"] / 1e6, data["text_bytes"] / max(data["bytes"], 1)
    what = f"{data['files']} files, {size:.0f} MB ({share:.0%} text), largest {data['largest'] / 1e6:.1f} MB"
    host = f"{where['cores']} cores ({where['processor']}), {where['memory_bytes'] / 1e9:.1f} GB of memory"
    lines = [
        f"{what}; {found['rounds']} rounds; {found['date']}",
        f"{host}, {where['file_system']}, {where['system']}, Linux {where['kernel']}; load {where['load'][0]}",
        "; ".join(f"{name}: {version}" for name, version in found["versions"].items()),
        "source and server on this one machine; all data in the page cache before each contender",
        f"CPU: {found['cpu_counted']}",
        f"restored and compared: {found['verified']}",
    ]
    for run in RUNS:
        lines += [
            "",
            f"{TITLES[run]}: seconds, median (min–max)",
            "",
            "| | wall | CPU |",
            "| --- | --- | --- |",
        ]
        for each in found["contenders"]:
            values = each[run]
            if "record" in values:
                lines.append(
                    f"| **{each['label']}**, by its record | {_span(values['record'])} | {_span(values['cpu'])} |"
                )
                lines.append(f"| {each['label']}, the command | {_span(values['wall'])} | |")
            else:
                lines.append(f"| {each['label']} | {_span(values['wall'])} | {_span(values['cpu'])} |")
    return "\n".join([*lines, "", *_shares(found)])


def _shares(found: dict[str, Any]) -> list[str]:
    labels = {each["key"]: each["label"] for each in found["contenders"]}
    aims = {(aim["baseline"], aim["run"]): aim for aim in found["aims"]}
    lines = ["our pull ÷ baseline: median of the rounds' ratios (the command's wall time, CPU in brackets)", "",
             "| baseline | first run | nothing changed |", "| --- | --- | --- |"]  # fmt: skip
    for key in found["ratios"]["first"]:
        cells = []
        for run in RUNS:
            share, aim = found["ratios"][run][key], aims.get((key, run))
            words = f"; aim ≤ {aim['at_most']:g}: {'met' if aim['met'] else 'missed'}" if aim else ""
            cells.append(f"{share['time']:.2f} ({share['wall']:.2f}, CPU {share['cpu']:.2f}){words}")
        lines.append(f"| {labels[key]} | {cells[0]} | {cells[1]} |")
    return lines


def _span(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} ({values['min']:.2f}–{values['max']:.2f})"

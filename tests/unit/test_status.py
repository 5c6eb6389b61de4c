"""What `pbs status` shows of what it was told: one screen, the broken first, nothing of a source's text taken as it is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from pbs.cli.status import BROKEN, HEAD, _lines, _now_lines, _row

DISK = {"total": 10**12, "free": 10**11, "reserve": 10**10, "growth_per_day": 10**9, "days_to_full": 90}


def source(name: str, outcome: str | None) -> dict[str, Any]:
    """A source whose last run ended so."""
    last = {"outcome": outcome, "ended": "2026-01-02T03:04:05Z"} if outcome else None
    return {"name": name, "state": "idle", "last_run": last, "last_ok": None, "snapshots": 1, "repository_bytes": 5,
            "unread_since": "2026-01-01T00:00:00Z", "frozen": None,
            "schedule": "manual", "next": None, "held": None, "quota": None, "growth_per_day": None, "days_to_full": None}  # fmt: skip


def facts(*sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A service that runs."""
    return {"home": "/srv/pbs", "running": True, "stopping": False, "services": [], "runs": [], "sources": list(sources), "disk": DISK,
            "health": None, **more}  # fmt: skip


def test_a_thousand_sources_fit_a_screen() -> None:
    """The broken ones come first, the worst of them before all, and the rest is a count."""
    many = [source(f"s{number:04}", "ok") for number in range(1000)]
    many[500], many[900] = source("late", "partial"), source("worse", "refused")
    lines = _lines(facts(*many), 24)
    assert len(lines) <= 24 + 3
    names = [line.split()[0] for line in lines[3:]]
    assert ["worse", "late", "s0000"] == names[:3]
    assert lines[-1].startswith("… and ")
    assert "all in order" in lines[-1]
    assert 1000 + 3 == len(_lines(facts(*many), None))


def test_whether_all_is_well_stands_in_the_first_line() -> None:
    """The promises, those of the server too: all kept, or how many are not, and which verb names them."""

    def told(state: str, kept: int, warning: int, broken: int) -> str:
        health = {"state": state, "kept": kept, "warning": warning, "broken": broken}
        return _lines(facts(health=health), 24)[0]

    assert told("kept", 24, 0, 0).endswith("; all is well: all 24 promises are kept")
    bad = "; not all is well: 2 promises broken, 1 warning (`pbs health` says which)"
    assert told("broken", 24, 1, 2).endswith(bad)


def test_it_says_where_nothing_is_removed_and_how_long_nobody_read() -> None:
    """A frozen retention is told with its reason, five at most; a source that has nothing has nothing unread."""
    frozen = {"frozen": "1 damaged pack(s) wait for their repair"}
    lines = _lines(facts(*({**source(f"s{number}", "ok"), **frozen} for number in range(7))), None)
    assert "s0: no snapshot is removed: 1 damaged pack(s) wait for their repair" == lines[-6]
    assert lines[-1].startswith("… nor of 2 more sources")
    assert " d" in _row(source("web", "ok"))[HEAD.index("UNREAD")]
    assert "–" == _row({**source("web", "ok"), "snapshots": 0})[HEAD.index("UNREAD")]


def test_what_does_not_fit_is_told_to_be_broken() -> None:
    """More broken sources than a screen holds are counted."""
    lines = _lines(facts(*(source(f"s{number:04}", "failed") for number in range(100))), 10)
    assert lines[-1].endswith("of them not in order: `pbs status --all`")


def test_what_goes_on_is_shown_with_its_progress() -> None:
    """A run shows its stage, percent, rate and time left; names of files hold no control characters; who cancelled it stands there."""
    progress = {"percent": 45.2, "estimated": True, "files": 12, "bytes": 30_000_000, "rate": 4_000_000, "sent": 1000,
                "sent_rate": None, "seconds_left": 90, "current": ["/a\x1b[2J\nb"]}  # fmt: skip
    run = {"id": "r1", "stage": "backup", "progress": progress, "cancel": None, "cancelled_by": None}
    other = {
        "id": "r2",
        "stage": None,
        "progress": None,
        "cancel": "2026-01-02T03:04:05Z",
        "cancelled_by": "anna",
    }
    lines = _lines(facts(runs=[run, other]), 24)
    assert (
        "  r1: backing up · ~45 % · 12 files, 30.0 MB at 4.0 MB/s · sent 1.0 KB · ~1 min 30 s left · /a b"
        == lines[2]
    )
    assert "  r2: begins · cancelled by anna" == lines[3]
    plain = _now_lines(facts(source("x", BROKEN[0]), runs=[run]))
    assert "running; 1 runs go on, 1 of 1 sources not in order" in plain[0]


def test_a_service_that_stops_says_so() -> None:
    """Between the wish to stop and the end, nobody is left to wonder why nothing begins."""
    assert "being stopped" in _lines(facts(stopping=True), 24)[0]
    assert "not running" in _lines(facts(running=False), 24)[0]
    assert HEAD[0] in _lines(facts(source("x", None)), 24)[2]


def test_when_there_is_no_room_left_is_told_as_far_as_it_is_known() -> None:
    """The disk on a line of its own, a quota beside its source; what is not known is said to be so."""
    line = "disk of the repositories: 100.0 GB of 1.0 TB free, 10.0 GB of it kept free; full in about 90 d"
    assert line == _lines(facts(), None)[1]
    unknown = {**DISK, "growth_per_day": None, "days_to_full": None}
    assert _lines(facts(disk=unknown), None)[1].endswith("; how long that will do is not known yet")
    assert _lines(facts(disk={**unknown, "growth_per_day": -5, "reserve": 0}), None)[1].endswith(
        "free; not soon"
    )
    quotas = [{"quota": 9, "growth_per_day": 1, "days_to_full": 12}, {"quota": 9}, {}]
    lines = _lines(
        facts(*({**source(f"s{number}", "ok"), **each} for number, each in enumerate(quotas))), None
    )
    told = [line[lines[2].index("UNREAD") : lines[2].index("SCHEDULE")].split() for line in lines[3:]]
    assert [["12", "d"], ["?"], ["–"]] == [words[-2:] if "d" == words[-1] else words[-1:] for words in told]


def test_a_look_at_a_served_home_loads_neither_database_nor_templates() -> None:
    """What the service tells is asked of it, so a status costs what asking costs."""
    code = "import sys, pbs.cli.status, pbs.cli.client, pbs.endpoint, pbs.stopping, pbs.journal, pbs.telling; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "pbs.stopping" in loaded
    assert {"sqlalchemy", "jinja2", "rich", "aiohttp"}.isdisjoint(loaded)

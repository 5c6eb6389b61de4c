"""Figures for Prometheus: well-formed, bounded labels, the same after every restart; the board and the rules know no other name."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pbs.ledger import Ledger, Tally, Vitals, open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.ledger.vitals import Arrival
from pbs.metrics.counting import Counting
from pbs.metrics.document import SLICE, Document
from pbs.metrics.families import Measured, render
from pbs.model import Address, Cause, Ending, Kind, Outcome, Run, RunState, Source
from pbs.process import find_tool
from pbs.promises import Health, Promise, State

TEMPLATES = Path(__file__).parents[2] / "templates"
NOW = datetime(2026, 5, 8, 12, tzinfo=UTC)
RUN = Run("r", "web", Kind.PULL, Cause.DUE, RunState.ENDED, NOW, outcome=Outcome.OK, started=NOW - timedelta(minutes=2),
          ended=NOW, files=7, bytes=9, added_bytes=3, warnings=1)  # fmt: skip
VITALS = Vitals(
    "web", NOW, NOW, 1234, {(Kind.PULL, Outcome.OK): RUN}, None, 5, Arrival(NOW, None, "r", Outcome.OK)
)
MEASURED = Measured(
    version="1.2.3",
    now=NOW,
    health=Health(NOW, (Promise("disk", None, State.WARNING, NOW, "?"), Promise("fresh", "web", State.BROKEN, NOW, "?"))),
    vitals=[VITALS, Vitals("new", NOW)],
    sources={"web": Source("web", Address("h", 22, "u", "k", "s"), quota=5000)},
    coming={"web": NOW + timedelta(hours=1)},
    tallies=[Tally("web", "pull", "ok", 4, 100, 60), Tally("web", "pull", "failed", 2, 1, 0), Tally("gone", "pull", "ok", 9, 9, 9)],
    queue=[replace(RUN, state=RunState.QUEUED, queued=NOW - timedelta(hours=2), not_before=NOW - timedelta(hours=1))],
    disk=(1000, 250),
    copied=NOW,
    took=0.25,
)  # fmt: skip


def figures(document: bytes) -> dict[tuple[str, ...], float]:
    """Every sample by its name and labels, in the order of their names; the document must be well-formed OpenMetrics."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(document.decode())
        for sample in family.samples
    }


def test_figures_are_what_was_measured() -> None:
    """Sources, promises, queue and counts are told as they are; what is not known has no figure, and who is gone no label."""
    told = figures(render(MEASURED, Document()))
    assert told["pbs_promise_state", "disk", ""] == 1
    assert told["pbs_promise_state", "fresh", "web"] == 2
    assert told["pbs_promises", "broken"] == 1
    assert told["pbs_runs_total", "pull", "ok", "web"] == 4
    assert told["pbs_tunnel_received_bytes_total", "web"] == 101
    assert told["pbs_run_duration_seconds", "pull", "web"] == 120
    assert told["pbs_queue_lateness_seconds",] == 3600
    assert told["pbs_source_next_timestamp_seconds", "web"] == NOW.timestamp() + 3600
    assert told["pbs_repository_quota_bytes", "web"] == 5000
    assert told["pbs_info", "1.2.3"] == 1
    assert ("pbs_source_backup_timestamp_seconds", "new") not in told
    assert not any("gone" in each for each in told)


def test_what_did_not_change_is_not_made_again_and_what_did_is() -> None:
    """Documents that are made one after the other are those that would be made alone, whatever changed between them."""
    many = [replace(VITALS, name=f"s{number:04}", bytes=number) for number in range(3 * SLICE + 1)]
    first = replace(MEASURED, vitals=many)
    grown = replace(many[SLICE], bytes=77, snapshots=9)
    looks = [first, first, replace(first, vitals=[*many[:SLICE], grown, *many[SLICE + 1 :]]),
             replace(first, vitals=many[1:]), replace(first, vitals=[]), first]  # fmt: skip
    document = Document()
    for look in looks:
        assert render(look, Document()) == render(look, document)
    assert figures(render(looks[2], document))["pbs_repository_bytes", grown.name] == 77


def names_used(text: str) -> set[str]:
    """The names of ours in a file."""
    return set(re.findall(r"\bpbs_[a-z_]+\b", text))


def test_board_and_rules_know_no_other_name() -> None:
    """Every name in the board and the rules is told, with the labels that they look at; both load as they are."""
    told = {each[0] for each in figures(render(MEASURED, Document()))}
    rules = (TEMPLATES / "prometheus-alerts.yml").read_text()
    board = (TEMPLATES / "grafana-board.json").read_text()
    assert len(names_used(board)) > 12
    assert names_used(rules) <= told
    assert names_used(board) <= told
    labels = {"source", "promise", "kind", "outcome", "state"}
    assert set(re.findall(r"[{,](\w+)[!=]", rules + board)) <= labels
    for rule in yaml.safe_load(rules)["groups"][0]["rules"]:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"].keys() == {"summary", "description"}
    panels = json.loads(board)["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    assert all(target["expr"] for each in panels for target in each["targets"])


# Prometheus' own program


def promtool(*words: object) -> str:
    """What it says; it must be content."""
    program = find_tool("promtool")
    assert program, "./bootstrap install --tests brings it"
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_every_figure(tmp_path: Path) -> None:
    """Prometheus' own reader of OpenMetrics takes the document, and finds as many series in it as there are."""
    document = render(MEASURED, Document()).decode()
    dated = re.sub(r"^([^#].*)$", rf"\1 {NOW.timestamp():.0f}", document, flags=re.MULTILINE)
    (tmp_path / "figures").write_text(dated)
    told = promtool("tsdb", "create-blocks-from", "openmetrics", tmp_path / "figures", tmp_path / "out")
    assert str(len(figures(document.encode()))) in told.splitlines()[-1].split()


def test_prometheus_takes_rules_and_board(tmp_path: Path) -> None:
    """It loads the rules as they are, and knows what each panel of the board asks."""
    promtool("check", "rules", TEMPLATES / "prometheus-alerts.yml")
    board = json.loads((TEMPLATES / "grafana-board.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$\w+", "5m", expression)}
        for number, expression in enumerate(asked)
    ]
    (tmp_path / "board.yml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", tmp_path / "board.yml")


def test_prometheus_takes_the_configuration_of_the_docs(tmp_path: Path) -> None:
    """What the page of operations says that Prometheus is told, Prometheus understands."""
    page = (TEMPLATES.parent / "docs/operations.md").read_text()
    (told,) = [each for each in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "scrape_configs" in each]
    (tmp_path / "prometheus.yml").write_text(told)
    promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")


def test_rules_wake_somebody(tmp_path: Path) -> None:
    """Played by Prometheus: a broken promise wakes after ten minutes and not before, a silent server too; a kept one nobody."""
    looked = NOW.timestamp()
    series = {
        'pbs_promise_state{source="web",promise="fresh"}': "0x5 2x30",
        'pbs_promise_state{source="",promise="disk"}': "0x40",
        "pbs_look_timestamp_seconds": f"{looked:.0f}x5 _x30",
    }
    severe = {"severity": "critical"}
    wanted = [
        ("10m", "BackupPromiseBroken", []),
        ("17m", "BackupPromiseBroken", [severe | {"source": "web", "promise": "fresh"}]),
        ("17m", "BackupServerPromiseBroken", []),
        ("10m", "BackupServerSilent", []),
        ("25m", "BackupServerSilent", [severe]),
    ]
    rules = yaml.safe_load((TEMPLATES / "prometheus-alerts.yml").read_text())["groups"][0]["rules"]
    said = {each["alert"]: each["annotations"] for each in rules}

    def filled(name: str, labels: dict[str, str]) -> dict[str, str]:
        return {
            key: re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)
            for key, text in said[name].items()
        }

    play = {
        "rule_files": [str(TEMPLATES / "prometheus-alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": at,
                        "alertname": name,
                        "exp_alerts": [
                            {"exp_labels": each, "exp_annotations": filled(name, each)} for each in alerts
                        ],
                    }
                    for at, name, alerts in wanted
                ],
            }
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    promtool("test", "rules", tmp_path / "play.yml")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    upgrade(tmp_path / "ledger", tmp_path / "lock")
    made = open_ledger(tmp_path / "ledger")
    yield made
    made.close()


def test_counts_outlive_a_restart_and_never_shrink(ledger: Ledger) -> None:
    """Whatever waits meanwhile, a count that began long ago and one that begins now tell the same."""
    ledger.add_source("web", NOW)
    old = Counting(ledger.vitals)
    before = 0
    for number in range(6):
        ledger.queue.request(f"s{number % 2}", Kind.CHECK, Cause.DUE, NOW)
        run = ledger.queue.claim(ledger.queue.request("web", Kind.PULL, Cause.DUE, NOW), "l", NOW, at_most=99)
        assert run is not None
        ledger.queue.end(run, "l", Ending(Outcome.OK, "it ended", tunnel_bytes=number), NOW)
        if number == 3:
            for waiting in ledger.queue.waiting():
                ledger.cancelling.ask(waiting.id, "me", NOW)
        told, fresh = counted(old), counted(Counting(ledger.vitals))
        assert told == fresh
        assert told["web", "pull", "ok"] == number + 1
        assert sum(told.values()) > before
        before = sum(told.values())


def counted(counting: Counting) -> dict[Any, int]:
    """The counts by source, kind and outcome."""
    return {(each.source, each.kind, each.outcome): each.runs for each in counting.now()}

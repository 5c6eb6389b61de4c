"""From what was measured to the tables that Prometheus reads. Pure; every name stands here and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from pbs.ledger import Tally, Vitals
from pbs.metrics.document import Document, Table
from pbs.model import Kind, Outcome, Run, RunState, Source
from pbs.promises import Health, State

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
STATES = {State.KEPT: 0, State.WARNING: 1, State.BROKEN: 2}


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that is told, as of one look.

    Attributes:
        version: Of this program.
        now: When.
        health: The promises.
        vitals: What the ledger knows of each source.
        sources: As they are configured.
        coming: When each is pulled next by its schedule.
        tallies: How many runs there ever were.
        queue: The runs that go on or wait.
        disk: Bytes of the disk of the backups, and those that are free.
        copied: When the server itself was last copied.
        took: How long the look at the promises took, in seconds.
    """

    version: str
    now: datetime
    health: Health
    vitals: Sequence[Vitals]
    sources: Mapping[str, Source]
    coming: Mapping[str, datetime]
    tallies: Sequence[Tally]
    queue: Sequence[Run]
    disk: tuple[int, int] | None
    copied: datetime | None
    took: float


Rows = Iterable[tuple[tuple[str, ...], float | None]]


def render(measured: Measured, document: Document) -> bytes:
    """The next of such documents."""
    about = InfoMetricFamily("pbs", "The program.", value={"version": measured.version})
    return document.of(about, families(measured))


def families(measured: Measured) -> Iterator[Table]:
    """Every family, in the order in which people read them."""
    yield from _of_the_server(measured)
    yield from _of_promises(measured.health)
    yield from _of_sources(measured)
    yield from _of_runs(measured)


def _gauge(name: str, about: str, labels: tuple[str, ...], rows: Rows) -> Table:
    """A figure that goes up and down; what is not known has no row."""
    known = tuple((values, figure) for values, figure in rows if figure is not None)
    return Table(GaugeMetricFamily, name, about, labels, known)


def _count(name: str, about: str, labels: tuple[str, ...], rows: Rows) -> Table:
    """A figure that only grows."""
    known = tuple((values, figure or 0) for values, figure in rows)
    return Table(CounterMetricFamily, name, about, labels, known)


def _time(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None


def _of_the_server(measured: Measured) -> Iterator[Table]:
    single: list[tuple[str, str, float | None]] = [
        ("pbs_sources", "Configured sources.", len(measured.sources)),
        (
            "pbs_look_timestamp_seconds",
            "When somebody last looked at the promises.",
            _time(measured.health.looked),
        ),
        ("pbs_look_duration_seconds", "How long that took.", measured.took),
        (
            "pbs_server_copy_timestamp_seconds",
            "When the server itself was last copied.",
            _time(measured.copied),
        ),
    ]
    if measured.disk is not None:
        size, free = measured.disk
        single += [
            ("pbs_disk_size_bytes", "The disk of the backups.", size),
            ("pbs_disk_free_bytes", "What is free there for backups.", free),
        ]
    for name, about, figure in single:
        yield _gauge(name, about, (), [((), figure)])
    states = Counter(run.state for run in measured.queue)
    yield _gauge(
        "pbs_queue_runs", "Runs that go on, or wait for their turn or their time.", ("state",),
        [((state.value,), states[state]) for state in (RunState.RUNNING, RunState.QUEUED)],
    )  # fmt: skip
    late = [_lateness(run, measured.now) for run in measured.queue if run.state is RunState.QUEUED]
    yield _gauge(
        "pbs_queue_lateness_seconds", "By how much the run is late that has waited for the longest time.", (),
        [((), max([*late, 0.0]))],
    )  # fmt: skip


def _lateness(run: Run, now: datetime) -> float:
    return (now - max(run.queued, run.not_before or run.queued)).total_seconds()


def _of_promises(health: Health) -> Iterator[Table]:
    count = Counter(each.state for each in health.promises)
    yield _gauge(
        "pbs_promises", "How many promises stand so.", ("state",),
        [((state.value,), count[state]) for state in State],
    )  # fmt: skip
    yield _gauge(
        "pbs_promise_state",
        "How a promise stands: 0 kept, 1 a warning, 2 broken. Those of the server have no source.",
        ("source", "promise"),
        [((each.source or "", each.name), STATES[each.state]) for each in health.promises],
    )


def _of_sources(measured: Measured) -> Iterator[Table]:
    vitals, label = measured.vitals, ("source",)
    good = {each.name: each.newest(Kind.PULL, Outcome.OK, Outcome.PARTIAL) for each in vitals}
    backups = [(name, run) for name, run in good.items() if run is not None]
    tables: list[tuple[str, str, Rows]] = [
        ("pbs_source_backup_timestamp_seconds", "When the newest backup arrived.",
         [((each.name,), _time(each.arrived.received if each.arrived else None)) for each in vitals]),
        ("pbs_source_next_timestamp_seconds", "When the schedule wants the next pull.",
         [((name,), _time(moment)) for name, moment in measured.coming.items()]),
        ("pbs_source_files", "Files in the newest backup.", [((name,), run.files) for name, run in backups]),
        ("pbs_source_bytes", "Bytes in the newest backup.", [((name,), run.bytes) for name, run in backups]),
        ("pbs_source_added_bytes", "Bytes that were new in it.", [((name,), run.added_bytes) for name, run in backups]),
        ("pbs_source_warnings", "Files that it could not read, and remarks.",
         [((name,), run.warnings) for name, run in backups]),
        ("pbs_source_snapshots", "Snapshots that can be restored.", [((each.name,), each.snapshots) for each in vitals]),
        ("pbs_repository_bytes", "The repository on the disk.", [((each.name,), each.bytes) for each in vitals]),
        ("pbs_repository_quota_bytes", "How large it may grow.",
         [((name,), source.quota) for name, source in measured.sources.items()]),
        ("pbs_repository_unread_timestamp_seconds", "Since when some part of it was not read again.",
         [((each.name,), _time(each.read or each.made)) for each in vitals]),
        ("pbs_repository_damaged_packs", "Damaged packs that are not mended.",
         [((each.name,), sum(each.damaged.values())) for each in vitals]),
        ("pbs_quarantine_things", "What arrived and was set aside, and nobody discarded.",
         [((each.name,), sum(each.aside.values())) for each in vitals]),
    ]  # fmt: skip
    for name, about, rows in tables:
        yield _gauge(name, about, label, rows)


def _of_runs(measured: Measured) -> Iterator[Table]:
    newest = [
        (each.name, kind, run)
        for each in measured.vitals
        for kind in (Kind.PULL, Kind.RETAIN, Kind.CHECK, Kind.MIGRATE)
        if (run := each.newest(kind)) is not None
    ]
    labels = ("source", "kind")
    yield _gauge(
        "pbs_run_ended_timestamp_seconds", "When the newest run of a kind ended.", labels,
        [((name, kind.value), _time(run.ended)) for name, kind, run in newest],
    )  # fmt: skip
    yield _gauge(
        "pbs_run_duration_seconds", "How long it took.", labels,
        [((name, kind.value), run.seconds) for name, kind, run in newest],
    )  # fmt: skip
    yield _gauge(
        "pbs_run_ok", "Whether it ended ok: 1, or 0.", labels,
        [((name, kind.value), run.outcome is Outcome.OK) for name, kind, run in newest],
    )  # fmt: skip
    names = {each.name for each in measured.vitals}
    told = [each for each in measured.tallies if each.source in names]
    yield _count(
        "pbs_runs", "Runs that ended, by kind and outcome, since there is a ledger.", ("source", "kind", "outcome"),
        [((each.source, each.kind, each.outcome), each.runs) for each in told],
    )  # fmt: skip
    brought: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    for each in told:
        brought[each.source] += each.tunnel_bytes
        stored[each.source] += each.stored_bytes
    yield _count(
        "pbs_tunnel_received_bytes",
        "Bytes that runs received.",
        ("source",),
        [((k,), v) for k, v in brought.items()],
    )
    yield _count(
        "pbs_stored_bytes", "Bytes that runs stored.", ("source",), [((k,), v) for k, v in stored.items()]
    )

"""Tables of figures as one document. The text of rows that stood in the last document too is taken from there.

A fleet of a thousand has tens of thousands of rows, and few of them change between two looks. What a row looks like,
prometheus-client alone decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

Family = GaugeMetricFamily | CounterMetricFamily | InfoMetricFamily
Row = tuple[tuple[str, ...], float]
# So many rows are made anew where one of them changed.
SLICE = 40
_END = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Table:
    """One family: what kind it is, its name, what it is about, the names of its labels, and its rows."""

    kind: type[GaugeMetricFamily | CounterMetricFamily]
    name: str
    about: str
    labels: tuple[str, ...]
    rows: tuple[Row, ...]

    def family(self, rows: Iterable[Row]) -> Family:
        """As prometheus-client has it, with these rows alone."""
        made = self.kind(self.name, self.about, labels=self.labels)
        for values, figure in rows:
            made.add_metric(values, figure)
        return made


class Document:
    """Makes documents one after the other, each from whole tables. One at a time."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, tuple[Row, ...]], bytes] = {}

    def of(self, about: InfoMetricFamily, tables: Iterable[Table]) -> bytes:
        """The document of these."""
        texts: dict[tuple[str, tuple[Row, ...]], bytes] = {}
        parts = [_text(about)]
        for table in tables:
            # A family without rows is its head: what it is about.
            head = texts[table.name, ()] = self._texts.get((table.name, ())) or _text(table.family(()))
            parts.append(head)
            for rows in _slices(table.rows):
                key = table.name, rows
                texts[key] = self._texts.get(key) or _text(table.family(rows)).removeprefix(head)
                parts.append(texts[key])
        self._texts = texts
        return b"".join([*parts, _END])


def _slices(rows: tuple[Row, ...]) -> Iterator[tuple[Row, ...]]:
    for start in range(0, len(rows), SLICE):
        yield rows[start : start + SLICE]


class _One(Collector):
    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Family]:
        return [self._family]


def _text(family: Family) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_One(family))
    document: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return document.removesuffix(_END)

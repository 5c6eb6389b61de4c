"""What a pull does in every case that real programs rarely show: played with small tools of the same shape."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pbs.clock import SystemClock
from pbs.errors import AdmissionRefused, AgentRefused, EndpointError, ResticError, Unreachable
from pbs.model import (
    Address,
    Cause,
    Ending,
    Keeping,
    Kind,
    Outcome,
    Receipt,
    ReceiptState,
    RootMeta,
    Run,
    RunState,
    Snapshot,
    Source,
)
from pbs.runs.halt import cancelled
from pbs.runs.lifecycle import conduct, imports_first
from pbs.runs.ports import Verdict
from pbs.runs.pull import backup_request, root_meta, socket_path
from pbs.runs.report import MOST_CHARACTERS_KEPT, MOST_WARNINGS_LOGGED, Report
from pbs.runs.stages import Stages
from pbs.runs.work import Work
from pbs.space import Space
from pbs.text import size

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MEGABYTE = 1 << 20
ID = "a" * 64
OTHER = "b" * 64
RUN = Run("20260102T030405Z-web-pull-00000000", "web", Kind.PULL, Cause.ASKED, RunState.RUNNING, NOW)
GOOD = Snapshot(ID, NOW, "web", ("/srv",), ("source=web", f"run={RUN.id}"), files=3, bytes=30, added_bytes=10)
HELLO = {"event": "hello", "protocol": 1, "agent": "1", "restic": "0.19.1", "socket_folder": "/run/a"}
FINE = {"event": "end", "outcome": "ok", "exit": 0, "snapshot": ID, "unreadable": 0, "message": "done"}


@dataclass
class Tools:
    """Every tool of a run at once, in memory, with what happened written down in order."""

    found: dict[str, Snapshot] = field(default_factory=dict)
    receipt_list: list[Receipt] = field(default_factory=list)
    before: Verdict = field(default_factory=Verdict)
    incidents: tuple[str, ...] = ()
    reread: str | None = None
    steps: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    hello: dict[str, Any] = field(default_factory=lambda: dict(HELLO))
    says: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=lambda: dict(FINE))
    arrives: dict[str, Snapshot] = field(default_factory=lambda: {ID: GOOD})
    fails: dict[str, BaseException] = field(default_factory=dict)
    legacy_there: bool = False
    unanswered_seconds: float = 0.0
    denials: list[Any] = field(default_factory=list)
    cut: str | None = None
    disk: Space = field(default_factory=lambda: Space(1 << 42, 1 << 40))
    packed: int = 0
    indexed: int = 0
    prunes: list[int] = field(default_factory=list)
    shrinks: tuple[int, ...] = ()
    unwritten: int = 0
    spare: int = 0
    hold: SimpleNamespace | None = None
    last_import: Run | None = None
    request: dict[str, Any] = field(default_factory=dict)
    in_use: bool = False
    written: dict[str, SimpleNamespace] = field(default_factory=dict)
    leaving: dict[str, str] = field(default_factory=dict)
    key = "k"
    socket = Path("/run/endpoint.sock")

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fails:
            raise self.fails[name]

    def write(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def usable(self, name: str) -> list[Receipt]:
        return [
            each for each in self.receipt_list if each.state in (ReceiptState.ADMITTED, ReceiptState.LEGACY)
        ]

    def note(
        self, now: datetime, name: str, detail: dict[str, object], *, about: str, by: str | None = None
    ) -> None:
        self.written[name] = SimpleNamespace(run=by, detail=detail)

    @property
    def custody(self) -> Any:
        return self

    def last(self, *names: str, about: str) -> Any:
        return self.written.get(names[0])

    def held(self, name: str) -> Any:
        return self.hold

    def damaged(self, source: str) -> tuple[int, frozenset[str]]:
        return 0, frozenset()

    def intend(self, name: str, snapshots: Collection[str], run: str) -> None:
        self._step("intend")
        self.leaving |= dict.fromkeys(snapshots, run)

    def settle(self, name: str, present: Collection[str], now: datetime) -> list[str]:
        gone = [each for each in self.leaving if each not in present]
        self.leaving = {}
        self.receipt_list = [
            replace(each, state=ReceiptState.FORGOTTEN) if each.id in gone else each
            for each in self.receipt_list
        ]
        return gone

    async def forget(self, snapshots: Sequence[str]) -> None:
        self._step("forget")
        for each in snapshots:
            del self.found[each]

    @contextmanager
    def alone(self) -> Iterator[bool]:
        self._step("alone")
        yield not self.in_use

    def newest(self, name: str) -> Receipt | None:
        return next(iter(self.usable(name)[::-1]), None)

    def receipts(self, name: str, *states: ReceiptState) -> list[Receipt]:
        return [each for each in self.receipt_list if not states or each.state in states]

    def inventory(self) -> Any:
        return SimpleNamespace(snapshots=frozenset(self.found))

    def clear_locks(self) -> int:
        self._step("locks")
        return 0

    async def verify(self) -> None:
        self._step("verify")

    def clear(self) -> None:
        self._step("locks")

    async def ready(self) -> Verdict:
        self._step("ready")
        return self.before

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        self._step("watching")
        yield

    async def close(
        self, promised: str | None, outcome: Outcome, root: RootMeta | None, imported: datetime | None = None
    ) -> Verdict:
        self.clear()
        self._step("receipt")
        verdict = Verdict(incidents=list(self.incidents))
        if promised in self.found:
            state = ReceiptState.LEGACY if imported else ReceiptState.ADMITTED
            time = imported or datetime.now(UTC)
            verdict.snapshot = self.found[promised]
            self.receipt_list.append(
                Receipt(promised, "web", RUN.id, NOW, time, NOW, state, outcome, root=root)
            )
        elif promised is not None:
            verdict.refusal = AdmissionRefused("it did not arrive", "look at that machine")
        return verdict

    def newest_run(self, name: str, *outcomes: Outcome, kind: Kind | None = None) -> Run | None:
        return self.last_import

    def password(self) -> str | None:
        return "secret"

    def space(self) -> Space:
        return self.disk

    def space_for_restores(self) -> Space:
        return self.disk

    async def bring_back(
        self, receipt: Receipt, path: bytes, name: str, spare: int, progress: Callable[[Any], None]
    ) -> tuple[Path, Any]:
        self._step("restore")
        self.spare = spare
        for free in (*self.shrinks, self.disk.free):
            self.disk = replace(self.disk, free=free)
            progress(SimpleNamespace(files=1, bytes=1, total_files=2, total_bytes=2))
        return Path("/restored", name), SimpleNamespace(
            files=2, bytes=2, specials=1, failed=self.unwritten, warnings=("x",)
        )

    def packed_bytes(self) -> int:
        return self.packed

    def index_bytes(self) -> int:
        return self.indexed

    @contextmanager
    def changing(self, run: str, damaged: frozenset[str] = frozenset()) -> Iterator[None]:
        yield

    async def prune(self, unused: int, most: int) -> None:
        self._step("prune")
        self.prunes.append(most)

    async def check(self) -> None:
        self._step("check")

    async def open(self) -> None:
        self._step("open")

    async def shut(self) -> None:
        self._step("shut")

    def damages(self, name: str) -> list[Any]:
        return []

    def made(self, name: str) -> datetime | None:
        return NOW

    def half_gone(self) -> bool:
        return False

    def present(self) -> bool:
        return self.legacy_there

    def root(self) -> RootMeta | None:
        return RootMeta(0o755, 1, 2, 3)

    async def import_newest(
        self, run: Run, report: Callable[[dict[str, Any]], None], look: Callable[[], None]
    ) -> tuple[str, datetime]:
        look()
        self.found[OTHER] = replace(GOOD, id=OTHER)
        return OTHER, NOW - timedelta(days=30)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        self._step("connect")
        yield self

    async def say(self, word: str) -> Any:
        self._step(word)
        return _Talk(self, word)

    @asynccontextmanager
    async def lend(
        self, listen: str, target: Path, read_budget: int | None, writable: Callable[[int], str | None]
    ) -> AsyncIterator[Any]:
        self._step("lend")
        self.writable = writable
        yield SimpleNamespace(
            received=77, sent=5, unanswered_seconds=self.unanswered_seconds,
            denials=self.denials, denied=len(self.denials), cut=self.cut,
        )  # fmt: skip


class _Talk:
    def __init__(self, tools: Tools, word: str) -> None:
        self._tools, self._word = tools, word
        self.hello = tools.hello
        self.end: dict[str, Any] | None = None

    async def __aenter__(self) -> _Talk:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def ask(self, request: dict[str, Any]) -> None:
        self._tools.request = request

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        if self._word == "backup":
            for event in self._tools.says:
                yield event
            self._tools.found |= self._tools.arrives
            self.end = self._tools.end
        else:
            self.end = {"event": "end", "outcome": "ok", "exit": 0}


def work(tools: Tools, run: Run = RUN, **source: Any) -> Work:
    """A run's work with these tools."""
    address = Address("h", 22, "u", "k", "f")
    return Work(
        run=run, source=Source("web", address, **source), clock=SystemClock(), journal=tools, report=Report(tools, None, SystemClock()),
        stages=Stages(tools, source.get("timeout", 100.0)),
        records=tools, repository=tools, desk=tools, endpoint=tools, legacy=tools, connect=tools.connect,
        alone=tools.alone,
    )  # fmt: skip


def played(tools: Tools, **source: Any) -> Ending:
    """How a pull with these tools ends."""
    return asyncio.run(conduct(work(tools, **source)))


def test_a_pull_ends_ok_with_one_receipt() -> None:
    """Exactly the named snapshot gets a receipt, after the door was shut."""
    tools = Tools()
    ending = played(tools)
    assert (ending.outcome, ending.snapshot, ending.tunnel_bytes) == (Outcome.OK, ID, 77)
    assert [each.id for each in tools.receipt_list] == [ID]
    assert tools.steps.index("shut") < tools.steps.index("receipt")


@pytest.mark.parametrize("step", ["verify", "open", "connect", "backup", "lend", "receipt", "locks"])
@pytest.mark.parametrize(
    "error", [Unreachable("gone", "wait"), RuntimeError("bug"), asyncio.CancelledError()], ids=repr
)
def test_whatever_fails_the_run_has_an_outcome_and_the_door_is_shut(step: str, error: BaseException) -> None:
    """No failure at any step leaves a run without outcome, or an endpoint open that was opened."""
    tools = Tools(fails={step: error})
    ending = played(tools)
    assert ending.outcome in (Outcome.FAILED, Outcome.INTERRUPTED)
    assert ("open" in tools.steps and step not in ("verify", "open")) <= ("shut" in tools.steps)
    assert tools.events[-1]["event"] == "ended"


def test_what_no_honest_source_sends_makes_a_run_refused() -> None:
    """Invariant 9: the sound snapshot is admitted, and the run says what came beside it and what to do."""
    tools = Tools(incidents=("1 repository key(s) that nobody asked for",))
    ending = played(tools)
    assert (ending.outcome, ending.snapshot) == (Outcome.REFUSED, ID)
    assert "key(s)" in ending.message
    assert "was admitted" in ending.message
    assert ending.hint
    assert [each.id for each in tools.usable("web")] == [ID]
    failed = played(
        replace(tools, end=dict(FINE, outcome="failed", exit=1, snapshot=None, message="broken pipe"))
    )
    assert (failed.outcome, failed.snapshot) == (Outcome.REFUSED, None)
    assert "broken pipe" in failed.message


def test_what_an_earlier_run_left_is_told_and_no_fault_of_this_one() -> None:
    """A run that finds something set aside from before it says so, and is judged by its own arrivals alone."""
    tools = Tools(before=Verdict(incidents=["2 pack(s) that do not hold what they say"], remarks=["more"]))
    ending = played(tools)
    assert ending.outcome is Outcome.OK
    assert "an earlier run left 2 pack(s)" in ending.message
    assert "more" in ending.message


def test_every_file_is_read_again_when_admission_says_so() -> None:
    """T4: the request then says `force`, and the log why."""
    assert backup_request(work(Tools(reread="after X")), "/x")["force"] is True
    assert backup_request(work(Tools()), "/x")["force"] is False
    tools = Tools(reread="every 100 runs")
    played(tools)
    assert {"every 100 runs"} == {each["reread"] for each in tools.events if each.get("stage") == "backup"}


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (dict(FINE, snapshot=OTHER), Outcome.REFUSED),
        (dict(FINE, snapshot=None), Outcome.REFUSED),
        (dict(FINE, snapshot="latest"), Outcome.REFUSED),
        (dict(FINE, outcome="partial", exit=3, unreadable=2), Outcome.PARTIAL),
        (dict(FINE, unreadable=2), Outcome.PARTIAL),
        (dict(FINE, outcome="failed", exit=1, snapshot=None), Outcome.FAILED),
        (dict(FINE, outcome="refused", exit=77, snapshot=None), Outcome.REFUSED),
        (dict(FINE, outcome="failed", exit=75, snapshot=None), Outcome.FAILED),
        ({"event": "end"}, Outcome.FAILED),
        (dict(FINE, outcome=["ok"], exit="0"), Outcome.FAILED),
    ],
)
def test_the_end_decides_only_together_with_what_arrived(end: dict[str, Any], outcome: Outcome) -> None:
    """Success is a snapshot that arrived, never the agent's word alone."""
    assert outcome is played(Tools(end=end)).outcome


def test_a_summary_holds_restics_counts_and_no_names_of_the_source() -> None:
    """A field that would stand for a line's time, or that the log cannot take, never reaches the log."""
    summary = {"event": "summary", "time": 5, "self": 1, "data_added": 7}
    tools = Tools(says=[summary])
    assert played(tools).outcome is Outcome.OK
    (written,) = (event for event in tools.events if event["event"] == "summary")
    assert written["data_added"] == 7
    assert not {"time", "self"} & written.keys()


def test_the_output_of_a_run_is_bounded() -> None:
    """Long names in many warnings leave a text of bounded length that says how many are left out."""
    tools = Tools(
        says=[
            {"event": "warning", "path": f"/{number}" + "x" * 4000, "reason": "no"} for number in range(300)
        ]
    )
    output = played(tools).output or ""
    assert len(output) < 2 * MOST_CHARACTERS_KEPT
    assert "more that could not be read" in output


def test_the_parent_is_ours_and_an_import_is_compared_by_size_and_time() -> None:
    """The request names the newest receipt; after an import inode and ctime are ignored."""
    legacy = Receipt(OTHER, "web", "r", NOW, NOW, NOW, ReceiptState.LEGACY, Outcome.OK, bytes=5)
    request = backup_request(work(Tools(receipt_list=[legacy])), "/run/a/x.sock")
    assert (request["parent"], request["ignore"], request["scan"]) == (OTHER, ["inode", "ctime"], False)
    assert tuple(backup_request(work(Tools()), "/x")[each] for each in ("parent", "ignore", "scan")) == (
        None,
        [],
        True,
    )


def test_an_import_comes_first_and_only_once() -> None:
    """A legacy tree is imported before the first pull, dated by its increment, and never again."""
    tools = Tools(legacy_there=True)
    assert imports_first(work(tools))
    assert not imports_first(work(tools, migrate="off"))
    run = replace(RUN, kind=Kind.MIGRATE)
    assert asyncio.run(conduct(work(tools, run))).outcome is Outcome.OK
    assert [(NOW - timedelta(days=30), ReceiptState.LEGACY)] == [
        (each.time, each.state) for each in tools.receipt_list
    ]
    assert not imports_first(work(tools))
    assert "nothing to import" in asyncio.run(conduct(work(tools, run))).message


@pytest.mark.parametrize(
    ("outcome", "again"),
    [(Outcome.FAILED, True), (Outcome.INTERRUPTED, True), (Outcome.OK, False), (None, False)],
)
def test_an_import_that_did_not_come_to_its_end_is_tried_again(outcome: Outcome | None, again: bool) -> None:
    """The pull goes on when the import before it fails; the next pull tries the import again, and only then."""
    live = Receipt(ID, "web", "r", NOW, NOW, NOW, ReceiptState.ADMITTED, Outcome.OK, bytes=5)
    before = replace(RUN, kind=Kind.MIGRATE, state=RunState.ENDED, outcome=outcome) if outcome else None
    tools = Tools(legacy_there=True, receipt_list=[live], last_import=before)
    assert again is imports_first(work(tools))
    asyncio.run(conduct(work(tools, replace(RUN, kind=Kind.MIGRATE))))
    assert again is any(each.state is ReceiptState.LEGACY for each in tools.receipt_list)
    assert not (again and imports_first(work(tools)))


def test_what_goes_wrong_with_the_door_hides_no_cause() -> None:
    """A run whose transfer failed says so, although the endpoint could not be shut either."""
    tools = Tools(fails={"connect": Unreachable("nobody answers", "wait"), "shut": EndpointError("stuck")})
    ending = played(tools)
    assert "nobody answers" in ending.message
    assert "locks" not in tools.steps[tools.steps.index("shut") :]


def test_an_endpoint_that_does_not_come_back_ends_the_run() -> None:
    """F3: restic would try for a quarter of an hour; the run ends before, and says what is wrong."""
    says = [{"event": "progress", "bytes": 1}] * 3
    ending = played(Tools(says=says, unanswered_seconds=29.0))
    assert ending.outcome is Outcome.OK
    ending = played(Tools(says=says, unanswered_seconds=31.0))
    assert ending.outcome is Outcome.FAILED
    assert "did not come back" in ending.message
    assert ending.hint


@dataclass
class Flooded(Tools):
    """A source that sends this much, piece by piece, for as long as it may."""

    sends: int = 0

    @asynccontextmanager
    async def lend(
        self, listen: str, target: Path, read_budget: int | None, writable: Callable[[int], str | None]
    ) -> AsyncIterator[Any]:
        async with super().lend(listen, target, read_budget, writable) as counter:
            counter.received = 0
            while counter.received < self.sends and counter.cut is None:
                counter.received += MEGABYTE
                self.disk = replace(self.disk, free=self.disk.free - MEGABYTE)
                counter.cut = writable(counter.received)
            yield counter


def disk(free: int, total: int = 1000) -> Space:
    """A disk of so many megabytes."""
    return Space(total * MEGABYTE, free * MEGABYTE)


def test_below_the_reserve_no_run_begins() -> None:
    """Neither a pull nor an import begins on a disk with less than its reserve free; it is said, and tried again."""
    for kind, steps in ((Kind.PULL, "open"), (Kind.MIGRATE, "import")):
        tools = Tools(disk=disk(99), legacy_there=True)
        ending = asyncio.run(conduct(work(tools, replace(RUN, kind=kind), reserve=(100 * MEGABYTE, 0))))
        assert (ending.outcome, ending.retry) == (Outcome.FAILED, True)
        assert (
            ending.message
            == "the disk of this server is full (103.8 MB free): `reserve` keeps 104.9 MB of it free"
        )
        assert steps not in tools.steps
        assert not tools.found
    assert played(Tools(disk=disk(100)), reserve=(100 * MEGABYTE, 0)).outcome is Outcome.OK
    assert played(Tools(disk=disk(0)), reserve=(0, 0)).outcome is Outcome.OK
    assert played(Tools(disk=Space(1 << 40, 1 << 39, 1000, 9))).outcome is Outcome.FAILED


def test_a_run_that_goes_on_stops_at_the_reserve() -> None:
    """A large transfer ends where the reserve begins; a small one that finds it begun may use a part of it."""
    large = Flooded(disk=disk(500), sends=400 * MEGABYTE)
    ending = played(large, reserve=(200 * MEGABYTE, 0))
    assert (ending.outcome, ending.retry) == (Outcome.FAILED, True)
    assert ending.message.startswith("the disk of this server is full (")
    assert large.disk.free // MEGABYTE == 199
    assert large.steps.index("shut") < large.steps.index("receipt")
    small = Flooded(disk=disk(201), sends=40 * MEGABYTE)
    assert played(small, reserve=(200 * MEGABYTE, 0)).outcome is Outcome.OK


def test_a_run_may_send_what_its_budget_and_its_quota_leave() -> None:
    """T13: beyond `write_budget`, or what the quota leaves and a transfer costs, the source is cut off and the run refused."""
    for source, packed, within, beyond, word in (
        ({"write_budget": 10 * MEGABYTE}, 0, 10, 11, "write_budget"),
        ({"quota": 100 * MEGABYTE}, 50 * MEGABYTE, 119, 120, "quota"),
        ({"quota": 100 * MEGABYTE}, 500 * MEGABYTE, 64, 65, "quota"),
    ):
        assert played(Flooded(packed=packed, sends=within * MEGABYTE), **source).outcome is Outcome.OK
        ending = played(Flooded(packed=packed, sends=beyond * MEGABYTE), **source)
        assert ending.outcome is Outcome.REFUSED
        assert word in ending.message
        assert word in (ending.hint or "")
        assert not ending.retry


def test_what_was_removed_from_a_full_disk_needs_room_before_it_is_sent_again() -> None:
    """A source that is too large for the disk does not fill it again and again, until there is room or it was pulled."""
    tools = Tools(disk=disk(500))
    tools.written["no-room"] = SimpleNamespace(
        detail={"freed": 440 * MEGABYTE, "sent": 450 * MEGABYTE}, time=NOW, run="x"
    )
    ending = played(tools, reserve=(100 * MEGABYTE, 0))
    assert ending.outcome is Outcome.FAILED
    assert "open" not in tools.steps
    assert "it needs more than 471.9 MB, and there is room for 419.4 MB" in ending.message
    tools.disk = disk(573)
    assert played(tools, reserve=(100 * MEGABYTE, 0)).outcome is Outcome.OK
    tools.disk = disk(500)
    tools.last_import = replace(RUN, outcome=Outcome.OK, ended=NOW + timedelta(hours=1))
    tools.hello = {**HELLO, "profile": "web"}
    assert played(tools, reserve=(100 * MEGABYTE, 0)).outcome is Outcome.OK


def test_what_was_tried_at_the_door_is_told() -> None:
    """Requests that were not let through are in the run's log and message; being cut off for them is a refused run."""
    tried = [SimpleNamespace(request="POST /keys/…", reason="a backup adds no key")] * 2
    tools = Tools(denials=tried)
    ending = played(tools)
    assert ending.outcome is Outcome.OK
    assert "2 request(s) were not let through to the endpoint: a backup adds no key" in ending.message
    assert 2 == sum(event["event"] == "denied" for event in tools.events)
    ending = played(Tools(cut="it read more than it may", says=[{"event": "progress"}] * 3))
    assert ending.outcome is Outcome.REFUSED
    assert "cut off from its endpoint: it read more than it may" in ending.message
    assert "read_budget" in (ending.hint or "")


def test_a_run_that_takes_too_long_fails_with_its_deadline() -> None:
    """The deadline of the source ends the run, and says so."""
    tools = Tools()

    @asynccontextmanager
    async def never() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    ending = asyncio.run(conduct(replace(work(tools, timeout=0.01), connect=never)))
    assert "took longer" in ending.message
    assert "shut" in tools.steps


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
names = st.sampled_from(
    [
        "path",
        "reason",
        "files",
        "bytes",
        "percent",
        "current",
        "text",
        "total_bytes",
        "data_added",
        "path_b64",
        "seconds_left",
    ]
)


@quick
@given(st.lists(st.builds(lambda kind, rest: {**rest, "event": kind},
       st.sampled_from(["progress", "warning", "summary", "log", "x"]) | st.text(), st.dictionaries(names, anything))))  # fmt: skip
def test_no_event_of_an_agent_breaks_the_report(events: list[dict[str, Any]]) -> None:
    """Whatever an agent says becomes bounded, printable text."""
    tools = Tools()
    report = Report(
        tools,
        Receipt(ID, "web", "r", NOW, NOW, NOW, ReceiptState.ADMITTED, Outcome.OK, bytes=9),
        SystemClock(),
    )
    for event in events:
        report.take(event)
    assert not [sign for sign in report.text() if unicodedata.category(sign) in ("Cc", "Cs") and sign != "\n"]
    assert len(report.text()) < 1_000_000


def test_warnings_are_bounded_and_counted() -> None:
    """A million unreadable files fill neither the log nor the memory, and are counted all the same."""
    tools = Tools()
    report = Report(tools, None, SystemClock())
    for number in range(MOST_WARNINGS_LOGGED * 3):
        report.take({"event": "warning", "path": f"/{number}", "reason": "no"})
    assert report.unreadable == MOST_WARNINGS_LOGGED * 3
    assert len(tools.events) == MOST_WARNINGS_LOGGED
    assert "more that could not be read" in report.text()


@quick
@given(anything)
def test_root_metadata_makes_sense_or_is_none(value: Any) -> None:
    """Hostile metadata of the backed-up folder is dropped."""
    assert root_meta(value) is None


def test_root_metadata_is_taken() -> None:
    """Honest metadata of the backed-up folder is kept, its mode cut to permissions."""
    meta = root_meta({"mode": 0o40755, "uid": 1, "gid": 2, "mtime_ns": -5})
    assert meta is not None
    assert (meta.mode, meta.uid, meta.gid, meta.mtime_ns) == (0o755, 1, 2, -5)


@quick
@given(st.text())
def test_a_socket_folder_is_absolute_and_short_or_refused(folder: str) -> None:
    """Whatever folder an agent names, the path fits a socket or the run is refused with a reason."""
    with suppress(AgentRefused):
        path = socket_path(folder)
        assert path.startswith("/")
        assert path.isascii()
        assert path.isprintable()
        assert len(path) <= 107


def kept(days: int, **more: Any) -> list[Receipt]:
    """A receipt a day, the newest yesterday."""
    now = datetime.now(UTC)
    return [
        Receipt(f"{day:064x}", "web", "r", now, now - timedelta(days=day), None, ReceiptState.ADMITTED, Outcome.OK, **more)
        for day in range(days, 0, -1)
    ]  # fmt: skip


RETAIN = replace(RUN, kind=Kind.RETAIN, options="{}")
TWO = Keeping(keep={"last": 2}, keep_least=1)


def test_a_good_pull_removes_what_no_rule_holds_and_says_so() -> None:
    """The removal comes after the receipt, with the door shut, alone, written down before it is done."""
    tools = Tools(receipt_list=kept(3), found={each.id: replace(GOOD, id=each.id) for each in kept(3)})
    ending = played(tools, keeping=TWO)
    assert ending.outcome is Outcome.OK
    assert "2 snapshot(s) that no rule holds were removed" in ending.message
    assert [each.id for each in tools.usable("web")] == [f"{1:064x}", ID]
    order = [tools.steps.index(step) for step in ("receipt", "alone", "intend", "forget")]
    assert order == sorted(order)
    assert tools.steps[tools.steps.index("alone") + 1] == "shut"


def pruned(tools: Tools, **source: Any) -> Ending:
    """How a retention that somebody asked to prune as well ends; no snapshot has to go in it."""
    tools.receipt_list = kept(1)
    return played(tools, run=replace(RETAIN, options='{"prune": true}'), keeping=TWO, **source)


def test_nobody_can_send_while_packs_are_removed() -> None:
    """T11: the endpoint is shut before anything is pruned, and stays so until it is done: no lock of ours has to hold anybody."""
    tools = Tools()
    ending = pruned(tools)
    assert ending.outcome is Outcome.OK
    at = tools.steps.index("prune")
    assert "shut" in tools.steps[:at]
    assert "open" not in tools.steps


@pytest.mark.parametrize(("index", "reserve", "room"), [(5, 0, 2), (6, 0, 0), (5, 19, 1), (5, 21, 0)])
def test_pruning_writes_anew_what_a_new_index_and_the_reserve_leave(
    index: int, reserve: int, room: int
) -> None:
    """8 MiB and twice the index stay free for restic's new index, and what `reserve` keeps; the rest may be written anew."""
    tools = Tools(disk=disk(20), indexed=index * MEGABYTE)
    assert pruned(tools, reserve=(reserve * MEGABYTE, 0)).outcome is Outcome.OK
    assert [room * MEGABYTE] == tools.prunes


@pytest.mark.parametrize(("free", "index"), [(20, 7), (7, 0)])
def test_nothing_is_pruned_where_a_new_index_has_no_room(free: int, index: int) -> None:
    """Below 8 MiB and twice the index it is refused before anything is touched, and says how much to free."""
    tools = Tools(disk=disk(free), indexed=index * MEGABYTE)
    ending = pruned(tools, reserve=(0, 0))
    assert ending.outcome is Outcome.REFUSED
    told = f"nothing is pruned: only {size(free * MEGABYTE)} are free on the disk of the repository"
    assert ending.message.endswith(told)
    assert (ending.hint or "").startswith(f"free {size((8 + 2 * index) * MEGABYTE)} first")
    assert "prune" not in tools.steps


@pytest.mark.parametrize(
    ("more", "end", "why"),
    [
        ({"in_use": True}, FINE, "in use"),
        ({"fails": {"forget": ResticError("no", "x")}}, FINE, "could not be applied"),
        ({}, dict(FINE, outcome="partial", exit=3, unreadable=1), "could read less"),
    ],
)
def test_what_keeps_retention_from_its_work_is_no_fault_of_the_pull(
    more: dict[str, Any], end: dict[str, Any], why: str
) -> None:
    """A mount that is open, a restic that fails, unreadable files: the pull is what it is, and nothing went."""
    says = [{"event": "warning", "path": "/closed", "reason": "no"}] if "partial" in str(end) else []
    tools = Tools(receipt_list=kept(3), found={each.id: GOOD for each in kept(3)}, end=end, says=says, **more)
    ending = played(tools, keeping=TWO)
    assert ending.outcome in (Outcome.OK, Outcome.PARTIAL)
    assert why in ending.message
    assert len(tools.usable("web")) == 4


def test_a_failed_pull_removes_nothing() -> None:
    """Nothing goes at the end of a pull that brought nothing."""
    tools = Tools(
        receipt_list=kept(3), found={each.id: GOOD for each in kept(3)}, arrives={}, end={"event": "end"}
    )
    assert played(tools, keeping=TWO).outcome is Outcome.FAILED
    assert "forget" not in tools.steps


def test_asked_for_retention_stops_where_a_person_should_look() -> None:
    """Too many at once are refused with the plan's name, and carried out for whoever gives it back."""
    tools = Tools(receipt_list=kept(20), found={each.id: GOOD for each in kept(20)})
    run = asyncio.run(conduct(work(tools, RETAIN, keeping=TWO)))
    assert run.outcome is Outcome.REFUSED
    plan = str(run.hint).rpartition("--confirm ")[2].rstrip("`")
    assert "forget" not in tools.steps
    confirmed = replace(RETAIN, options=json.dumps({"confirm": plan}))
    assert asyncio.run(conduct(work(tools, confirmed, keeping=TWO))).outcome is Outcome.OK
    assert len(tools.usable("web")) == 2


def test_a_snapshot_that_is_not_there_is_never_called_forgotten() -> None:
    """What is missing without a removal of ours is told, and keeps its receipt."""
    tools = Tools(receipt_list=kept(3), found={f"{1:064x}": GOOD, f"{2:064x}": GOOD})
    ending = asyncio.run(conduct(work(tools, RETAIN, keeping=TWO)))
    assert ending.outcome is Outcome.OK
    assert "not in the repository" in ending.message
    assert len(tools.usable("web")) == 3


RESTORE = replace(RUN, kind=Kind.RESTORE, options=json.dumps({"snapshot": ID, "path": "Lw=="}))
ADMITTED = Receipt(ID, "web", "r", NOW, NOW, NOW, ReceiptState.ADMITTED, Outcome.OK)


def restored(tools: Tools) -> Ending:
    """How a restore on the server ends, of a source that keeps a tenth of its disk free."""
    tools.receipt_list = [ADMITTED]
    return asyncio.run(conduct(work(tools, RESTORE, reserve=(0, 10))))


def test_a_restore_says_where_and_what_is_not_there() -> None:
    """The folder is named; devices and names that could not be written are counted, and make it partial."""
    ending = restored(Tools())
    assert (ending.outcome, ending.snapshot) == (Outcome.OK, ID)
    assert f"restored into /restored/{RUN.id}; 1 device file(s)" in ending.message
    ending = restored(Tools(unwritten=3))
    assert (ending.outcome, ending.warnings) == (Outcome.PARTIAL, 3)


@pytest.mark.parametrize(("free", "shrinks"), [(99, ()), (500, (400, 99, 400))])
def test_a_restore_never_takes_what_reserve_keeps(free: int, shrinks: tuple[int, ...]) -> None:
    """It does not begin below the reserve, and is stopped where others fill the disk meanwhile; it hands on what must stay."""
    tools = Tools(disk=Space(1000, free), shrinks=shrinks)
    ending = restored(tools)
    assert ending.outcome is Outcome.FAILED
    assert ending.message.startswith("the disk of this server is full (99 B free)")
    assert ("restore" in tools.steps) == bool(shrinks)
    assert tools.spare == (100 if shrinks else 0)


@pytest.mark.parametrize("reason", [cancelled("anna"), None])
def test_a_restore_that_was_stopped_says_that_nothing_is_kept(reason: Ending | None) -> None:
    """What helps after a pull, that the next run sends the rest, is not what somebody who restores reads."""
    tools = Tools(fails={"restore": asyncio.CancelledError()}, receipt_list=[ADMITTED])
    made = work(tools, RESTORE)
    if reason is not None:
        made.halt.because(RESTORE.id, reason)
    ending = asyncio.run(conduct(made))
    assert ending.outcome is (Outcome.CANCELLED if reason else Outcome.INTERRUPTED)
    assert "nothing of what it had restored is kept" in (ending.hint or "")

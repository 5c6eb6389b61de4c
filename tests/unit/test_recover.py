"""What a snapshot without a receipt counts as, and what the log of a run proves: pure rules, tried with lies."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pbs.model import Kind, Outcome, Receipt, ReceiptState, RootMeta, Snapshot
from pbs.recover.judging import FROM_LOG, NAMELESS, NOT_IN_LEDGER, NOT_LOGGED, SECOND, Lying, judge
from pbs.recover.logs import TORN, Told, read_logs, run_of
from pbs.runs.evidence import admitted_facts, admitted_receipt

RUN = "20260501T120000Z-web-pull-0011aabb"
BEGUN = datetime(2026, 5, 1, 12, tzinfo=UTC)
CAME = BEGUN + timedelta(minutes=5)
NOW = BEGUN + timedelta(days=90)
ID = "a" * 64
TAGS = ("source=web", f"run={RUN}")
LATER = BEGUN + timedelta(days=36500)
RECEIPT = Receipt(
    ID, "web", RUN, CAME, CAME, LATER, ReceiptState.ADMITTED, Outcome.OK, paths=("/srv", "/é"), files=3, bytes=4,
    root=RootMeta(0o755, 1, 2, -3),
)  # fmt: skip


def lying(
    letter: str = "a", written: datetime = CAME, tags: tuple[str, ...] = TAGS, host: str = "web"
) -> Lying:
    """A snapshot in the repository."""
    return Lying(Snapshot(letter * 64, LATER, host, ("/srv",), tags), written)


def one(found: Lying, told: Told | None = None, ended: frozenset[str] = frozenset()) -> Receipt:
    """What this one counts as."""
    [receipt] = judge("web", [found], told or Told(), ended, NOW)
    return receipt


def test_what_a_log_admitted_is_admitted_as_it_was() -> None:
    """The receipt from the log wins over everything that the snapshot says of itself."""
    told = Told(admitted={ID: RECEIPT})
    assert replace(RECEIPT, reason=FROM_LOG) == one(lying(host="other", tags=()), told)


def test_what_a_log_or_the_ledger_would_have_admitted_and_did_not_is_refused(tmp_path: Path) -> None:
    """A run whose log or row is there speaks for every snapshot of it; only a log that cannot know is silent."""
    assert ("planted", ReceiptState.QUARANTINED) == _why(one(lying(), Told(refused={ID: "planted"})))
    (tmp_path / f"{RUN}.jsonl").write_text('{"time":"2026-05-01T12:00:00Z","event":"begin","cause":"due"}\n')
    told = read_logs(tmp_path, "web")
    assert (NOT_LOGGED, ReceiptState.QUARANTINED) == _why(one(lying(), told))
    assert (NOT_IN_LEDGER, ReceiptState.QUARANTINED) == _why(one(lying(), ended=frozenset({RUN})))
    told.silent.add(RUN)
    assert ReceiptState.ADMITTED is one(lying(), told).state


def _why(receipt: Receipt) -> tuple[str | None, ReceiptState]:
    return receipt.reason, receipt.state


def test_only_what_names_a_run_of_this_source_counts() -> None:
    """Another host, another source, no run, two runs, another source's run, a run of the future, a kind that stores nothing."""
    wrong = [
        lying(host="db"),
        lying(tags=("source=db", f"run={RUN}")),
        lying(tags=("source=web",)),
        lying(tags=(*TAGS, "run=x")),
        lying(tags=("source=web", "run=20260501T120000Z-db-pull-0011aabb")),
        lying(tags=("source=web", "run=20990501T120000Z-web-pull-0011aabb")),
        lying(tags=("source=web", "run=20260501T120000Z-web-check-0011aabb")),
        lying(tags=("source=web", "run=20261301T120000Z-web-pull-0011aabb")),
    ]
    for each in wrong:
        assert (NAMELESS, ReceiptState.QUARANTINED) == _why(one(each)), each


def test_what_only_the_repository_knows_is_dated_by_our_clock() -> None:
    """By its file's time; by its run's where the files were copied without theirs; never by what the source claimed."""
    receipt = one(lying())
    assert (CAME, CAME, ReceiptState.ADMITTED, Outcome.PARTIAL) == (
        receipt.received, receipt.time, receipt.state, receipt.outcome,
    )  # fmt: skip
    assert "rebuilt" in (receipt.reason or "")
    copied = one(lying(written=NOW))
    assert (BEGUN, BEGUN) == (copied.received, copied.time)
    legacy = ("source=web", f"run={RUN.replace('pull', 'migrate')}", "legacy")
    assert (ReceiptState.LEGACY, CAME) == (one(lying(tags=legacy)).state, one(lying(tags=legacy)).time)


def test_of_one_run_one_snapshot_counts() -> None:
    """The one that was written last; the others are named, and refused."""
    found = judge(
        "web", [lying("b", CAME), lying("c", CAME - timedelta(seconds=9))], Told(), frozenset(), NOW
    )
    assert {("b" * 64, ReceiptState.ADMITTED), ("c" * 64, ReceiptState.QUARANTINED)} == {
        (each.id, each.state) for each in found
    }
    assert SECOND in [each.reason for each in found]


def test_a_receipt_survives_its_line() -> None:
    """What `admitted` writes gives the same receipt again; a damaged line gives none."""
    facts = json.loads(json.dumps(admitted_facts(RECEIPT)))
    assert RECEIPT == admitted_receipt(facts, "web", RUN)
    for name in facts:
        assert (
            admitted_receipt({key: value for key, value in facts.items() if key != name}, "web", RUN) is None
        )
    for name, value in (
        ("snapshot", "short"),
        ("received", 7),
        ("state", "x"),
        ("root", [1]),
        ("paths", None),
    ):
        assert admitted_receipt({**facts, name: value}, "web", RUN) is None


def test_logs_are_read_whatever_lies_there(tmp_path: Path) -> None:
    """Runs come back oldest first; torn lines, foreign files and a log without an end are no obstacle."""

    def event(name: str, **more: object) -> str:
        return json.dumps({"time": "2026-05-01T12:00:01Z", "event": name, **more}) + "\n"

    whole = (
        event("begin", cause="due")
        + event("progress", text='"ended"')
        + event("admitted", **admitted_facts(RECEIPT))
    )
    end = event(
        "ended",
        outcome="partial",
        message="m",
        hint=None,
        at="2026-05-01T12:00:09Z",
        snapshot=ID,
        files=3,
        warnings=2,
    )
    (tmp_path / f"{RUN}.jsonl").write_text(whole + '{"event":"ended"\n[1,"ended"]\n' + end + '{"event": "en')
    later = RUN.replace("20260501", "20260502")
    (tmp_path / f"{later}.jsonl").write_text(event("begin", cause="moon"))
    for junk in ("x.jsonl", f"{RUN.replace('web', 'db')}.jsonl", "note.txt"):
        (tmp_path / junk).write_text(whole)
    (tmp_path / f"{RUN.replace('0011', '0022')}.jsonl").mkdir()
    told = read_logs(tmp_path, "web")
    assert [RUN, later] == [run.id for run in told.runs]
    first, second = told.runs
    assert (Outcome.PARTIAL, "m", ID, 3, 2) == (
        first.outcome, first.message, first.snapshot, first.files, first.warnings,
    )  # fmt: skip
    assert (Outcome.INTERRUPTED, TORN) == (second.outcome, second.message)
    assert {ID: RECEIPT} == told.admitted
    assert set() == told.silent
    assert Told() == read_logs(tmp_path / "none", "web")


def test_the_id_of_a_run_says_when_and_what() -> None:
    """Also where the source's name looks like a part of one."""
    assert (BEGUN, Kind.PULL) == run_of("20260501T120000Z-a-pull-b-pull-0011aabb", "a-pull-b")
    for wrong in ("", "latest", RUN.upper(), RUN.replace("pull", "walk"), f"{RUN}/x"):
        assert run_of(wrong, "web") is None


def test_what_tripped_a_wire_is_read_too(tmp_path: Path) -> None:
    """T29: a ledger that was lost holds again what a log says, whatever its reasons look like by now."""
    day = {"event": "tripped", "time": "2026-05-01T12:00:00Z"}
    lines = [
        {**day, "reasons": ["a", 7, "b"]},
        {"event": "tripped", "reasons": ["no time"]},
        {**day, "reasons": {}},
    ]
    (tmp_path / f"{RUN}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    told = read_logs(tmp_path, "web").tripped
    assert [(RUN, "a; b"), (RUN, "a tripwire tripped")] == [(each.run, each.why) for each in told]

"""The demo: it does the main job for real, says honestly how that went, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stage import PBS, eventually, free_port, processes

from pbs.clock import SystemClock
from pbs.demo import intruder, material, place, story
from pbs.demo.server import Server, with_address
from pbs.demo.source import Source, locked
from pbs.demo.story import BrokenPromise, Stage, allowed, feed_titles, fingerprints, tell
from pbs.demo.summary import Addresses, Summary, Tail
from pbs.errors import ToolMissing
from pbs.process import find_tool

DEMO_SECONDS = 280


@pytest.fixture
def corner(folder: Path) -> Path:
    """A folder in which the demo makes its own, so that leftovers can be told from others'."""
    (folder / "t").mkdir()
    return folder / "t"


def start(corner: Path, *words: str, **environ: str) -> subprocess.Popen[bytes]:
    """The demo, in a folder of this test."""
    environment = {**os.environ, "TMPDIR": str(corner), **environ}
    return subprocess.Popen(
        [*PBS, "demo", "--json", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def document_of(demo: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and progress of a demo that has ended or ends now."""
    out, err = demo.communicate(timeout=DEMO_SECONDS)
    return demo.returncode, json.loads(out), err.decode()


def nothing_left(corner: Path) -> None:
    """No file, no process and no mount of a demo remains."""
    assert list(corner.iterdir()) == []
    assert processes(str(corner)) == {}
    assert str(corner) not in Path("/proc/self/mountinfo").read_text()


# As root, `.ci/run` plays it from outside.
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.user
@pytest.mark.timeout(DEMO_SECONDS + 20)
def test_all_promises_hold_and_nothing_is_left(corner: Path) -> None:
    """The demo tries every promise with real programs, finds all kept, and takes everything away again."""
    code, document, progress = document_of(start(corner))
    assert [check for check in document["checks"] if not check["ok"]] == []
    assert (code, document["ok"]) == (0, True)
    assert [name for name, *_ in story.STEPS] + ["nothing-left"] == [
        each["name"] for each in document["checks"]
    ]
    assert [run["kind"] for run in document["runs"]] == ["migrate"] + ["pull"] * 4
    assert {"ok"} == {run["outcome"] for run in document["runs"]}
    assert document["source"]["files"] > 1000
    assert "second pull" in progress
    nothing_left(corner)


@pytest.mark.slow
@pytest.mark.timeout(DEMO_SECONDS + 20)
@pytest.mark.parametrize(
    ("number", "sign"),
    [
        pytest.param(signal.SIGINT, "*/home/etc/supervisord.conf", id="while-the-service-starts"),
        pytest.param(
            signal.SIGTERM, "*/home/var/log/runs/demo/*", id="during-a-pull", marks=pytest.mark.long
        ),
    ],
)
def test_a_stopped_demo_leaves_nothing(corner: Path, number: signal.Signals, sign: str) -> None:
    """Stopped in the middle of something it says so, exits with 5, and takes everything away."""
    demo = start(corner)
    eventually(lambda: list(corner.glob(sign)) or demo.poll() is not None, DEMO_SECONDS)
    demo.send_signal(number)
    code, document, _ = document_of(demo)
    assert (code, document["ok"], document["interrupted"]) == (5, False, True)
    assert {key: document["checks"][-1][key] for key in ("name", "ok")} == {
        "name": "nothing-left",
        "ok": True,
    }
    nothing_left(corner)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(DEMO_SECONDS + 20)
def test_a_kept_demo_tells_how_to_end_it(corner: Path) -> None:
    """`--keep` leaves a server and a source that work, and the three commands it prints end them."""
    code, document, _ = document_of(start(corner, "--keep"))
    try:
        assert code == 0
        again = subprocess.run(
            [*PBS, "--home", document["home"], "pull", "demo"], check=False, capture_output=True
        )
        assert again.returncode == 0, again.stderr
    finally:
        for command in document["stop"]:
            words = command.split()
            subprocess.run([*PBS, *words[1:]] if words[0] == "pbs" else words, check=True)
    eventually(lambda: not processes(str(corner)), what="the end of all processes")
    nothing_left(corner)


def test_a_locked_account_needs_pam(tmp_path: Path) -> None:
    """An account whose password is locked is told from one without a password."""
    (tmp_path / "shadow").write_text("root:!:1::::::\nme:*:1::::::\nrooty:x:1::::::\n")
    assert [True, False, False] == [locked(name, tmp_path / "shadow") for name in ("root", "me", "rooty")]
    assert not locked("root", tmp_path / "none")


def test_one_broken_promise_is_a_failed_demo() -> None:
    """The exit code is 0 only where something was tried and all of it held; 5 where somebody stopped it."""
    summary = Summary()
    assert (summary.exit_code, summary.ok) == (1, False)
    summary.add("one", True, "held")
    assert (summary.exit_code, summary.ok) == (0, True)
    summary.add("other", False, "broke")
    assert (summary.exit_code, summary.document()["ok"]) == (1, False)
    assert "1 of 2 checks did NOT hold" in summary.text()
    assert "✗ other  broke" in summary.text()
    assert Summary(checks=summary.checks[:1], interrupted=True).exit_code == 5


def test_the_summary_shows_runs_logs_and_addresses() -> None:
    """What each run cost, the ends of the logs and the way to stop a kept demo stand in the text and the document."""
    run = {"kind": "pull", "outcome": "ok", "state": "ended", "seconds": 2.5, "files": 1234, "bytes": 5_000_000,
           "added_bytes": 0, "stored_bytes": None, "tunnel_bytes": 1200}  # fmt: skip
    kept = Addresses(
        "/h", "http://127.0.0.1:1", "http://127.0.0.1:1/feeds/demo.xml", 22, 33, ("pbs --home /h stop",)
    )
    summary = Summary(runs=[run], logs=[Tail("sshd.log", ("bye",))], notes=["no ACLs"], kept=kept)
    summary.add("one", True, "held \x1b[31mred")
    text = summary.text()
    assert "pull  first pull  ok       2.5 s  1,234  5.0 MB  0 B       –  1.2 KB" in text
    for part in ("sshd.log ends with", "    bye", "note: no ACLs", "pbs --home /h stop", "held red"):
        assert part in text
    assert summary.document()["stop"] == ["pbs --home /h stop"]


@contextmanager
def steps(monkeypatch: pytest.MonkeyPatch, folder: Path, *needed: bool) -> Iterator[Stage]:
    """A story of two steps, of which the first breaks."""

    async def breaks(_: Stage) -> str:
        raise BrokenPromise("it broke")

    async def holds(_: Stage) -> str:
        return "it held"

    told = (("first", "trying", breaks, needed[0]), ("second", "trying on", holds, False))
    monkeypatch.setattr(story, "STEPS", told)
    clock = SystemClock()
    yield Stage(folder, Server(folder), Source(folder, clock, keep=False), clock, Summary(), lambda _: None)


async def test_a_broken_step_is_told_and_the_others_are_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What does not need the broken step is tried all the same."""
    with steps(monkeypatch, tmp_path, False) as stage:
        await tell(stage)
        assert [(each.name, each.ok) for each in stage.summary.checks] == [("first", False), ("second", True)]
        assert stage.summary.exit_code == 1


async def test_a_broken_step_that_others_need_ends_the_story(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Steps that would fail for that reason alone are not tried."""
    with steps(monkeypatch, tmp_path, True) as stage:
        await tell(stage)
        assert [(each.name, each.detail) for each in stage.summary.checks] == [("first", "it broke")]


def test_the_intruder_would_be_seen_to_succeed(folder: Path) -> None:
    """Behind a server that is not append-only the same attack succeeds, and the demo notices: its check has teeth."""
    repository, socket = folder / "r", folder / "s"
    restic, server = find_tool("restic"), find_tool("rest-server", "restic-rest-server")
    assert restic
    assert server
    options = [restic, "--repo", repository, "--insecure-no-password", "--no-cache"]
    subprocess.run([*options, "init"], check=True, capture_output=True)
    subprocess.run([*options, "backup", __file__], check=True, capture_output=True)
    before = fingerprints(repository)
    door = subprocess.Popen([server, "--no-auth", "--path", repository, "--listen", f"unix:{socket}"],
                            stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        eventually(socket.exists, what="the socket")
        attempts = intruder.attack(str(socket))
    finally:
        door.terminate()
        door.wait()
    assert "delete a snapshot (200)" in allowed(attempts)
    assert "delete a pack (200)" in allowed(attempts)
    assert before != fingerprints(repository)


def test_an_address_is_put_into_any_configuration() -> None:
    """Under the head of [server], or with one; what stood there stays."""
    assert '[server]\nlisten = "127.0.0.1:7"\n' in with_address(
        "# top\n[server]\n#workers = 2\n[defaults]\n", 7
    )
    assert with_address("[defaults]\n", 7).startswith("[defaults]\n\n[server]\nlisten")


def test_a_feed_that_is_no_xml_is_a_broken_promise() -> None:
    """A document cut short is not read as an empty one."""
    assert feed_titles(b"<rss><channel><item><title>demo backup</title></item></channel></rss>") == [
        "demo backup"
    ]
    with pytest.raises(BrokenPromise, match="not well-formed"):
        feed_titles(b"<rss><channel><item>")


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what the machine lacks, its hint how to get it."""
    monkeypatch.setattr(
        place, "find_tool", lambda *names: None if names[0] in ("sshd", "rdiff-backup") else Path("/x")
    )
    with pytest.raises(ToolMissing, match="sshd, rdiff-backup") as missing:
        place.check_tools()
    assert "./bootstrap install" in (missing.value.hint or "")


async def test_leftovers_are_ended_and_told(folder: Path) -> None:
    """A process of the demo that is still there is ended, and that is no success."""
    corner = folder / "left"
    (corner / "locked").mkdir(parents=True)
    (corner / "locked").chmod(0o500)
    stray = subprocess.Popen(["sleep", "600"], cwd=corner / "locked")
    other = folder / "left-alone"
    other.mkdir()
    neighbour = subprocess.Popen(["sleep", "600"], cwd=other)
    try:
        assert [stray.pid] == place.processes_of(corner)
        assert stray.pid in place.descendants(os.getpid())
        problems = await place.clear(corner, SystemClock())
        assert len(problems) == 1
        assert "had to be ended" in problems[0]
        assert stray.wait(5) == -signal.SIGTERM
        assert not corner.exists()
        assert neighbour.poll() is None
    finally:
        for each in (stray, neighbour):
            each.kill()
            each.wait()


async def test_the_material_holds_what_is_awkward(folder: Path) -> None:
    """Every odd name, link and hole is there, several thousand real files, and each day changes something."""
    tree = folder / "tree"
    material.make(tree, os.geteuid() == 0)
    await material.adorn(tree)
    assert (tree / os.fsdecode(material.NOT_UTF8)).is_file()
    assert {os.fsdecode(name) for name in material.ODD_NAMES} <= {
        path.name for path in (tree / "odd").iterdir()
    }
    first = material.count(tree)
    assert first["files"] > 1000
    assert first["bytes"] < 150 << 20
    material.live_a_wild_day(tree)
    assert (tree / "moved/renamed-recording.bin").is_file()
    assert first != material.count(tree)


async def test_an_sshd_of_its_own_answers_and_ends(folder: Path) -> None:
    """The source's sshd takes no configuration of the machine, and dies with the demo."""
    source = Source(folder, SystemClock(), keep=False)
    await source.start_sshd()
    assert source.sshd
    assert source.port != free_port()
    source.sshd.terminate()
    source.sshd.wait(5)
    assert "Server listening on 127.0.0.1" in source.log.read_text()
    assert sys.executable in source._agent()

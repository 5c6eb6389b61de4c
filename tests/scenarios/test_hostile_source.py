"""A source that is not ours any more: whatever it sends, says or names, nothing that was admitted is lost or changed."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import FAILS, owned
from liar import fingerprint, lie, noted, repent
from shared import (
    add,
    ask,
    ends,
    fresh,
    get,
    here,
    home_in_service,
    host_key,
    http,
    items,
    snapshots,
    state,
    worker_peak,
)
from stage import Pbs, SourceHost, _answers, eventually, processes

from pbs.restore import compare

OUR_SCRIPT = re.compile(r'<script src="/assets/[0-9a-f]+/[a-z.]+"[a-z ]*></script>')

pytestmark = pytest.mark.slow
MOST_WORKER_BYTES = 300 << 20


@pytest.fixture(scope="module")
def home() -> Iterator[Pbs]:
    """One served home; each test has a source of its own in it."""
    with home_in_service() as pbs:
        yield pbs
        assert worker_peak(pbs) < MOST_WORKER_BYTES


@pytest.fixture
def name(home: Pbs, source: SourceHost) -> str:
    """A source that was added, and whose agent is still honest."""
    name = fresh("evil")
    add(home, name, source)
    return name


def ids(home: Pbs, name: str, state: str) -> list[str]:
    """The snapshots of a source in this state, oldest first."""
    return [each["id"] for each in snapshots(home, name) if each["state"] == state]


def restored(home: Pbs, name: str, source: SourceHost, folder: Path, *which: str) -> None:
    """What is restored is what the source's folder holds now."""
    code, _, told = here(home, "restore", name, *which, "--to", str(folder))
    assert 0 == code, told
    assert not compare(source.data, folder)


def past(home: Pbs, name: str) -> Path:
    """The endpoint's own socket: past the gate, which refuses most of what follows before rest-server sees it."""
    return home.home / f"var/run/endpoint/{name}.sock"


# What it does to the repository


def test_nothing_that_lies_there_can_be_changed(
    home: Pbs, name: str, source: SourceHost, folder: Path
) -> None:
    """T28: deleting, overwriting, emptying and re-initialising are refused, and every byte stays as it was."""
    first = ends(home, name, "ok", 0)["snapshot"]
    before = fingerprint(home.repository(name))
    lie(source, """
def job():
    greet()
    wish = request()
    tried = []
    for kind in ("data", "index", "snapshots", "keys"):
        for found in names(wish, kind):
            path = "/%s/%s" % (kind, found["name"] if isinstance(found, dict) else found)
            tried.append(("DELETE", path, http_ask(wish, "DELETE", path)[0]))
            tried.append(("POST", path, http_ask(wish, "POST", path, b"other bytes")[0]))
            tried.append(("PUT", path, http_ask(wish, "PUT", path, b"other bytes")[0]))
    for method in ("DELETE", "POST", "PUT", "PATCH"):
        tried.append((method, "/config", http_ask(wish, method, "/config", b"{}")[0]))
    for path in ("/../other/config", "/..%2f..%2fetc%2fkeys/x", "/data/../../x", "//etc/passwd", "/data/" + "f" * 64):
        tried.append(("POST", path, http_ask(wish, "POST", path, b"x")[0]))
        tried.append(("GET", path, http_ask(wish, "GET", path)[0]))
    note("tried", tried)
    note("create", http_ask(wish, "POST", "/?create=true", b"")[0])
    end(snapshot=backup(wish))
""", past(home, name))  # fmt: skip
    run = ends(home, name, "ok", 0)
    for method, path, status in noted(source, "tried"):
        assert status >= 300 or (method, status) == ("GET", 200), (method, path, status)
    after = fingerprint(home.repository(name))
    assert before.items() <= after.items()
    assert [first, run["snapshot"]] == ids(home, name, "admitted")
    restored(home, name, source, folder / "out", first)


def test_a_snapshot_that_did_not_arrive_is_refused(home: Pbs, name: str, source: SourceHost) -> None:
    """T21: naming an old snapshot, another source's, one that does not exist or no id at all is a refused run."""
    old = ends(home, name, "ok", 0)["snapshot"]
    for lie_about in (
        old,
        "f" * 64,
        "latest",
        "../../../config",
        old[:8],
        "",
        7,
        ["x"],
        {"a": 1},
        None,
        "F" * 64,
    ):
        lie(source, f"def job():\n    greet()\n    request()\n    end(snapshot={lie_about!r})")
        run = ends(home, name, "refused", 4, "look at that machine")
        assert run["snapshot"] is None
    assert [old] == ids(home, name, "admitted")
    repent(source)
    ends(home, name, "ok", 0)


def test_a_snapshot_of_another_run_is_refused(home: Pbs, name: str, source: SourceHost) -> None:
    """T21: a snapshot that carries another run's tag, another host or none is kept out and never `latest`."""
    first = ends(home, name, "ok", 0)["snapshot"]
    for more in (
        'tags=["source=" + wish["source"], "run=20200101T000000Z-x-pull-00000000"]', "tags=[]",
        'host="another"', 'host="../../etc", tags=["<script>alert(1)</script>"]',
    ):  # fmt: skip
        lie(source, f"def job():\n    greet()\n    wish = request()\n    end(snapshot=backup(wish, {more}))")
        ends(home, name, "refused", 4, "is not the one that this run was to make")
    assert [first] == ids(home, name, "admitted")
    assert 4 == len(ids(home, name, "quarantined"))


def test_of_two_snapshots_only_the_named_one_counts(home: Pbs, name: str, source: SourceHost) -> None:
    """One snapshot a run: the other is recorded, said once, and never answered with."""
    lie(
        source,
        "def job():\n    greet()\n    wish = request()\n    one = backup(wish)\n    backup(wish)\n    end(snapshot=one)",
        past(home, name),
    )
    run = ends(home, name, "refused", 4, "1 snapshot(s) that the run did not name", "was admitted")
    assert [run["snapshot"]] == ids(home, name, "admitted")
    (extra,) = ids(home, name, "quarantined")
    code, _, told = here(home, "restore", name, extra, "--to", "/nonexistent/x")
    assert (7, True) == (code, "no snapshot" in told)
    repent(source)
    again = ends(home, name, "ok", 0)
    assert "did not name" not in again["message"]
    assert 1 == len(ids(home, name, "quarantined"))


def test_a_snapshot_of_the_year_2099_is_never_latest(
    home: Pbs, name: str, source: SourceHost, folder: Path
) -> None:
    """T7, T16: time, host and tags of the source's choosing win nothing: not in ls, not in a mount, not in a restore."""
    ends(home, name, "ok", 0)
    lie(source, """
def job():
    greet()
    wish = request()
    honest = backup(wish)
    os.makedirs(DATA + "/planted")
    planted = backup(wish, "--time=2099-01-01 00:00:00", host="../../etc", tags=["<script>", "../x"])
    os.rmdir(DATA + "/planted")
    note("planted", planted)
    end(snapshot=honest)
""", past(home, name))  # fmt: skip
    run = ends(home, name, "refused", 4, "did not name")
    planted = noted(source, "planted")
    assert [planted] == ids(home, name, "quarantined")
    assert "planted" not in here(home, "ls", name)[1]
    restored(home, name, source, folder / "out")
    place = folder / "m"
    home("mount", name, str(place))
    try:
        assert not compare(source.data, place / "latest")
        assert run["snapshot"] in os.listdir(place / "ids")
        seen = {path.name for path in place.glob("*")} | {path.name for path in place.glob("*/*")}
        assert not {
            name for name in seen if "2099" in name or "etc" in name or "script" in name or planted in name
        }
    finally:
        home("umount", name)
    for verb in (("ls", name, planted), ("restore", name, planted[:12], "--to", str(folder / "no"))):
        assert 7 == here(home, *verb)[0]


def test_a_planted_key_is_told_once_and_never_used(
    home: Pbs, name: str, source: SourceHost, folder: Path
) -> None:
    """T12: keys that the source adds, real ones and junk, are set aside and change nothing for us; they are told once."""
    lie(source, r"""
def job():
    greet()
    wish = request()
    snapshot = backup(wish)
    with open(ROOT + "/other-password", "w") as file:
        file.write("the source's own")
    code, out, err = restic(wish, "key", "add", "--new-password-file=" + ROOT + "/other-password")
    junk = [put(wish, "keys", data) for data in (b"junk", b"{}", b'{"kdf":"scrypt","N":1073741824,"r":8,"p":1,'
            b'"salt":"AAAA","data":"AAAA"}', b"\xff" * 1000, b"[" * 100000)]
    note("added", [code, err, junk])
    end(snapshot=snapshot)
""", past(home, name))  # fmt: skip
    run = ends(home, name, "refused", 4, "6 repository key(s) that nobody asked for", "was admitted")
    assert 0 == noted(source, "added")[0], noted(source, "added")
    listed = json.loads(here(home, "quarantine", "list", name, "--json")[1])["quarantine"]
    assert 6 == len(listed)
    number = str(listed[0]["number"])
    shown = json.loads(here(home, "quarantine", "show", number, "--json")[1])
    assert Path(shown["path"]).is_file()
    assert json.loads(get(home, f"/api/v1/quarantine/{number}"))["reason"] == shown["reason"]
    assert 0 == here(home, "quarantine", "discard", number)[0]
    assert not Path(shown["path"]).exists()
    assert 200 == http(home, "POST", f"/api/v1/quarantine/{listed[1]['number']}/discard")[0]
    assert 4 == len(json.loads(get(home, f"/api/v1/quarantine?source={name}"))["quarantine"])
    assert 0 == here(home, "quarantine", "discard", "--source", name)[0]
    assert "nothing is set aside" in here(home, "quarantine", "list", name)[2]
    assert not (home.home / f"srv/backup/pbs/{name}.quarantine" / run["id"]).exists()
    repent(source)
    (source.data / "new").write_text("after the keys")
    assert "key(s)" not in ends(home, name, "ok", 0)["message"]
    restored(home, name, source, folder / "out")
    assert 7 == here(home, "restore", name, run["snapshot"][::-1], "--to", str(folder / "no"))[0]


def test_locks_of_the_source_do_not_stop_the_next_run(home: Pbs, name: str, source: SourceHost) -> None:
    """T10: exclusive locks and junk among them are cleared once the source is cut off."""
    lie(source, r"""
def job():
    greet()
    wish = request()
    backup(wish)
    checking = start(wish, "--limit-download=1", "--no-cache", "check", "--read-data")
    deadline = time.monotonic() + 20
    while not names(wish, "locks") and time.monotonic() < deadline:
        time.sleep(0.01)
    checking.kill()
    checking.wait()
    junk = [put(wish, "locks", data)[1] for data in (b"junk", os.urandom(500), b"")]
    note("locks", [len(names(wish, "locks")), junk])
    end(outcome="failed", exit=1, message="for today")
""", past(home, name))  # fmt: skip
    ends(home, name, "failed", 1, "for today")
    assert 4 == noted(source, "locks")[0], noted(source, "locks")
    assert not list((home.repository(name) / "locks").iterdir())
    repent(source)
    ends(home, name, "ok", 0)


def test_junk_beside_snapshots_and_index_stops_nothing(
    home: Pbs, name: str, source: SourceHost, folder: Path
) -> None:
    """T8, T9: files that no restic made are set aside and told; every snapshot restores, and the next run is ok."""
    first = ends(home, name, "ok", 0)["snapshot"]
    before = fingerprint(home.repository(name))
    lie(source, """
def job():
    greet()
    wish = request()
    snapshot = backup(wish)
    for kind in ("index", "snapshots"):
        for data in (b"junk", b"x" * 32, b"x" * 33, os.urandom(300), b"", os.urandom(3000000)):
            put(wish, kind, data)
    end(snapshot=snapshot)
""", past(home, name))  # fmt: skip
    ends(
        home,
        name,
        "refused",
        4,
        "6 index file(s) that no restic made",
        "6 snapshot(s) that the run did not name",
    )
    assert before.items() <= fingerprint(home.repository(name)).items()
    restored(home, name, source, folder / "one", first)
    lie(
        source,
        "def job():\n    greet()\n    wish = request()\n    put(wish, 'index', b'junk')\n    os.kill(os.getppid(), 9)",
    )
    ends(home, name, "failed", 1)
    repent(source)
    (source.data / "new").write_text("after the junk")
    ends(home, name, "ok", 0, "an earlier run left 1 index file(s) that no restic made")
    restored(home, name, source, folder / "two")
    assert "no restic made" not in ends(home, name, "ok", 0)["message"]


def test_a_run_that_is_cut_short_leaves_nothing_behind_that_counts(
    home: Pbs, name: str, source: SourceHost
) -> None:
    """What a source uploads in a run that then fails is never admitted, and told in the next run."""
    lie(source, "def job():\n    greet()\n    wish = request()\n    backup(wish)\n    raise SystemExit(9)")
    ends(home, name, "failed", 1, "exit 9")
    assert not ids(home, name, "admitted")
    repent(source)
    run = ends(home, name, "ok", 0)
    assert [run["snapshot"]] == ids(home, name, "admitted")
    assert 1 == len(ids(home, name, "quarantined"))


def test_lies_that_were_admitted_unread_are_found_and_taken_out(home: Pbs, folder: Path) -> None:
    """T1: with `admission = "structure"` a second home may bend old snapshots, until a check has read it; then they are whole."""
    with owned(home, folder, "--set", "admission=structure") as victim:
        (first,) = victim.known
        victim.attacked("attacks.second_home_sealed(forger, 2)", FAILS, outcomes=("failed",))
        code, said, told = here(home, "check", victim.name, "--read-data", "100%")
        assert 1 == code, told
        assert "2 damaged pack(s)" in said + told
        assert "what it holds is not what it says it holds" in said + told
        assert "no disk did this" in said + told
        assert "no errors were found" in home.restic("check", "--read-data", name=victim.name).stdout
        victim.restores(first)
        victim.honest()
        assert not [each for each in snapshots(home, victim.name) if each["damaged"]]


# What it says


NASTY = r"""
ESC = "\x1b[31mred\x1b]0;title\x07\x9b2J"
NASTY = [ESC, "<script>alert(1)</script>", "]]>", "\ufffe\uffff\x00", "\u202egnp.exe", "\ud800\udfff", "a\nb\r\nc",
         "%s%n{0}[bold]rich[/bold]", "\u2028x", "x" * 9000]
ODD = [None, True, False, -1, 0, 1.5, 1e308, float("inf"), float("nan"), 10 ** 30, 2 ** 63, -2 ** 63, "7", "", [], {},
       [[[[1]]]], {"a": {"b": []}}, NASTY[0], NASTY[1], NASTY[2], NASTY[3]]
FIELDS = ("percent", "files", "bytes", "total_files", "total_bytes", "seconds_left", "current", "path", "reason",
          "path_b64", "text", "self", "event", "time", "fields", "total_files_processed", "data_added", "message")
DEEP = b'{"event":"warning","path":' + b"[" * 30000 + b"]" * 30000 + b"}"


def nasty():
    for kind in ("progress", "warning", "summary", "log", "unknown", "stage", "ended", "begin"):
        for value in ODD:
            for field in FIELDS:
                if field != "event":
                    say(kind, **{field: value})
            say(kind, current=[value, value], **{"total_bytes": 5})
        for text in NASTY:
            say(kind, path=text, reason=text, text=text, message=text, current=[text], path_b64=text, stage=text)
        for junk in (b"\xff\xfe\n", b"\n\n\n", b"null\n", b"[]\n", b'"x"\n', b"{}\n", b'{"event":7}\n', DEEP + b"\n",
                     b'{"event":"progress","percent":' + b"9" * 5000 + b"}\n", b'{"event":"log","text":"\xff"}\n'):
            raw(junk)
    os.write(2, b"\x1b[2J<script>\xff\x00 on standard error\n" * 50)
"""


def clean(home: Pbs, name: str, run: str) -> None:
    """Log, feed, page and list of a run hold nothing that steers a terminal, breaks XML or is markup."""
    for words in (
        ("log", name),
        ("log", name, "--json"),
        ("runs", name),
        ("snapshots", name),
        ("runs", name, "--json"),
    ):
        code, said, told = here(home, *words)
        assert 0 == code, told
        found = [
            sign
            for sign in said + told
            if sign != "\n" and (sign < " " or "\x7f" <= sign <= "\x9f" or sign in "\u202e\u2028\ufffe")
        ]
        assert not found, (words, found)
    for item in items(home, name):
        assert "<script" not in item["description"]
        assert "\x1b" not in item["description"]
    page = OUR_SCRIPT.sub("", get(home, f"/runs/{run}").decode(), count=1)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\ufffe" not in page


def test_whatever_is_said_log_feed_and_page_are_clean(home: Pbs, name: str, source: SourceHost) -> None:
    """T20: wrong types, huge numbers, escapes, markup and broken text end in a run with an outcome, safe to look at."""
    lie(source, NASTY + """
def greet():
    hello(agent=ESC, restic="<script>", profile="\\x1b]0;x\\x07", free_bytes=10 ** 40, paths=NASTY[:9], words=ODD[:6])


def job():
    greet()
    wish = request()
    nasty()
    end(snapshot=backup(wish), message=ESC + "<script>", unreadable=-5, root={"mode": "x", "uid": -1})
""")  # fmt: skip
    run = ends(home, name, "partial", 3)
    clean(home, name, run["id"])
    assert run["bytes"] > 0
    done = home("log", name)
    assert "\x1b" not in done.stdout
    home("log", name, "-f")
    code, _, told = here(home, "restore", name, "--to", str(source.root / "out"))
    assert 0 == code, told


def test_every_kind_of_wrong_end_has_an_outcome(home: Pbs, name: str, source: SourceHost) -> None:
    """T21: an end that makes no sense is never `ok`, and never a fault of ours."""
    wrong = (
        "outcome=None", "outcome=['ok']", "outcome={}", "outcome='OK'", "outcome='\\x1b[31m'", "outcome='ok' * 20000",
        "outcome='failed', exit='x', message=ESC", "outcome='failed', exit=10**30, message=None", "exit=True, outcome=7",
        "outcome='failed', exit=75, message='<script>'", "outcome='refused', exit=-1, message=[ESC]",
        "snapshot='f' * 64, unreadable=float('nan'), root=[1]",
    )  # fmt: skip
    lie(
        source,
        NASTY
        + "def job():\n    greet()\n    request()\n    exec('end(' + open(ROOT + '/wrong').read() + ')')",
    )
    for fields in wrong:
        (source.root / "wrong").write_text(fields)
        run = home.pull(name, code=None)
        said = f"{fields[:40]}: {run['message']} / {run['hint']}"
        assert run["outcome"] in ("failed", "refused"), said
        assert "a fault of pbs" not in said
        assert run["hint"], said
    clean(home, name, run["id"])
    assert not ids(home, name, "admitted")


def test_every_kind_of_wrong_greeting_has_an_outcome(home: Pbs, name: str, source: SourceHost) -> None:
    """A first line that is no greeting, or one whose folder is a lie, fails or refuses the run; nothing is lent."""
    wrong = {
        "raw(b'{}\\n')": "prints text", "raw(b'\\x1b[2Jhello\\n')": "prints text", "raw(b'[' * 60000 + b'\\n')": "prints text",
        "raw(b'\\xff\\xfe\\x00\\n')": "prints text", "raise SystemExit(0)": "no agent answers", "say('end', outcome='ok')": "cannot begin", "say('end', outcome='refused', message=[ESC])": "refuses",
        "hello(socket_folder='relative')": "no absolute folder", "hello(socket_folder='/' + 'x' * 300)": "too long",
        "hello(socket_folder='/tmp/a\\nb')": "no absolute folder", "hello(socket_folder='/tmp/\\x00')": "no absolute folder",
        "hello(socket_folder='/tmp/\\x1b[2J')": "no absolute folder", "hello(socket_folder='/\\ud800')": "no absolute folder",
        "hello(socket_folder='')": "no absolute folder", "hello(socket_folder=7); end()": "the agent on",
        "hello(socket_folder=['/tmp']); end(outcome='failed', exit=69, message=ESC)": "lacks a tool",
        "hello(socket_folder='/proc')": "does not forward", "hello(socket_folder=ROOT + '/data/../nowhere')": "does not forward",
    }  # fmt: skip
    lie(source, NASTY + "def job():\n    exec(open(ROOT + '/wrong').read())\n    sys.stdin.readline()")
    for body, reason in wrong.items():
        (source.root / "wrong").write_text(body)
        run = home.pull(name, code=None)
        said = f"{body}: {run['message']} / {run['hint']}"
        assert run["outcome"] in ("failed", "refused"), said
        assert reason in said
        assert run["hint"], said
    clean(home, name, run["id"])


def test_a_flood_is_cut_off(home: Pbs, name: str, source: SourceHost) -> None:
    """T19: a line without end, a gigabyte of lines and endless complaints end the run soon, in bounded memory."""
    floods = {
        "while True:\n        raw(b'x' * 65536)": "without end",
        "while True:\n        raw(b'y\\n' * 32768)": "without end",
        'while True:\n        raw(b\'{"event":"warning","path":"z"}\\n\' * 1000)': "without end",
        "while True:\n        raw(b'\\n' * 65536)": "without end",
        "while True:\n        os.write(2, b'complaint\\n' * 6000)": "standard error without end",
    }
    for flood, reason in floods.items():
        lie(source, f"def job():\n    greet()\n    request()\n    {flood}\n")
        began = time.monotonic()
        ends(home, name, "failed", 1, reason)
        assert time.monotonic() - began < 60
    assert worker_peak(home) < MOST_WORKER_BYTES
    assert (home.home / f"var/log/runs/{name}").is_dir()
    assert sum(path.stat().st_size for path in (home.home / f"var/log/runs/{name}").iterdir()) < 400 << 20
    repent(source)
    ends(home, name, "ok", 0)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_silence_does_not_hold_a_run_for_ever(home: Pbs, source: SourceHost, folder: Path) -> None:
    """T19: an agent that never greets, never ends after its end, or never comes to an end of nothing, is let go of."""
    mute = "def job():\n    time.sleep(100)"
    lasting = (
        "def job():\n    greet()\n    wish = request()\n    end(snapshot=backup(wish))\n    time.sleep(100)"
    )
    folderless = "def job():\n    hello(socket_folder=None)\n    while True:\n        say('log')\n        time.sleep(0.5)"
    cases = {
        "mute": (mute, "failed", "said nothing within 30 s"),
        "lasting": (lasting, "ok", ""),
        "folderless": (folderless, "failed", "did not come to its end within 30 s"),
    }
    hosts: list[SourceHost] = []
    try:
        runs = {}
        for case, (body, _, _) in cases.items():
            host = SourceHost(folder / case)
            hosts.append(host)
            (host.data / "file").write_text("x")
            host.start()
            lie(host, body)
            name = fresh(case)
            add(home, name, host)
            runs[case] = ask(home, name)["id"]
        for case, run in runs.items():
            eventually(lambda run=run: state(home, run)["state"] == "ended", 150, case)
            ended = state(home, run)
            assert cases[case][1] == ended["outcome"], ended
            assert cases[case][2] in ended["message"], ended
    finally:
        for host in hosts:
            host.stop()
            for pid in processes(str(host.root)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


# What it reaches


def test_a_flood_of_connections_hurts_nobody_else(
    home: Pbs, name: str, source: SourceHost, folder: Path
) -> None:
    """T18: two hundred connections meet a cap; another source's pull finishes meanwhile, and so does the next of this one."""
    other = SourceHost(folder / "other")
    (other.data / "file").write_text("x" * 100_000)
    other.start()
    try:
        friend = fresh("friend")
        add(home, friend, other)
        lie(source, """
def job():
    greet()
    wish = request()
    links, refused = [], 0
    for number in range(200):
        link = Unix(wish["socket"])
        try:
            link.request("GET", "/config")
            answer = link.getresponse()
            answer.read()
            assert answer.status == 200
            links.append(link)
        except Exception:
            refused += 1
    note("held", [len(links), refused])
    while not os.path.exists(ROOT + "/go"):
        time.sleep(0.05)
    for link in links:
        link.close()
    end(snapshot=backup(wish))
""")  # fmt: skip
        run = ask(home, name)["id"]
        eventually((source.root / "held").exists, 60, "the flood")
        held, refused = noted(source, "held")
        assert held <= 32
        assert held + refused == 200
        ends(home, friend, "ok", 0)
        assert "running" == state(home, run)["state"]
        assert max(open_files(home)) < 200
        (source.root / "go").touch()
        eventually(lambda: state(home, run)["state"] == "ended", 60, "the flooder's end")
        assert "ok" == state(home, run)["outcome"], state(home, run)
    finally:
        other.stop()


def open_files(home: Pbs) -> list[int]:
    """How many descriptors each worker holds."""
    found = []
    for pid in processes(str(home.home), "worker"):
        with contextlib.suppress(OSError):
            found.append(len(os.listdir(f"/proc/{pid}/fd")))
    return found


def test_a_source_reaches_its_own_endpoint_and_nothing_else(
    home: Pbs, name: str, source: SourceHost, folder: Path
) -> None:
    """T25: an evil sshd that opens every kind of channel towards us reaches the lent socket alone, while it is lent."""
    ends(home, name, "ok", 0)
    source.stop()
    run_dir = home.home / "var/run"
    targets = [run_dir / "controller.sock", run_dir / "supervisor.sock", run_dir / f"endpoint/{name}.sock",
               *(run_dir / "endpoint").glob("*.sock")]  # fmt: skip
    answer = folder / "answer.json"
    script = Path(__file__).with_name("evil_sshd.py")
    command = [sys.executable, str(script), str(source.port), str(source.root / "host_key"), str(answer),
               str(home.port), *map(str, targets)]  # fmt: skip
    evil = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(source.port), what="the evil sshd")
        ends(home, name, "refused", 4, "names no snapshot")
        eventually(answer.exists, what="the answer of the evil sshd")
        told: dict[str, Any] = json.loads(answer.read_text())
        assert told.pop("lent").startswith("HTTP/1."), told
        assert len(told) > 8
        assert {False} == {bool(each.startswith("open")) for each in told.values()}, told
    finally:
        evil.kill()
        evil.wait()


def test_a_stolen_key_runs_words_and_nothing_else(home: Pbs, name: str, source: SourceHost) -> None:
    """T27: with the controller's own key an ordinary ssh client gets no shell, no command, no file of the source."""
    known = source.root / "known_hosts"
    known.write_text(f"[127.0.0.1]:{source.port} {host_key(source)}\n")
    user = getpass.getuser()
    base = ["ssh", "-F", "none", "-i", str(home.home / "etc/keys/ssh_ed25519"), "-p", str(source.port), "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes", f"{user}@127.0.0.1"]  # fmt: skip
    garbage = "".join(chr(33 + number * 7 % 94) for number in range(200))
    for command in (
        garbage,
        "ping; id",
        "ping ping",
        "PING",
        " ping",
        "$(id)",
        "\xe9" * 50,
        "backup\nid",
        "-",
    ):
        done = subprocess.run(
            [*base, "--", command], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
        assert 64 == done.returncode, (command, done)
        assert b"uid=" not in done.stdout + done.stderr
    shell = subprocess.run(base, input=b"id\n", capture_output=True, timeout=60, check=False)
    assert 64 == shell.returncode
    assert b"uid=" not in shell.stdout
    target = source.root / "precious"
    target.write_text("precious")
    bound = subprocess.run(
        [*base[:-1], "-o", "ExitOnForwardFailure=yes", "-R", f"{target}:/nonexistent", base[-1], "ping"],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    assert 255 == bound.returncode, bound
    assert "precious" == target.read_text()

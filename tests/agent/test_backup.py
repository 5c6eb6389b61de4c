"""The word `backup` with real programs: what comes out, and what every kind of trouble turns into."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow


def snapshots(place: Any) -> list[dict[str, Any]]:
    return json.loads(place.run_restic("snapshots", "--json"))


def test_ok(both: Any) -> None:
    """A backup ends ok, names its snapshot, and what comes back is equal byte by byte, below the folder itself."""
    both.repository()
    both.data.chmod(0o751)
    said = both.backup()
    assert (said.status, said.end["outcome"], said.end["unreadable"]) == (0, "ok", 0)
    assert [e["event"] for e in said.events if e["event"] != "progress"] == ["hello", "summary", "end"]
    (snapshot,) = snapshots(both)
    assert said.end["snapshot"] == snapshot["id"] == said.of("summary")[0]["snapshot_id"]
    assert (
        snapshot["tags"],
        snapshot["hostname"],
    ) == (["source=web", "run=20260101T000000Z-web-pull-abcd"], "web")
    both.run_restic("restore", snapshot["id"], "--target", str(both.root / "back"))
    assert (both.root / "back" / "one").read_bytes() == b"1\n"
    assert (both.data / "sub" / "two").read_bytes() == (both.root / "back" / "sub" / "two").read_bytes()
    found = both.data.stat()
    assert {
        "mode": 0o751,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime_ns": found.st_mtime_ns,
    } == said.end["root"]


def test_parent_and_flags(place: Any) -> None:
    """With a parent nothing is sent twice; without one restic looks for none, whatever the repository holds."""
    place.repository()
    first = place.backup().end["snapshot"]
    second = place.backup(parent=first, scan=False, ignore=["inode", "ctime"])
    assert (second.of("summary")[0]["files_unmodified"], second.of("summary")[0]["data_blobs"]) == (2, 0)
    assert first == snapshots(place)[1]["parent"]
    place.backup()
    assert "parent" not in snapshots(place)[2]


def test_several_paths(place: Any) -> None:
    """With `paths` each appears under its absolute path, files too, and there is no one root."""
    place.profile(f'paths = ["{place.data}/sub", "{place.data}/one"]', 'exclude = ["*.tmp"]', path=None)
    (place.data / "sub" / "x.tmp").write_text("no")
    place.repository()
    said = place.backup()
    assert (said.status, said.end["root"]) == (0, None)
    listed = place.run_restic("ls", said.end["snapshot"]).splitlines()
    assert {f"{place.data}/sub/two", f"{place.data}/one"} <= set(listed)
    assert f"{place.data}/sub/x.tmp" not in listed


def test_partial(place: Any) -> None:
    """An unreadable file makes the backup partial and is named; the rest is there."""
    place.as_ordinary_user()
    place.profile()
    (place.data / "secret").write_text("x")
    (place.data / "secret").chmod(0)
    place.own(place.data)
    place.repository()
    said = place.backup()
    assert (said.status, said.end["outcome"], said.end["unreadable"]) == (3, "partial", 1)
    (warning,) = said.of("warning")
    assert (str(place.data / "secret"), True) == (warning["path"], "permission denied" in warning["reason"])
    assert "one file or folder could not be read" in said.end["message"]
    assert said.end["snapshot"] == snapshots(place)[0]["id"]


def test_strange_names(place: Any) -> None:
    """Names that are not UTF-8, newlines, quotes: the reply stays JSON lines in ASCII, and the files come back."""
    names = [b"\xff\xfe", b"new\nline", b"quo\"te'", "ü".encode(), b"$(id)", b"-rf"]
    for name in names:
        Path(os.fsdecode(bytes(place.data) + b"/" + name)).write_bytes(name)
    place.repository()
    said = place.backup()
    place.run_restic("restore", said.end["snapshot"], "--target", str(place.root / "back"))
    assert set(names) <= {os.fsencode(f.name) for f in (place.root / "back").iterdir()}


def test_no_password(place: Any) -> None:
    """A null password means a repository without one, said by the server and never assumed."""
    place.run_restic("init", "--insecure-no-password", password="")
    place.repository(initialise=False)
    assert place.backup(password=None).status == 0


def test_no_writable_cache(place: Any) -> None:
    """Without a folder for its cache restic works without one."""
    (place.root / "file").write_text("")
    place.profile()
    text = (place.root / "web.toml").read_text().replace(f"{place.root}/cache", f"{place.root}/file/cache")
    (place.root / "web.toml").write_text(text)
    place.repository()
    assert place.backup().status == 0


def test_wrong_password(both: Any) -> None:
    """A password that does not open the repository fails with that sentence, and restic's words."""
    both.repository()
    said = both.backup(password="not-this-one")
    assert (said.status, said.end["outcome"], said.end["snapshot"]) == (1, "failed", None)
    assert "password" in said.end["message"]
    assert "restic said:" in said.end["message"]
    assert "not-this-one" not in json.dumps(said.events) + said.text


def test_unknown_parent(place: Any) -> None:
    """A parent that the repository does not hold fails and quotes restic."""
    place.repository()
    said = place.backup(parent="a" * 64)
    assert (said.status, "aaaaaaaa" in said.end["message"]) == (1, True)


def test_missing_repository(both: Any) -> None:
    """An endpoint without a repository is told apart from a dead one, before restic starts."""
    both.repository(initialise=False)
    said = both.backup()
    assert (said.status, "no repository" in said.end["message"]) == (1, True)
    assert said.seconds < 10


def test_dead_socket(both: Any) -> None:
    """A dead socket fails within seconds, where restic alone would try for 15 minutes."""
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(str(both.socket))
    said = both.backup()
    assert (said.status, "nobody answers" in said.end["message"]) == (1, True)
    assert said.seconds < 10
    assert both.socket.exists(), "the server's own socket is not ours to remove"


def test_absent_socket(place: Any) -> None:
    """A socket that was never forwarded fails and says who has to do what."""
    said = place.backup()
    assert (said.status, "no socket at" in said.end["message"]) == (1, True)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(b"", "no HTTP"), (b"SSH-2.0-x\r\n", "no HTTP"), (b"HTTP/1.1 401 Unauthorized\r\n", "HTTP 401")],
)
def test_strange_answers(place: Any, answer: bytes, expected: str) -> None:
    """Whatever answers instead of an endpoint is named before restic starts."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place.socket))
        server.listen()
        agent = place.start("backup")
        agent.ask(place.request())
        link, _ = server.accept()
        link.recv(4096)
        link.sendall(answer)
        link.close()
        said = agent.finish()
    assert (said.status, expected in said.end["message"]) == (1, True)


def test_a_tunnel_that_says_nothing(place: Any) -> None:
    """Something that accepts and is silent does not hold the agent."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place.socket))
        server.listen()
        said = place.backup()
    assert (said.status, said.seconds < 12) == (1, True)


def _elsewhere(place: Any) -> str:
    return str(place.root / "run1.sock")


def _through_dots(place: Any) -> str:
    return f"{place.sockets}/../s/run1.sock"


def _below(place: Any) -> str:
    return f"{place.sockets}/sub/run1.sock"


def _symlink(place: Any) -> str:
    (place.sockets / "link.sock").symlink_to("/var/run/docker.sock")
    return str(place.sockets / "link.sock")


@pytest.mark.parametrize("make", [_elsewhere, _through_dots, _below, _symlink])
def test_foreign_sockets(place: Any, make: Callable[[Any], str]) -> None:
    """A server gone bad cannot point restic at any other socket of the source."""
    said = place.backup(socket=make(place))
    assert (said.status, said.end["outcome"], "socket" in said.end["message"]) == (65, "failed", True)


@pytest.mark.parametrize(
    "line",
    [b"\n", b"[]\n", b"{}\n", b"not json\n", b"\xff\xfe\n", b"[" * 60_000 + b"\n", b'{"protocol":1}\n'],
)
def test_garbage_requests(both: Any, line: bytes) -> None:
    """Garbage instead of a request ends as a bad request, quickly, with a message."""
    agent = both.start("backup")
    agent.send(line)
    said = agent.finish()
    assert (said.status, said.end["outcome"], bool(said.end["message"])) == (65, "failed", True)


def test_an_endless_request(place: Any) -> None:
    """A request without end is cut off at its limit."""
    agent = place.start("backup")
    with contextlib.suppress(BrokenPipeError):
        for _ in range(64):
            agent.send(b"x" * 65536)
    said = agent.finish()
    assert (said.status, "longer than" in said.end["message"]) == (65, True)


def test_other_protocol(place: Any) -> None:
    """A server of another protocol learns both versions."""
    said = place.backup(protocol=2)
    assert (
        said.status,
        "version 2" in said.end["message"] and "version 1" in said.end["message"],
    ) == (65, True)


def test_later_fields_are_ignored(place: Any) -> None:
    """A newer server may say more than this agent knows."""
    place.repository()
    assert place.backup(something_new={"a": [1]}).status == 0


def test_busy(place: Any) -> None:
    """A second backup of a profile is busy while the first one runs, and possible after it."""
    place.repository()
    first = place.slow_backup()
    assert ((said := place.backup()).status, said.end["outcome"]) == (75, "failed")
    first.hang_up()
    first.process.wait(10)
    (place.data / "large").unlink()
    assert place.backup().status == 0


def test_password_stays_in_the_pipe(place: Any) -> None:
    """While restic runs the password is in no argument, no environment and no file; nor is a planted one used."""
    place.repository()
    agent = place.slow_backup()
    password = place.request()["password"].encode()
    for pid in [agent.process.pid, *place.restics(agent)]:
        assert password not in Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert password not in environment
        assert pid == agent.process.pid or b"planted" not in environment
    files = [f for top in ("cache", "s") for f in (place.root / top).rglob("*") if f.is_file()]
    assert not [f for f in files if password in f.read_bytes()]
    agent.process.kill()


def test_child_environment(place: Any) -> None:
    """restic's environment is ours alone: nothing of the session's reaches it."""
    place.repository()
    agent = place.slow_backup()
    (restic,) = place.restics(agent)
    names = {v.partition(b"=")[0] for v in Path(f"/proc/{restic}/environ").read_bytes().split(b"\0") if v}
    assert names <= {b"PATH", b"HOME", b"LC_ALL", b"TMPDIR", b"RESTIC_PROGRESS_FPS"}
    agent.process.kill()


def test_progress_is_rare(place: Any) -> None:
    """Progress comes about once a second however fast restic is."""
    place.repository()
    agent = place.slow_backup()
    with contextlib.suppress(subprocess.TimeoutExpired):
        agent.process.wait(3)
    agent.hang_up()
    said = agent.finish()
    assert 2 <= len(said.of("progress")) <= 7
    assert {
        "event",
        "percent",
        "files",
        "bytes",
        "total_files",
        "total_bytes",
        "current",
        "seconds_left",
    } == set(said.of("progress")[-1])


def test_dead_sockets_are_cleared(place: Any) -> None:
    """A backup clears what earlier tunnels left behind, and nothing else."""
    for name in ("old1.sock", "old2.sock"):
        with socket.socket(socket.AF_UNIX) as link:
            link.bind(str(place.sockets / name))
    (place.sockets / "file").write_text("keep")
    place.repository()
    assert place.backup().status == 0
    assert sorted(f.name for f in place.sockets.iterdir()) == ["file", "run1.sock", "web.lock"]


def test_own_socket_folder_is_not_backed_up(place: Any) -> None:
    """A folder of sockets below the path is refused with the way out, which works."""
    text = (place.root / "web.toml").read_text()
    (place.root / "web.toml").write_text(text.replace(f'path = "{place.data}"', f'path = "{place.root}"'))
    said = place.backup()
    assert (said.status, "exclude" in said.end["message"]) == (1, True)
    assert place.say("ping").status == 1
    with (place.root / "web.toml").open("a") as profile:
        profile.write(f'exclude = ["{place.sockets}", "repo"]\n')
    place.repository()
    assert place.backup().status == 0


def _hook(place: Any, code: str) -> str:
    return json.dumps([sys.executable, "-c", code.replace("LOG", repr(str(place.root / "log")))])


WRITE = "import os; open(LOG, 'a').write('{} ' + os.environ['PBS_RUN'][:4] + '\\n'); print('{} speaks')"


def test_hooks_around_a_good_backup(place: Any) -> None:
    """before and after run around a backup; their output goes to standard error, never into the reply."""
    hooks = [f"{k} = {_hook(place, WRITE.replace('{}', k))}" for k in ("before", "after", "on_failure")]
    place.profile("[hooks]", *hooks)
    place.repository()
    said = place.backup()
    assert (said.status, (place.root / "log").read_text()) == (0, "before 2026\nafter 2026\n")
    assert "before speaks" in said.text


def test_hook_before_fails(place: Any) -> None:
    """No backup is made when before fails; on_failure runs, after does not."""
    before = _hook(place, "import sys; sys.exit('the database is down')")
    rest = [f"{k} = {_hook(place, WRITE.replace('{}', k))}" for k in ("after", "on_failure")]
    place.profile("[hooks]", f"before = {before}", *rest)
    place.repository()
    said = place.backup()
    assert (said.status, "the database is down" in said.end["message"]) == (1, True)
    assert (place.root / "log").read_text() == "on_failure 2026\n"
    assert snapshots(place) == []


def test_hook_takes_too_long(place: Any) -> None:
    """A hook that exceeds its time is ended and named."""
    place.profile("[hooks]", f"before = {_hook(place, 'import time; time.sleep(60)')}", "before_timeout = 1")
    place.repository()
    said = place.backup()
    assert (said.status, "longer than 1 seconds" in said.end["message"]) == (1, True)
    assert said.seconds < 15


def test_hook_after_fails(place: Any) -> None:
    """A failing after leaves the snapshot, and the outcome is partial: less than ok has another name."""
    place.profile("[hooks]", f"after = {_hook(place, 'import sys; sys.exit(9)')}")
    place.repository()
    said = place.backup()
    assert (said.status, "hook after ended with status 9" in said.end["message"]) == (3, True)
    assert said.end["snapshot"] == snapshots(place)[0]["id"]


def test_a_hook_that_cannot_start(place: Any) -> None:
    """A hook that is not there fails the backup with its name."""
    place.profile("[hooks]", 'before = ["/no/such/program"]')
    place.repository()
    said = place.backup()
    assert (said.status, "hook before could not be started" in said.end["message"]) == (1, True)

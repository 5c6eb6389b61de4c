"""What a snapshot holds, over HTTP: listed, taken out byte for byte, mounted; and nothing else of this machine."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from shared import add, fresh, here, http
from stage import Pbs, SourceHost, eventually, grow, processes, short_folder

pytestmark = pytest.mark.slow
ESCAPES = b"\x1b]0;owned\x07 \x1b[31mred\r\n<script>alert(1)</script>"


@pytest.fixture(scope="module")
def source() -> Iterator[SourceHost]:
    """One source for the tests of this module."""
    with short_folder() as folder:
        host = SourceHost(folder / "src")
        host.start()
        yield host
        host.stop()


@pytest.fixture(scope="module")
def name(home: Pbs, source: SourceHost) -> str:
    """A source with one snapshot of a small and awkward tree."""
    grow(source.data, files=20, size=5000)
    (source.data / "large").write_bytes(os.urandom(3 << 20))
    (source.data / os.fsdecode(ESCAPES.replace(b"/", b"|"))).write_bytes(b"escapes")
    (source.data / "page.html").write_text("<script>alert(1)</script>")
    os.mkfifo(source.data / "fifo")
    name = fresh("data")
    add(home, name, source)
    home.pull(name)
    return name


def at(name: str, what: str, path: bytes | str = b"/", *more: str) -> str:
    """The address of a place in the newest snapshot."""
    raw = os.fsencode(path)
    try:
        spot = "path=" + quote(raw.decode(), safe="")
    except UnicodeDecodeError:
        spot = "path_b64=" + quote(base64.b64encode(raw).decode(), safe="")
    return f"/api/v1/sources/{name}/snapshots/latest/{what}?" + "&".join((spot, *more))


def tree(home: Pbs, name: str, path: bytes | str = b"/", *more: str) -> dict[str, Any]:
    """A listing."""
    status, _, body = http(home, "GET", at(name, "tree", path, *more))
    assert 200 == status, body
    found: dict[str, Any] = json.loads(body)
    return found


def names(entries: list[dict[str, Any]]) -> set[bytes]:
    """The exact names of entries."""
    return {
        os.path.basename(
            base64.b64decode(each["path_b64"]) if each["path_b64"] else os.fsencode(each["path"])
        )
        for each in entries
    }


def test_a_folder_is_listed_as_it_is(home: Pbs, name: str, source: SourceHost) -> None:
    """Each name is there, byte by byte, with type and size; page after page gives the same; `ls --json` says the same."""
    found = tree(home, name)
    assert set(os.listdir(os.fsencode(source.data))) == names(found["entries"])
    assert found["next"] is None
    types = {each["path"]: (each["type"], each["size"]) for each in found["entries"]}
    assert ("file", 3 << 20) == types["/large"]
    assert "fifo" == types["/fifo"][0]
    paged, after = [], 0
    while after is not None:
        part = tree(home, name, b"/", "limit=3", f"after={after}")
        assert len(part["entries"]) <= 3
        paged += part["entries"]
        after = part["next"]
    assert found["entries"] == paged
    assert [] == tree(home, name, b"/", "after=100000")["entries"]
    assert found["entries"] == json.loads(here(home, "ls", name, "--json")[1])["entries"]
    assert [types["/large"]] == [
        (each["type"], each["size"]) for each in tree(home, name, "/large")["entries"]
    ]
    body = http(home, "GET", at(name, "tree"))[2]
    assert b"\x1b" not in body
    assert b"\xff" not in body


def test_a_file_is_taken_out_byte_by_byte(home: Pbs, name: str, source: SourceHost) -> None:
    """A file comes as it was backed up, whatever its name, never as a page; HEAD tells its size and costs nothing."""
    for path in (p for p in Path(os.fsencode(source.data).decode("utf-8", "surrogateescape")).rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        inside = b"/" + os.path.relpath(os.fsencode(path), os.fsencode(source.data))
        if inside.count(b"/") > 1 and not inside.startswith(b"/d0"):
            continue
        status, headers, body = http(home, "GET", at(name, "file", inside))
        assert (200, path.read_bytes()) == (status, body), inside
        assert "application/octet-stream" == headers["content-type"]
        assert headers["content-disposition"].startswith("attachment; ")
        assert "sandbox" in headers["content-security-policy"]
        assert "nosniff" == headers["x-content-type-options"]
        assert headers["content-disposition"].isascii()
        assert headers["content-disposition"].isprintable()
    status, headers, body = http(home, "HEAD", at(name, "file", "/large"))
    assert (200, str(3 << 20), b"") == (status, headers["content-length"], body)


def test_a_folder_is_taken_out_as_a_tar(home: Pbs, name: str, source: SourceHost) -> None:
    """A folder comes as a tar that holds exactly what it held; so does the whole snapshot."""
    for inside in ("/d0", "/"):
        status, headers, body = http(home, "GET", at(name, "file", inside))
        assert 200 == status
        assert headers["content-disposition"].endswith(".tar")
        root = source.data / inside.strip("/")
        with tarfile.open(fileobj=io.BytesIO(body), encoding="utf-8", errors="surrogateescape") as tar:
            held = {each.name.strip("/"): each for each in tar.getmembers()}
            prefix = inside.strip("/")
            seen = 0
            for path in root.rglob("*"):
                member = held.get(os.path.join(prefix, str(path.relative_to(root))).strip("/"))
                if path.is_file() and not path.is_symlink():
                    assert member is not None, (path, sorted(held))
                    if member.isreg():
                        file = tar.extractfile(member)
                        assert file is not None
                        assert path.read_bytes() == file.read()
                        seen += 1
        assert seen >= 4


def test_what_is_not_there_is_refused_in_every_place(home: Pbs, name: str) -> None:
    """No path, id or name leads out of the snapshot of a source; what is no file says so."""
    for path in ("/../../etc/passwd", "/..", "/d0/../../etc/passwd", "/nothing", "/large/x", "/d0/../nothing", "//etc/passwd",
                 "/%2e%2e", "/" + "x" * 4000, "/\x1b[31m", "/link", "/fifo"):  # fmt: skip
        status, _, body = http(home, "GET", at(name, "file", path))
        if path == "/..":  # normal form: the root itself
            assert 200 == status
            continue
        assert 404 == status, (path, body[:200])
        assert {"code", "message", "hint"} == set(json.loads(body)["error"])
        assert b"\\u001b" not in body
    for spot in (
        "path=etc",
        "path=",
        "path=%00",
        "path=/%00",
        "path_b64=x",
        "path_b64=L2V0YwA",
        "path=/&path=/",
        "limit=1",
    ):
        assert 400 == http(home, "GET", f"/api/v1/sources/{name}/snapshots/latest/file?{spot}")[0], spot
    for spot in ("path_b64=ZXRj", "path_b64=", "path_b64=LwA%3D"):  # no slash before it; empty; with a NUL
        assert 404 == http(home, "GET", f"/api/v1/sources/{name}/snapshots/latest/file?{spot}")[0], spot
    for where in (
        "nobody/snapshots/latest",
        "..%2f..%2fetc/snapshots/latest",
        f"{name}/snapshots/{'0' * 64}",
        f"{name}/snapshots/{'0' * 8}",
    ):
        for what in ("", "/tree", "/file"):
            assert 404 == http(home, "GET", f"/api/v1/sources/{where}{what}")[0], where
    for identity in (
        "0",
        "LATEST",
        "..",
        "..%2f..",
        "%00",
        "latest%00",
        "a" * 65,
        "latest:",
        "0" * 8 + ":d0",
    ):
        status = http(home, "GET", f"/api/v1/sources/{name}/snapshots/{identity}/tree")[0]
        assert status in (400, 404, 405), identity


def test_contents_are_for_operators(home: Pbs, name: str) -> None:
    """A viewer sees that there are snapshots, not what is in them, and mounts nothing; what an operator took out is written down."""
    secret = json.loads(here(home, "token", "add", fresh("eyes"), "--json")[1])["token"]
    ask = {"tcp": True, "Authorization": f"Bearer {secret}"}
    assert 200 == http(home, "GET", f"/api/v1/sources/{name}/snapshots", **ask)[0]  # type: ignore[arg-type]
    assert 200 == http(home, "GET", f"/api/v1/sources/{name}/snapshots/latest", **ask)[0]  # type: ignore[arg-type]
    for path in (at(name, "tree"), at(name, "file", "/large"), "/api/v1/mounts"):
        assert 403 == http(home, "GET", path, **ask)[0]  # type: ignore[arg-type]
    http(home, "GET", at(name, "file", "/page.html"))

    def written() -> bool:
        entry = json.loads(http(home, "GET", "/api/v1/audit?limit=1")[2])["entries"][0]
        return ("socket", "/page.html", 200) == (entry["who"], entry["asked"].get("path"), entry["status"])

    eventually(written, what="the entry")


def test_a_download_that_nobody_reads_ends(home: Pbs, name: str) -> None:
    """Whoever goes away in the middle leaves nothing running; the repository is free at once."""
    import socket

    for _ in range(6):  # more than may look at a time
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(home.home / "var/run/controller.sock"))
            link.sendall(f"GET {at(name, 'file', '/')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b" 200 " in link.recv(1024)
    eventually(lambda: not processes("restic", str(home.home), "dump"), what="the end of restic")

    def written() -> bool:
        entries = json.loads(http(home, "GET", "/api/v1/audit?limit=6")[2])["entries"]
        return [("/", True)] * 6 == [
            (each["asked"].get("path"), each["status"] in (200, 499)) for each in entries
        ]

    eventually(written, what="the entries of all six")
    assert 200 == http(home, "GET", at(name, "file", "/large"))[0]


def test_a_log_is_read_part_by_part(home: Pbs, name: str) -> None:
    """The events of a run come in parts that follow each other; runs can be chosen by what they are."""
    run = json.loads(http(home, "GET", f"/api/v1/runs?source={name}&kind=pull&outcome=ok&state=ended")[2])[
        "runs"
    ][0]
    whole = json.loads(http(home, "GET", f"/api/v1/runs/{run['id']}/log")[2])
    events: list[Any] = []
    after = 0
    while part := json.loads(http(home, "GET", f"/api/v1/runs/{run['id']}/log?limit=3&after={after}")[2])[
        "events"
    ]:
        events += part
        after = json.loads(http(home, "GET", f"/api/v1/runs/{run['id']}/log?limit=3&after={after}")[2])[
            "next"
        ]
    assert whole["events"] == events
    assert after == whole["next"]
    assert "ended" == events[-1]["event"]
    assert [] == json.loads(http(home, "GET", f"/api/v1/runs?source={name}&outcome=failed")[2])["runs"]
    assert [] == json.loads(http(home, "GET", f"/api/v1/runs?source={name}&before={run['id']}")[2])["runs"]
    assert 404 == http(home, "GET", "/api/v1/runs?before=x")[0]
    assert 400 == http(home, "GET", "/api/v1/runs?kind=x")[0]


def test_a_feed_that_is_known_is_not_sent_again(home: Pbs, name: str) -> None:
    """A reader that has the feed is told so in a few bytes, until it changes; HEAD tells what GET would."""
    path = f"/feeds/{name}.xml"
    status, headers, body = http(home, "GET", path)
    assert 200 == status
    for known in ({"If_None_Match": headers["etag"]}, {"If_None_Match": f'"x", {headers["etag"]}'},
                  {"If_Modified_Since": headers["last-modified"]}):  # fmt: skip
        assert (304, b"") == http(home, "GET", path, **known)[::2]
    assert 200 == http(home, "GET", path, If_None_Match='"x"', If_Modified_Since=headers["last-modified"])[0]
    status, told, nothing = http(home, "HEAD", path)
    assert (200, b"", headers["etag"], str(len(body))) == (
        status,
        nothing,
        told["etag"],
        told["content-length"],
    )


def test_a_source_is_mounted_and_let_go(home: Pbs, name: str, source: SourceHost) -> None:
    """A mount made over HTTP shows the snapshot, is listed, is there once, and goes when asked to."""
    status, _, body = http(
        home, "POST", "/api/v1/mounts", json.dumps({"source": name, "seconds": 120}).encode()
    )
    assert 201 == status, body
    place = json.loads(body)["mounts"][0]
    assert (source.data / "large").read_bytes() == (Path(place["directory"]) / "latest/large").read_bytes()
    assert [place] == json.loads(http(home, "GET", "/api/v1/mounts")[2])["mounts"]
    assert 409 == http(home, "POST", "/api/v1/mounts", json.dumps({"source": name}).encode())[0]
    assert {"remarks": []} == json.loads(http(home, "DELETE", f"/api/v1/mounts/{name}")[2])
    assert 404 == http(home, "DELETE", f"/api/v1/mounts/{name}")[0]
    assert [] == json.loads(http(home, "GET", "/api/v1/mounts")[2])["mounts"]


def test_a_download_that_fails_is_seen_to_fail(home: Pbs, name: str) -> None:
    """Where the repository lost data, nobody gets half a file or tar that looks whole: a refusal, or a line that is cut.

    It stands last: the tests before it read what it damages.
    """
    for pack in home.repository(name).glob("data/*/*"):
        if pack.stat().st_size > 1 << 20:  # content alone: folders lie in packs of their own
            pack.chmod(0o600)
            os.truncate(pack, 1000)
    refused = cut = 0
    for inside in ("/large", "/"):
        try:
            status, _, body = http(home, "GET", at(name, "file", inside))
        except (IncompleteRead, ConnectionError):
            cut += 1
        else:
            assert status >= 400, (inside, len(body))
            assert {"code", "message", "hint"} == set(json.loads(body)["error"])
            refused += 1
    assert (1, 1) == (refused, cut)
    assert 200 == http(home, "GET", at(name, "tree"))[0]

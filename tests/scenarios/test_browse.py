"""A person who needs a file: folders of any size, names searched for, versions over time, two snapshots compared."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from shared import add, fresh, here, http, refused_here
from stage import Pbs, SourceHost, eventually, processes, short_folder

from pbs.restore.compare import Rules, compare

pytestmark = pytest.mark.slow
HOSTILE = b"<script>alert(1)</script>\n\"'\xff.txt".replace(b"/", b"|")


def picture() -> bytes:
    """A PNG of one pixel."""
    parts = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\xff\0\0")),
        (b"IEND", b""),
    ):
        parts += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return parts


LOOKS = {
    "page.html": b"<script>alert(1)</script>",
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "noise": bytes(range(256)) * 10,
    "long.words": b"words\n" * 20_000,
    "old.words": "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1"),
    "real.words": picture(),
    "fake.png": b"<script>alert(1)</script>",
}


@dataclass
class Past:
    """A source with three snapshots, and what its files held at each of them."""

    name: str
    root: Path
    snapshots: list[str]
    contents: dict[bytes, list[bytes | None]]


@pytest.fixture(scope="module")
def past(home: Pbs) -> Iterator[Past]:
    """Three pulls, between which files came, changed and went."""
    with short_folder() as folder:
        host = SourceHost(folder / "src")
        host.start()
        name = fresh("past")
        add(home, name, host)
        contents: dict[bytes, list[bytes | None]] = {
            b"/docs/report.txt": [b"first draft", b"second draft", b"final!draft!"],
            b"/docs/same.txt": [b"same"] * 3,
            b"/docs/late.txt": [None, b"late", b"late"],
            b"/docs/gone.txt": [b"gone", None, None],
            # Its size and time of change are put back each time.
            b"/docs/sly.bin": [b"aaaa", b"bbbb", b"bbbb"],
            b"/odd/" + HOSTILE: [b"one", b"two", b"two"],
            b"/odd/deeper [1]*/\\x?": [b"x", b"x", b"y"],
        }
        for word, data in LOOKS.items():
            write(host.data, f"/look/{word}".encode(), data)
        snapshots = []
        for number in range(3):
            for path, versions in contents.items():
                write(host.data, path, versions[number])
            snapshots.append(str(home.pull(name)["snapshot"]))
        host.stop()
        yield Past(name, host.data, snapshots, contents)


def write(root: Path, path: bytes, content: bytes | None) -> None:
    """A file as it is at a moment; one that is the same is left alone."""
    place = Path(os.fsdecode(os.fsencode(root) + path))
    place.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        place.unlink(missing_ok=True)
    elif not place.exists() or place.read_bytes() != content:
        place.write_bytes(content)
        if place.name == "sly.bin":
            os.utime(place, (1_000_000_000, 1_000_000_000))


def spot(path: bytes) -> dict[str, str]:
    """How a path is asked for."""
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        return {"path_b64": base64.b64encode(path).decode()}


def ask(home: Pbs, name: str, what: str, **asked: str) -> Any:
    """What the service answers about a source."""
    query = urlencode(asked, quote_via=quote)
    status, _, body = http(home, "GET", f"/api/v1/sources/{name}/{what}?{query}")
    assert 200 == status, body
    return json.loads(body)


def taken(home: Pbs, past: Past, snapshot: str, path: bytes, **more: str) -> bytes:
    """A file, or a folder as an archive, as it is taken out."""
    query = urlencode(spot(path) | more, quote_via=quote)
    status, _, body = http(home, "GET", f"/api/v1/sources/{past.name}/snapshots/{snapshot}/file?{query}")
    assert 200 == status, body
    return body


def test_every_version_of_a_file_is_told_and_comes_back(home: Pbs, past: Past) -> None:
    """Each distinct version once, newest first, with the snapshots that hold it; taken out, it is what was written then.

    A file whose size and date were put back is another version all the same; a path is told byte by byte.
    """
    for path, contents in past.contents.items():
        found = ask(home, past.name, "versions", **spot(path))
        assert (3, None) == (found["looked"], found["next"])
        told = [[each["id"] for each in version["snapshots"]] for version in found["versions"]]
        expected: dict[bytes, list[str]] = {}
        for snapshot, content in reversed(list(zip(past.snapshots, contents, strict=True))):
            if content is not None:
                expected.setdefault(content, []).append(snapshot)
        assert list(expected.values()) == told, path
        for version, content in zip(found["versions"], expected, strict=True):
            assert len(content) == version["size"]
            assert path == (base64.b64decode(version["path_b64"] or b"") or version["path"].encode())
            for snapshot in version["snapshots"]:
                assert content == taken(home, past, snapshot["id"], path)
        without = [
            snapshot for snapshot, content in zip(past.snapshots, contents, strict=True) if content is None
        ]
        assert without[::-1] == [each["id"] for each in found["without"]]


def test_an_archive_holds_what_the_folder_held(home: Pbs, past: Past, tmp_path: Path) -> None:
    """A whole snapshot as a tar, and a folder as a zip, unpack to the same names, byte for byte; a tar keeps modes and owners."""
    latest = past.snapshots[2]
    for archive, inside in (("tar", ""), ("zip", "docs"), ("zip", "look")):
        place = tmp_path / f"{archive}-{inside}"
        place.mkdir()
        packed = place.with_suffix(f".{archive}")
        packed.write_bytes(taken(home, past, latest, f"/{inside}".encode(), archive=archive))
        if archive == "tar":
            subprocess.run(["tar", "-xpf", packed, "-C", place], check=True, capture_output=True)
            rules = Rules(times=False, links=False, attributes=False)
        else:
            zipfile.ZipFile(packed).extractall(place)
            rules = Rules(owners=False, times=False, modes=False, attributes=False, links=False)
        found = compare(past.root / inside, place / inside, rules)
        assert not found, found
        assert found.names > 2


def test_the_verb_tells_the_same_versions(home: Pbs, past: Past) -> None:
    """`pbs versions` says what the API says; what no snapshot holds is said to be held by none."""
    code, said, _ = here(home, "versions", past.name, "/docs/report.txt", "--json")
    assert (0, ask(home, past.name, "versions", path="/docs/report.txt")) == (code, json.loads(said))
    code, said, told = here(home, "versions", past.name, "/docs/late.txt")
    assert (0, 2) == (code, len(said.splitlines()))
    code, said, told = here(home, "versions", past.name, "/nothing\x1b[31m")
    assert (0, "") == (code, said)
    assert "no snapshot" in told
    assert "\x1b" not in told
    refused_here(home, "versions", "nobody", "/x", code=7)
    refused_here(home, "versions", past.name, "x", code=2)


def test_a_name_is_found_in_all_snapshots(home: Pbs, past: Past) -> None:
    """A part of a name finds it, also where only an old snapshot has it; a folder does not drag in all below it."""
    found = {each["path"]: each for each in ask(home, past.name, "find", text="TXT")["matches"]}
    assert {"/docs/report.txt", "/docs/same.txt", "/docs/late.txt", "/docs/gone.txt"} < set(found)
    assert 5 == len(found)
    assert (past.snapshots[0], 1) == (
        found["/docs/gone.txt"]["snapshot"],
        found["/docs/gone.txt"]["snapshots"],
    )
    assert (past.snapshots[2], 3) == (
        found["/docs/same.txt"]["snapshot"],
        found["/docs/same.txt"]["snapshots"],
    )
    assert [False] == [each["exact"] for path, each in found.items() if "script" in path]
    for text, paths in {
        "docs": {"/docs"}, "/docs/": {path.decode() for path in past.contents if path.startswith(b"/docs")},
        "deeper [1]": {"/odd/deeper [1]*"}, "\\x": {"/odd/deeper [1]*/\\x?"}, "nowhere": set(), "*.bin": {"/docs/sly.bin"},
        "-x": set(), "--json": set(),
    }.items():  # fmt: skip
        found = ask(home, past.name, "find", text=text)
        assert (paths, 3, None, False) == (
            {each["path"] for each in found["matches"]},
            found["looked"],
            found["next"],
            found["cut"],
        ), text
    code, said, _ = here(home, "find", past.name, "docs", "--json")
    assert (0, ask(home, past.name, "find", text="docs")) == (code, json.loads(said))
    assert 0 == here(home, "find", past.name, "script")[0]


def test_a_search_says_what_it_left_out(home: Pbs, past: Past) -> None:
    """Where there is more than was asked for, it says so; going on behind a snapshot looks at the older ones alone."""
    found = ask(home, past.name, "find", text="txt", limit="2")
    assert (2, True, 1, past.snapshots[2]) == (
        len(found["matches"]),
        found["cut"],
        found["looked"],
        found["next"],
    )
    older = ask(home, past.name, "find", text="txt", before=past.snapshots[2])
    assert 2 == older["looked"]
    assert "/docs/gone.txt" in {each["path"] for each in older["matches"]}
    last = ask(home, past.name, "versions", path="/docs/report.txt", before=past.snapshots[1])
    assert [past.snapshots[0]] == [
        each["id"] for version in last["versions"] for each in version["snapshots"]
    ]
    for query in ("text=", "text=*", "text=%00", "text=x&before=latest", "text=x&limit=0", "txt=x"):
        assert 400 == http(home, "GET", f"/api/v1/sources/{past.name}/find?{query}")[0], query
    assert 404 == http(home, "GET", f"/api/v1/sources/{past.name}/find?text=x&before={'0' * 64}")[0]
    assert 404 == http(home, "GET", "/api/v1/sources/nobody/find?text=x")[0]
    assert 404 == http(home, "GET", "/api/v1/sources/nobody/versions?path=/x")[0]


def test_two_snapshots_are_compared(home: Pbs, past: Past) -> None:
    """What came, went and changed, each once; in parts it is the same; the other way round, what came went."""
    first, last = past.snapshots[0], past.snapshots[2]
    found = ask(home, past.name, "differences", older=first, newer=last)
    kinds = {each["path"]: each["change"] for each in found["changes"] if not each["folder"]}
    assert {"/docs/report.txt": "changed", "/docs/late.txt": "added", "/docs/gone.txt": "removed",
            "/docs/sly.bin": "changed"}.items() <= kinds.items()  # fmt: skip
    assert "/docs/same.txt" not in kinds
    assert (True, None, 1, 1) == (
        found["whole"],
        found["next"],
        found["counts"]["added"],
        found["counts"]["removed"],
    )
    assert sum(found["counts"].values()) == len(found["changes"])
    paged: list[Any] = []
    after = 0
    while after is not None:
        part = ask(home, past.name, "differences", older=first, newer=last, limit="3", after=str(after))
        assert found["counts"] == part["counts"]
        paged += part["changes"]
        after = part["next"]
    assert found["changes"] == paged
    back = {each["path"]: each["change"] for each in ask(home, past.name, "differences", older=last, newer=first)["changes"]}  # fmt: skip
    assert ("removed", "added") == (back["/docs/late.txt"], back["/docs/gone.txt"])
    code, said, told = here(home, "diff", past.name, first[:8], "latest")
    assert 0 == code
    assert {"+ /docs/late.txt", "- /docs/gone.txt", "M /docs/report.txt"} <= set(said.splitlines())
    assert "1 added" in told
    assert [] == ask(home, past.name, "differences", older=last)["changes"]
    assert 404 == http(home, "GET", f"/api/v1/sources/{past.name}/differences?older={'0' * 64}")[0]
    refused_here(home, "diff", past.name, first, "0" * 64, code=7)


def test_a_folder_is_sorted_and_kept(home: Pbs, past: Past) -> None:
    """A folder comes in the order that is asked for; looked at again it needs no restic and no repository; purged it is gone."""
    snapshot = past.snapshots[0]
    sizes = [each["size"] for each in ask(home, past.name, f"snapshots/{snapshot}/tree", path="/docs", sort="size")["entries"]]  # fmt: skip
    assert sorted(sizes) == sizes
    assert sizes[::-1] == [
        each["size"]
        for each in ask(
            home, past.name, f"snapshots/{snapshot}/tree", path="/docs", sort="size", order="down"
        )["entries"]
    ]
    repository = home.repository(past.name)
    aside = repository.with_name("aside")
    repository.rename(aside)
    try:
        found = ask(home, past.name, f"snapshots/{snapshot}/tree", path="/docs", limit="2", sort="name")
        assert (2, 2, 4) == (len(found["entries"]), found["next"], found["count"])
        assert ["/docs/gone.txt"] == [
            each["path"]
            for each in ask(home, past.name, f"snapshots/{snapshot}/tree", path="/docs/gone.txt")["entries"]
        ]
    finally:
        aside.rename(repository)
    assert not processes("bin/restic", str(home.home))
    assert any((home.home / "var/cache/folders" / past.name).iterdir())
    shutil.rmtree(home.home / "var/cache")
    assert 4 == ask(home, past.name, f"snapshots/{snapshot}/tree", path="/docs")["count"]


class Links(HTMLParser):
    """The links and pictures of a page, and its text."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.all: list[str] = []
        self.pictures: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._into: str | None = None
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if tag == "a":
            self._into = values["href"] or ""
            self.all.append(self._into)
        if tag == "img":
            self.pictures.append(values["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._into = None if tag == "a" else self._into

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._into is not None:
            # The first one counts: a name may be linked twice.
            self.links.setdefault(data.strip(), self._into)


def seen(home: Pbs, path: str, status: int = 200) -> Links:
    """A page as a browser gets it."""
    found, headers, body = http(home, "GET", path, Accept="text/html")
    assert status == found, (path, body[-2000:])
    assert headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in headers["content-security-policy"]
    page = Links(body)
    assert "script" not in page.tags
    return page


def test_a_person_clicks_through_to_an_older_file(home: Pbs, past: Past) -> None:
    """From the list of snapshots over folders to a file and an older version of it, by links alone; the bytes are those of then."""
    page = seen(home, f"/browse/{past.name}")
    assert 3 == sum(f"/in/{each}" in "".join(page.all) for each in past.snapshots)
    page = seen(home, f"/browse/{past.name}/in/latest")
    page = seen(home, page.links["docs/"])
    assert "report.txt" in page.links
    assert "gone.txt" not in page.links
    page = seen(home, page.links["report.txt"])
    outs = [link for link in page.all if "/file?" in link]
    expected = [
        b"final!draft!",
        b"final!draft!",
        b"second draft",
        b"first draft",
    ]  # the file itself, then its versions
    assert expected == [http(home, "GET", link)[2] for link in outs]
    older = next(link for text, link in page.links.items() if text.startswith("Older"))
    assert b"second draft" == http(home, "GET", next(x for x in seen(home, older).all if "/file?" in x))[2]
    assert "Older" in seen(home, f"/browse/{past.name}/in/{past.snapshots[1]}?path=/docs").text
    gone = seen(home, f"/browse/{past.name}/versions?path=/docs/gone.txt")
    assert "does not hold it any more" in gone.text


def test_a_person_searches_and_compares(home: Pbs, past: Past) -> None:
    """A search leads to what it found; a comparison to both sides; what makes no sense is said on the page."""
    page = seen(home, f"/browse/{past.name}/find?text=gone")
    assert "gone since" in page.text
    found = seen(home, page.links["/docs/gone.txt"])
    assert b"gone" == http(home, "GET", next(x for x in found.all if "/file?" in x))[2]
    assert "Nothing of that name" in seen(home, f"/browse/{past.name}/find?text=nowhere").text
    assert "cannot be searched" in seen(home, f"/browse/{past.name}/find?text=*", 400).text
    seen(home, f"/browse/{past.name}/find")
    page = seen(home, f"/browse/{past.name}/compare?older={past.snapshots[0]}&newer={past.snapshots[2]}")
    assert "1 added" in page.text
    assert past.snapshots[0] in page.links["/docs/gone.txt"]
    assert past.snapshots[2] in page.links["/docs/late.txt"]
    seen(home, f"/browse/{past.name}/compare")


def test_hostile_names_are_text_on_every_page(home: Pbs, past: Past) -> None:
    """A name with markup, quotes, a line end and a byte that is no text leads to its own file and is never markup."""
    page = seen(home, f"/browse/{past.name}/in/latest?path=/odd")
    name = next(text for text in page.links if "alert" in text)
    page = seen(home, page.links[name])
    assert b"two" == http(home, "GET", next(x for x in page.all if "/file?" in x))[2]
    page = seen(home, f"/browse/{past.name}/find?text=alert")
    # Its bytes are not known from a search: it leads to its folder.
    assert (
        "deeper [1]*" in seen(home, next(link for text, link in page.links.items() if "alert" in text)).text
    )
    for path in (
        "find?text=%3Cscript%3E",
        "in/latest?path=/%3Cscript%3E",
        "versions?path=/%3Cscript%3Ealert(1)",
    ):
        seen(home, f"/browse/{past.name}/{path}", 404 if path.startswith("in/") else 200)
    page = seen(home, f"/browse/{past.name}/in/latest?path=/odd/deeper%20%5B1%5D*/%5Cx%3F")
    assert b"y" == http(home, "GET", next(x for x in page.all if "/file?" in x))[2]


def test_what_is_shown_of_a_file_cannot_run(home: Pbs, past: Past) -> None:
    """Text is a part of the page; a picture is one by its first bytes alone, and is sent as nothing else; markup is text."""
    shown = {each: seen(home, f"/browse/{past.name}/in/latest/show?path=/look/{each}") for each in LOOKS}
    assert "<script>alert(1)</script>" in shown["page.html"].text
    assert "<svg" in shown["drawing.svg"].text
    assert "neither text nor a picture" in shown["noise"].text
    assert "It goes on" in shown["long.words"].text
    assert "caf\N{LATIN SMALL LETTER E WITH ACUTE}" in shown["old.words"].text
    for name, page in shown.items():
        assert (1 if name == "real.words" else 0) == len(page.pictures), name
    status, headers, body = http(home, "GET", shown["real.words"].pictures[0])
    assert (200, LOOKS["real.words"], "image/png") == (status, body, headers["content-type"])
    assert "nosniff" == headers["x-content-type-options"]
    assert "sandbox" in headers["content-security-policy"]
    for name in ("page.html", "drawing.svg", "noise", "fake.png"):
        assert 404 == http(home, "GET", f"/browse/{past.name}/in/latest/picture?path=/look/{name}")[0], name
    assert 404 == http(home, "GET", f"/browse/{past.name}/in/latest/show?path=/look")[0]


def test_pages_of_contents_are_for_operators(home: Pbs, past: Past) -> None:
    """A viewer sees when snapshots came, and nothing of what is in them; what an operator looked at is written down."""
    secret = json.loads(here(home, "token", "add", fresh("eyes"), "--json")[1])["token"]
    asks = {"tcp": True, "Authorization": f"Bearer {secret}", "Accept": "text/html"}
    status, _, body = http(home, "GET", f"/browse/{past.name}", **asks)  # type: ignore[arg-type]
    assert 200 == status
    assert b"/in/" not in body
    for path in ("in/latest", "in/latest/show?path=/docs/same.txt", "in/latest/picture?path=/x", "find?text=x",
                 "versions?path=/x", "compare"):  # fmt: skip
        assert 403 == http(home, "GET", f"/browse/{past.name}/{path}", **asks)[0], path  # type: ignore[arg-type]
    seen(home, f"/browse/{past.name}/in/latest/show?path=/docs/same.txt")

    def written() -> bool:
        entry = json.loads(http(home, "GET", "/api/v1/audit?limit=1")[2])["entries"][0]
        return ("/docs/same.txt", 200) == (entry["asked"].get("path"), entry["status"])

    eventually(written, what="the entry")


@pytest.mark.parametrize(
    "path", ["/", "/in/latest", "/in/latest/show", "/versions", "/find?text=x", "/compare?older=latest"]
)
def test_what_is_not_there_is_said_on_a_page(home: Pbs, past: Past, path: str) -> None:
    """A source, snapshot or path that is not there, and an address that makes no sense, is a page that says so."""
    seen(home, f"/browse/nobody{path.rstrip('/')}", 404)
    if "/in/" in path:
        for query in ("path=/nothing", "path=/docs/report.txt/x", "path=/../../etc/passwd"):
            seen(home, f"/browse/{past.name}{path}?{query}", 404)
        for query in ("path=x", "path=%00", "path_b64=x", "path=/&path=/", "after=x", "sort=%3Cscript%3E"):
            if "=" in query and ("show" not in path or "path" in query):
                seen(home, f"/browse/{past.name}{path}?{query}", 400)
        seen(home, f"/browse/{past.name}{path.replace('latest', '0' * 64)}", 404)


def restored(home: Pbs, run: str) -> Path:
    """The folder that a run restored into, once it has ended well."""

    def ended() -> Any:
        told = json.loads(http(home, "GET", f"/api/v1/runs/{run}")[2])
        return told if told["state"] == "ended" else None

    told = eventually(ended, what="the restore")
    assert "ok" == told["outcome"], told
    place = home.home / "srv/restored" / run
    assert str(place) in told["message"]
    return place


def test_a_folder_is_restored_on_the_server_after_a_look(home: Pbs, past: Past) -> None:
    """First it is counted, and nothing written; then a run restores it into a folder of its own, byte by byte, and the feed tells."""
    base = f"/api/v1/sources/{past.name}/snapshots/{past.snapshots[1]}"
    found = json.loads(http(home, "GET", f"{base}/amount?path=/docs")[2])
    names = [path for path, contents in past.contents.items() if path.startswith(b"/docs/") and contents[1]]
    assert (len(names), True) == (found["files"], found["whole"])
    assert sum(len(past.contents[path][1] or b"") for path in names) == found["bytes"]
    assert not (home.home / "srv/restored").exists()
    status, _, body = http(home, "POST", f"{base}/restore", json.dumps({"path": "/docs"}).encode())
    assert 202 == status, body
    place = restored(home, json.loads(body)["id"])
    assert {os.fsdecode(path[1:]): past.contents[path][1] for path in names} == {
        str(each.relative_to(place)): each.read_bytes() for each in place.rglob("*") if each.is_file()
    }
    assert b"local restore" in http(home, "GET", f"/feeds/{past.name}.xml")[2]
    page = seen(home, f"/browse/{past.name}/in/latest/restore?path=/odd")
    assert "Nothing was written yet" in page.text
    form = urlencode({"path_b64": base64.b64encode(b"/odd/" + HOSTILE).decode()}).encode()
    status, headers, body = http(
        home, "POST", f"/browse/{past.name}/in/{past.snapshots[0]}/restore", form,
        Content_Type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert 303 == status, body
    place = restored(home, headers["location"].removeprefix("/runs/"))
    assert b"one" == Path(os.fsdecode(os.fsencode(place) + b"/odd/" + HOSTILE)).read_bytes()
    for wrong, code in (({"path": "/nothing"}, 404), ({"path": "x"}, 400), ({"to": "/etc"}, 400)):
        assert code == http(home, "POST", f"{base}/restore", json.dumps(wrong).encode())[0]
    assert 404 == http(home, "GET", f"{base}/amount?path=/nothing")[0]


def test_a_search_that_nobody_waits_for_ends(home: Pbs, past: Past) -> None:
    """Whoever goes away in the middle of a search leaves no restic behind, not even one that hangs, and the places are free again."""

    def started() -> dict[int, list[str]]:
        return processes("bin/restic", str(home.home), " find ")

    def stuck() -> bool:
        """Ask, catch the restic that does the work, hold it fast, and go away."""
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(home.home / "var/run/controller.sock"))
            link.sendall(
                f"GET /api/v1/sources/{past.name}/find?text=report HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
            for pid in eventually(lambda: started() or select.select([link], [], [], 0)[0], what="restic"):
                with contextlib.suppress(ProcessLookupError, TypeError):
                    os.kill(pid, signal.SIGSTOP)
            return bool(started())

    for _ in range(6):  # more than may look at a time
        eventually(stuck, what="a search that can be caught")
    eventually(lambda: not started(), what="the end of restic")
    assert 1 == len(ask(home, past.name, "find", text="report")["matches"])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_folder_of_a_hundred_thousand_names(home: Pbs) -> None:
    """It is read once and then told part by part, each name once; its page is small; the controller does not grow with it."""
    with short_folder() as folder:
        host = SourceHost(folder / "src")
        many = host.data / "many"
        many.mkdir()
        for number in range(100_000):
            (many / f"{number:06d}").touch()
        host.start()
        name = fresh("many")
        add(home, name, host)
        home.pull(name, timeout=400)
        host.stop()
    before = peak(home)
    names: set[str] = set()
    after = 0
    while after is not None:
        part = ask(home, name, "snapshots/latest/tree", path="/many", limit="10000", after=str(after))
        assert 100_000 == part["count"]
        assert not names & {each["path"] for each in part["entries"]}
        names |= {each["path"] for each in part["entries"]}
        after = part["next"]
    assert 100_000 == len(names)
    status, _, body = http(
        home, "GET", f"/browse/{name}/in/latest?path=/many&after=99800", Accept="text/html"
    )
    assert 200 == status
    assert b"99801 to 100000 of 100000" in body
    assert len(body) < 150_000
    assert peak(home) - before < 150 << 20


def peak(home: Pbs) -> int:
    """The most memory, in bytes, that the controller of this home has ever had."""
    pid = next(iter(processes("controller", str(home.home))))
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

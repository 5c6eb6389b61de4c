"""A person who needs a file: folders of any size, names searched for, versions over time, two snapshots compared."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from shared import add, fresh, here, http, refused_here
from stage import Pbs, SourceHost, processes, short_folder

pytestmark = pytest.mark.slow
HOSTILE = b"<script>alert(1)</script>\n\"'\xff.txt".replace(b"/", b"|")


@dataclass
class Past:
    """A source with three snapshots, and what its files held at each of them."""

    name: str
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
        snapshots = []
        for number in range(3):
            for path, versions in contents.items():
                write(host.data, path, versions[number])
            snapshots.append(str(home.pull(name)["snapshot"]))
        host.stop()
        yield Past(name, snapshots, contents)


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

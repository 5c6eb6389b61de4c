"""The main job: a first pull, a second one, and every `ok` proven by restoring."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from stage import Pbs, SourceHost, eventually, grow, processes

from pbs.restore import compare

pytestmark = pytest.mark.slow


def proven(pbs: Pbs, source: SourceHost, folder: Path, snapshot: str = "latest") -> None:
    """A restored snapshot is the source's tree, byte by byte and with its metadata, the folder itself included."""
    pbs("restore", "web", "--snapshot", snapshot, "--to", str(folder))
    difference = compare(source.data, folder)
    assert not difference, difference
    assert source.data.stat().st_mtime_ns == folder.stat().st_mtime_ns
    assert source.data.stat().st_mode == folder.stat().st_mode


@pytest.mark.user
def test_a_pull_restores_as_what_was_there(served: Pbs, source: SourceHost, folder: Path) -> None:
    """A first and a second pull are ok, each snapshot restores identically, and the feed has both."""
    first = served.pull()
    assert (first["outcome"], first["kind"], first["state"]) == ("ok", "pull", "ended")
    assert first["added_bytes"] > 0 < first["tunnel_bytes"]
    proven(served, source, folder / "one")
    (source.data / "d0/file-0").rename(source.data / "renamed")
    (source.data / "d1/file-1").unlink()
    (source.data / "new").write_text("new")
    second = served.pull()
    assert second["outcome"] == "ok"
    assert second["added_bytes"] < first["added_bytes"] / 5
    proven(served, source, folder / "two")
    listed = served.json("snapshots", "web")["snapshots"]
    assert [first["snapshot"], second["snapshot"]] == [each["id"] for each in listed]
    titles = [item.findtext("title") for item in ET.fromstring(served("feed", "web").stdout).iter("item")]
    assert titles == ["web backup", "web backup"]
    written = served.home / "srv/feeds/web.xml"
    eventually(lambda: second["id"] in written.read_text(), what="the feed file")


def test_nothing_changed_sends_next_to_nothing(served: Pbs, source: SourceHost) -> None:
    """A pull of an unchanged tree adds no file data."""
    served.pull()
    again = served.pull()
    assert again["outcome"] == "ok"
    assert again["added_bytes"] < 20_000
    assert again["files"] > 40


@pytest.mark.parametrize(("endpoint", "encryption"), [("on-demand", "controller"), ("always", "none")])
def test_every_way_of_keeping_the_endpoint(
    pbs: Pbs, source: SourceHost, folder: Path, endpoint: str, encryption: str
) -> None:
    """An endpoint that exists only for a run, and a repository without password, do the same job."""
    pbs.start()
    pbs.add("web", source, "--set", f"endpoint={endpoint}", "--set", f"encryption={encryption}")
    assert pbs.pull()["outcome"] == "ok"
    proven(pbs, source, folder / "out")
    up = bool(processes("--append-only", str(pbs.home)))
    assert up is (endpoint == "always")
    assert (pbs.home / "etc/keys/web.key").exists() is (encryption == "controller")


@pytest.mark.user
def test_the_mount_shows_what_was_received(served: Pbs, source: SourceHost, folder: Path) -> None:
    """A mount shows every admitted snapshot by id and by our time, read-only, and leaves nothing when it ends."""
    run = served.pull()
    place = folder / "m"
    served("mount", "web", str(place))
    try:
        assert not compare(source.data, place / "latest")
        assert [run["snapshot"]] == [each.name for each in (place / "ids").iterdir()]
        assert len(list((place / "received").iterdir())) == 1
        with pytest.raises(OSError, match=r"Read-only|not permitted|denied"):
            (place / "latest" / "new").write_text("x")
        assert [str(place)] == [each["directory"] for each in served.json("mount")["mounts"]]
    finally:
        served("umount", "web")
    assert not place.exists()


def test_one_file_comes_out(served: Pbs, source: SourceHost, folder: Path) -> None:
    """ls shows a folder, get takes one file out, with the service stopped and pbs.toml broken."""
    served.pull()
    served.stop()
    (served.home / "pbs.toml").write_text("this is [no TOML")
    names = [each["path"] for each in served.json("ls", "web", "/d0")["entries"]]
    assert "/d0/file-0" in names
    out = folder / "out"
    served("get", "web", "/d0/file-0", "-o", str(out))
    assert (source.data / "d0/file-0").read_bytes() == out.read_bytes()
    proven(served, source, folder / "all")


def test_no_new_tcp_port_is_opened(served: Pbs, source: SourceHost) -> None:
    """Neither side listens on TCP for a pull: sshd and the API are all."""
    before = listening()
    grow(source.data, files=200, size=400_000, seed=2)
    served("pull", "web", "--no-wait")
    seen = set()
    while served.json("runs", "web")["runs"][0]["state"] != "ended":
        seen |= listening()
    assert not {each for each in seen - before if each[1] in ours(served, source)}


def listening() -> set[tuple[str, int]]:
    """Address and process of everything that listens on TCP."""
    found = set()
    for line in subprocess.run(
        ["ss", "-Hltnp"], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        words = line.split()
        pid = line.partition("pid=")[2].partition(",")[0]
        found.add((words[3], int(pid or 0)))
    return found


def ours(pbs: Pbs, source: SourceHost) -> set[int]:
    """Processes of the server and of the source."""
    return {*processes(str(pbs.home)), *processes(str(source.root))}

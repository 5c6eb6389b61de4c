"""Is all well: told by the verb, over HTTP, in files and in figures, of a real source, and with the service stopped."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import feedparser
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from shared import add, get, here, home_in_service, http
from stage import Pbs, SourceHost, eventually

pytestmark = pytest.mark.slow


ALIAS = "/get/web-pull"


@pytest.fixture(scope="module")
def letterbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the channel of the home puts its messages."""
    return tmp_path_factory.mktemp("letters") / "letters"


@pytest.fixture(scope="module")
def home(letterbox: Path) -> Iterator[Pbs]:
    """A served home whose feeds have an older address, with a channel for messages."""
    command = f'["/bin/sh", "-c", "(cat; echo) >> {letterbox}"]'
    channel = f'[notify.tell]\nkind = "command"\ncommand = {command}\ndelay = "0s"\nsources = ["web"]\n'
    with home_in_service(f'feeds = {{ aliases = {{ "{ALIAS}" = "web" }} }}', channel) as server:
        yield server


def promises(pbs: Pbs, *name: str) -> dict[str, dict[str, str]]:
    """The promises of a source or of all by their names, as the verb tells them."""
    code, said, _ = here(pbs, "health", *name, "--json")
    told = json.loads(said)
    assert code == {"kept": 0, "warning": 1, "broken": 2}[told["state"]]
    assert told["kept"] + told["warning"] + told["broken"] == len(told["promises"])
    return {each["name"]: each for each in told["promises"]}


def test_health_is_told_everywhere_alike(home: Pbs, source: SourceHost, letterbox: Path) -> None:
    """A source that never came is a warning, one that came is in order, one that is gone is told; and so after a stop."""
    add(home, "web", source)
    found = promises(home, "web")
    assert [each for each in found.values() if each["state"] == "broken"] == []
    home.pull("web")
    good = eventually(lambda: in_order(home), what="a source whose promises are all kept")
    status, _, body = http(home, "GET", "/health?source=web")
    assert (status, json.loads(body)["promises"]) == (200, [])

    source.stop()
    home.pull("web", code=1)
    bad = eventually(lambda: broken_last_run(home), what="a promise that broke")
    assert {name for name, each in bad.items() if each["state"] == "broken"} == {"last-run"}
    assert bad["reachable"]["state"] == "warning"
    assert bad["last-run"]["since"] > bad["fresh"]["since"] == good["fresh"]["since"]
    status, _, body = http(home, "GET", "/health")
    assert (status, json.loads(body)["state"]) == (503, "broken")
    assert here(home, "health", "web")[1].count("last-run") == 1
    assert here(home, "health", "nobody")[0] == 7
    program = home.home / "etc/promise/backup-web"
    eventually(lambda: subprocess.run([program], stdout=subprocess.DEVNULL, check=False).returncode == 1)

    eventually(
        lambda: (
            "last-run" in {each["name"] for letter in letters(letterbox) for each in letter.get("new", ())}
        )
    )
    assert here(home, "notify", "test", "tell")[0] == 0
    assert letters(letterbox)[-1]["title"].endswith("a test message")

    figures = {
        (each.name, *each.labels.values()): each.value
        for family in text_string_to_metric_families(get(home, "/metrics").decode())
        for each in family.samples
    }
    assert figures["pbs_promise_state", "last-run", "web"] == 2
    assert figures["pbs_runs_total", "pull", "ok", "web"] == 1
    assert figures["pbs_source_snapshots", "web"] == 1

    told = json.loads(get(home, "/feeds/web.json"))["items"]
    read = feedparser.parse(get(home, "/feeds/web.xml"))
    assert not read.bozo
    assert [each["id"] for each in told] == [each.id for each in read.entries]
    assert told[0]["title"] == "web backup failed"

    feeds_at_other_addresses(home)

    home.stop()
    alone = promises(home)
    assert (alone["service"]["state"], alone["scheduler"]["state"]) == ("broken", "broken")
    assert promises(home, "web")["last-run"]["since"] == bad["last-run"]["since"]
    home.start()
    assert promises(home, "web")["fresh"]["since"] == good["fresh"]["since"]


def in_order(pbs: Pbs) -> dict[str, dict[str, str]]:
    """The promises of `web`, once all of them are kept."""
    found = promises(pbs, "web")
    return found if {each["state"] for each in found.values()} == {"kept"} else {}


def letters(box: Path) -> list[dict[str, Any]]:
    """The messages that came, the oldest first."""
    return [json.loads(line) for line in box.read_text().splitlines()] if box.is_file() else []


def broken_last_run(pbs: Pbs) -> dict[str, dict[str, str]]:
    """The promises of `web`, once its last run counts as failed: what is asked for may be a second old."""
    found = promises(pbs, "web")
    return found if found["last-run"]["state"] == "broken" else {}


def feeds_at_other_addresses(pbs: Pbs) -> None:
    """The feed is found where an older server had it, and at an address that nobody guesses, until that is ended."""
    feed = get(pbs, "/feeds/web.xml")
    assert get(pbs, ALIAS) == feed
    assert http(pbs, "GET", ALIAS, tcp=True)[0] == 401
    code, address, _ = here(pbs, "feed", "web", "--address")
    path = "/feeds/" + address.strip().partition("/feeds/")[2]
    assert (code, path == address) == (0, False)
    status, headers, body = http(pbs, "GET", path, tcp=True)
    assert (status, body) == (200, feed)
    assert http(pbs, "GET", path, tcp=True, **{"If-None-Match": headers["etag"]})[0] == 304
    assert here(pbs, "feed", "web", "--address")[1] == address
    for wrong in (
        path.replace("web.xml", "all.xml"),
        "/feeds/x/web.xml",
        "/feeds/../all.xml",
        path.replace("/web.", "/nobody."),
    ):
        assert http(pbs, "GET", wrong, tcp=True)[0] == 401
    (pbs.home / "etc/keys/web.feed").unlink()
    # An answer is given again for a second.
    eventually(lambda: http(pbs, "GET", path, tcp=True)[0] == 401, what="the end of the address")

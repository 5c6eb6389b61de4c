"""`pbs reload`: what was changed applies, what goes on is not touched, and what is wrong is refused."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aftermath import PATIENCE, Stand, random_file, stand
from shared import here, host_key, http
from stage import eventually, processes

from pbs.model import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place() -> Iterator[Stand]:
    """A stand with one source on a slow line."""
    with stand() as made:
        made.prove_first("--set", 'limits={upload="4MB/s"}')
        yield made


def endpoints(place: Stand) -> dict[str, int]:
    """The rest-server of each source."""
    found = {}
    for pid, argv in processes(str(place.pbs.home), "--append-only").items():
        found[argv[argv.index("--path") + 1].rpartition("/")[2].removesuffix(".restic")] = pid
    return found


def table(place: Stand, name: str, **more: Any) -> str:
    """A source as somebody writes it into pbs.toml by hand."""
    values = {"host": "127.0.0.1", "port": place.source.port, "user": getpass.getuser(),
              "host_key": host_key(place.source), **more}  # fmt: skip
    return f"\n[source.{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())


def write(place: Stand, *tables: str, server: str = "", defaults: str = "") -> None:
    """Replace pbs.toml."""
    text = f'[server]\nlisten = "127.0.0.1:{place.pbs.port}"\n{server}\n[defaults]\n{defaults}\n'
    (place.pbs.home / "pbs.toml").write_text(text + "\n".join(tables) + "\n")


def reload(place: Stand, code: int = 0) -> str:
    """Reload; what was complained."""
    got, _, told = here(place.pbs, "reload")
    assert (code, "Traceback" in told) == (got, False), told
    return told


def test_added_changed_and_removed_while_a_run_goes_on(place: Stand) -> None:
    """Sources come, change and go; the run that goes on ends well, and no other endpoint's process is touched."""
    write(place, table(place, "old"), table(place, "same"), table(place, "changed"))
    reload(place)
    before = eventually(lambda: len(found := endpoints(place)) == 4 and found, PATIENCE, "the endpoints")
    random_file(place.source.data / "big", 40 << 20)
    run = place.pbs.json("pull", "web", "--no-wait")["id"]
    eventually(place.transferring, PATIENCE, "the transfer")
    running = endpoints(place)["web"]
    write(
        place,
        table(place, "same"),
        table(place, "changed", quota="1GB"),
        table(place, "new"),
        defaults='timeout = "1h"',
    )
    assert "reloaded" in reload(place)
    now = endpoints(place)
    assert place.run(run).state == "running"
    assert now["web"] == running
    assert place.ended(run).outcome is Outcome.OK
    eventually(lambda: "web" in endpoints(place), PATIENCE, "the endpoint of web")
    after = endpoints(place)
    assert {"web", "same", "changed", "new"} == set(after)
    assert after["same"] == before["same"]
    assert after["changed"] != before["changed"]
    assert place.pbs.repository("new").joinpath("config").exists()
    assert place.pbs.repository("old").joinpath("config").exists(), (
        "a source that is not configured keeps its backups"
    )
    assert here(place.pbs, "pull", "old")[0] == 7
    shown = place.pbs("config", "show", "new").stdout
    assert "1h" in shown
    place.next_pull()


def test_a_wrong_configuration_changes_nothing(place: Stand) -> None:
    """Every fault is told, exit 2; the old one stays in force, also for a controller and workers that start anew."""
    write(place, table(place, "same"))
    reload(place)
    before = eventually(lambda: len(found := endpoints(place)) == 2 and found, PATIENCE, "the endpoints")
    write(place, table(place, "same", port=0), table(place, "other", migrate="never"), server="colour = 3")
    told = reload(place, code=2)
    assert all(word in told for word in ("source.same.port", "source.other.migrate", "server.colour")), told
    status, _, body = http(place.pbs, "POST", "/api/v1/reload", b"{}")
    error = json.loads(body)["error"]
    assert (409, "configuration") == (status, error["code"])
    assert "the one in force stays" in error["message"]
    assert "source.same.port" in error["message"]
    assert endpoints(place) == before
    place.kill("controller")
    place.kill("worker")
    eventually(place.serving, PATIENCE, "the service")
    assert place.pbs.pull()["outcome"] == "ok"
    assert here(place.pbs, "pull", "other")[0] == 7


def test_an_edit_counts_from_its_reload_on(place: Stand) -> None:
    """Nobody acts on what is only half written: workers and controller go on with what was last reloaded."""
    write(place)
    reload(place)
    file = place.pbs.home / "sources.d/web.toml"
    good = file.read_text()
    file.write_text(good.replace(f"{getpass.getuser()}", "nobody-of-this-name"))
    assert place.pbs.pull()["outcome"] == "ok"
    reload(place)
    assert "does not accept our key" in place.pbs.pull(code=1)["message"]
    file.write_text(good)
    reload(place)
    assert place.pbs.pull()["outcome"] == "ok"


def test_what_waits_for_the_next_start_is_named(place: Stand) -> None:
    """Fields of [server] that only a start looks at are named; the others apply at once and without a word."""
    write(place, table(place, "same"), server="max_runs = 3")
    assert "next start" not in reload(place)
    write(
        place,
        table(place, "same"),
        server='max_runs = 3\nworkers = 5\nopen = ["feeds"]\nfeeds = {aliases = {"/old" = "all"}}',
    )
    told = reload(place)
    assert "applied at the next start of the service only: workers, open, feeds.aliases of [server]" in told
    place.next_pull()
    place.nothing_left()

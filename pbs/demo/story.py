"""The demo's steps, in order. Each proves one promise and says what it saw, or raises what broke it.

It asks the server through verbs alone, and judges by looking at files and documents, never at the server's insides.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from pbs.clock import Clock
from pbs.demo import legacy, material
from pbs.demo.server import Server
from pbs.demo.source import Source, free_port
from pbs.demo.summary import Summary
from pbs.errors import PbsError
from pbs.restore.compare import Differences, Rules, compare
from pbs.text import duration, size

NEVER_CHANGED = ("config", "data", "keys", "snapshots")
# Trees and the pieces around a change are stored anew; the content of what did not change is not.
LITTLE_BYTES = 1 << 20


class BrokenPromise(PbsError):
    """Something is not as the server promises."""


@dataclass(slots=True)
class Stage:
    """What the steps share."""

    folder: Path
    server: Server
    source: Source
    clock: Clock
    summary: Summary
    say: Callable[[str], None]
    before: dict[str, str] = field(default_factory=dict)


def hold(held: bool, otherwise: str) -> None:
    """Go on, or say what broke.

    Raises:
        BrokenPromise: where it did not hold.
    """
    if not held:
        raise BrokenPromise(otherwise)


async def start_service(stage: Stage) -> str:
    """`pbs init`, a free port, `pbs serve --detach`, and a server that finds itself well."""
    await stage.server.make(free_port())
    await stage.server.ask("serve", "--detach")
    report = await stage.server.document("doctor", allow=(0, 1))
    _well(report, "the server")
    tools = {each["name"]: each["detail"].split()[0] for each in report["checks"]}
    versions = [f"{name} {tools[name]}" for name in ("restic", "rest-server") if name in tools]
    return f"a new home serves {stage.server.url}, with {' and '.join(versions)}"


def _well(report: dict[str, Any], who: str) -> None:
    broken = [f"{each['name']}: {each['detail']}" for each in report["checks"] if each["state"] == "broken"]
    hold(not broken, f"`pbs doctor` finds {who} broken: {'; '.join(broken)}")


async def make_source(stage: Stage) -> str:
    """Real files, awkward ones, and a real sshd before them."""
    material.make(stage.source.tree, os.geteuid() == 0)
    stage.summary.notes += await material.adorn(stage.source.tree)
    await stage.source.start_sshd()
    found = material.count(stage.source.tree)
    what = f"{found['files']:,} real and awkward files, {size(found['bytes'])}"
    return f"{what}, behind a real sshd on port {stage.source.port} as {stage.source.user}"


async def make_legacy_tree(stage: Stage) -> str:
    """Days of history in an rdiff-backup tree, where the server looks for one."""
    tree, source = stage.server.home / "srv/backup/pbs/demo", stage.source.tree
    now = stage.clock.now().timestamp()
    increments = await legacy.make(source, tree, now, lambda day: material.live_a_day(source, day))
    material.live_a_day(source, legacy.SESSIONS)
    return f"a tree with {increments} increments, made by the real rdiff-backup; then one more day passed"


async def add_source(stage: Stage) -> str:
    """`pbs source add`, its one line in authorized_keys, and a source that allows only what it must."""
    await stage.source.install_agent(stage.server)
    address = ("--host", "127.0.0.1", "--port", str(stage.source.port), "--user", stage.source.user)
    added = await stage.server.document(
        "source", "add", "demo", *address, "--accept-host-key", "--agent-path", stage.source.command,
        "--set", "schedule=manual",
    )  # fmt: skip
    stage.source.authorize(added["authorized_keys"])
    report = await stage.server.document("doctor", "demo", allow=(0, 1))
    _well(report, "the source")
    refused = sum("refused" in each["detail"] for each in report["checks"])
    warnings = [each["detail"] for each in report["checks"] if each["state"] == "warning"]
    stage.summary.notes += warnings
    return f"one line in authorized_keys: the agent's words work, {refused} forbidden things are refused"


async def pull_first(stage: Stage) -> str:
    """The first pull imports the legacy tree before it asks the source for anything."""
    run = await _good_pull(stage)
    runs = await stage.server.runs()
    imported = [each for each in runs if each["kind"] == "migrate"]
    hold(len(imported) == 1 and imported[0]["outcome"] == "ok", f"the import ended as {_outcomes(imported)}")
    hold(
        [each["kind"] for each in runs] == ["migrate", "pull"],
        f"the runs are {[each['id'] for each in runs]}",
    )
    new, whole = run["added_bytes"], run["bytes"]
    hold(new < whole // 2, f"after the import {size(new)} of {size(whole)} were stored again")
    before = f"{imported[0]['files']:,} files imported in {duration(imported[0]['seconds'])}"
    return f"{before}, then {size(run['tunnel_bytes'])} of {size(whole)} had to be sent"


async def pull_changes(stage: Stage) -> str:
    """Big files renamed, folders moved, bytes inserted, types exchanged: only what is new travels."""
    material.live_a_wild_day(stage.source.tree)
    run = await _good_pull(stage)
    stage.summary.source = material.count(stage.source.tree)
    new, whole = run["added_bytes"], run["bytes"]
    hold(new < whole // 3, f"{size(new)} of {size(whole)} were stored again")
    return f"files renamed, moved, grown and exchanged: {size(new)} of {size(whole)} were new"


async def pull_nothing(stage: Stage) -> str:
    """Nothing changed: nothing is stored."""
    run = await _good_pull(stage)
    hold(
        run["added_bytes"] < LITTLE_BYTES, f"{size(run['added_bytes'])} were stored although nothing changed"
    )
    return (
        f"{run['files']:,} files looked at in {duration(run['seconds'])}, {size(run['added_bytes'])} stored"
    )


async def _good_pull(stage: Stage) -> dict[str, Any]:
    run = await _pull(stage)
    hold(run["outcome"] == "ok", f"the pull ended as {_ending(run)}")
    return run


async def _pull(stage: Stage) -> dict[str, Any]:
    run = await stage.server.pull()
    stage.summary.runs = await stage.server.runs()
    return run


def _ending(run: dict[str, Any]) -> str:
    return f"{run['outcome']}: {run['message']}" + (f" ({run['hint']})" if run["hint"] else "")


def _outcomes(runs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{run['outcome']} ({run['message']})" for run in runs) or "nothing at all"


async def suffer_intruder(stage: Stage) -> str:
    """Whoever holds the source may use the tunnel as he likes during a pull, and cannot delete or rewrite anything."""
    stage.before = fingerprints(stage.server.home / "srv/backup/pbs/demo.restic")
    stage.source.go_bad()
    try:
        run = await _pull(stage)
    finally:
        stage.source.behave()
    hold(stage.source.record.exists(), f"the intruder never ran; the pull ended as {_ending(run)}")
    record = json.loads(stage.source.record.read_text())
    hold("error" not in record, f"the intruder failed by itself: {record.get('error')}")
    attempts = record["attempts"]
    hold(not allowed(attempts), f"the endpoint let a source {'; '.join(allowed(attempts))}")
    hold(run["outcome"] == "ok", f"all was refused, but the pull ended as {_ending(run)}")
    said = ", ".join(f"{code}" for code in sorted({each["status"] for each in attempts}))
    deletes = sum(each["method"] == "DELETE" for each in attempts)
    return (
        f"{deletes} DELETEs and {len(attempts) - deletes} overwrites through the tunnel, all refused ({said})"
    )


def allowed(attempts: list[dict[str, Any]]) -> list[str]:
    """What was not refused."""
    return [f"{each['what']} ({each['status']})" for each in attempts if not 400 <= each["status"] < 500]


async def find_all_unharmed(stage: Stage) -> str:
    """Every file that was in the repository before is there, with the same bytes; every snapshot still counts."""
    now = fingerprints(stage.server.home / "srv/backup/pbs/demo.restic")
    lost = sorted(name for name, print_ in stage.before.items() if now.get(name) != print_)
    hold(not lost, f"{len(lost)} file(s) of the repository changed or went, first {lost[:1]}")
    known = (await stage.server.document("snapshots", "demo"))["snapshots"]
    ids = {each["id"] for each in known if each["state"] in ("admitted", "legacy")}
    missing = [run["id"] for run in stage.summary.runs if run["snapshot"] and run["snapshot"] not in ids]
    hold(not missing, f"the snapshots of these runs are gone: {', '.join(missing)}")
    return f"{len(stage.before)} files of the repository have the same bytes as before, {len(ids)} snapshots count"


def fingerprints(repository: Path) -> dict[str, str]:
    """The SHA-256 of everything in a repository that must never change."""
    found = {}
    for part in NEVER_CHANGED:
        top = repository / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    found[str(path.relative_to(repository))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


async def read_feed(stage: Stage) -> str:
    """The feed is well-formed, holds every run, and is closed to whoever has no token."""
    titles = feed_titles((await stage.server.ask("feed", "demo")).stdout)
    runs = stage.summary.runs
    hold(len(titles) == len(runs), f"the feed has {len(titles)} items for {len(runs)} runs")
    hold(sorted(titles) == sorted(map(_title, runs)), f"the titles are {titles}")
    closed, _ = _fetch(stage.server, None)
    hold(closed == 401, f"over HTTP it answers {closed} to a stranger")
    status, body = _fetch(stage.server, stage.server.token)
    hold(status == 200 and feed_titles(body) == titles, f"over HTTP it answers {status}, or another feed")
    return f"{len(titles)} items, newest “{titles[0]}”; over HTTP with the token alone"


def _title(run: dict[str, Any]) -> str:
    what = "demo migrate" if run["kind"] == "migrate" else "demo backup"
    return what if run["outcome"] == "ok" else f"{what} {run['outcome']}"


def feed_titles(document: bytes) -> list[str]:
    """The titles in an RSS document.

    Raises:
        BrokenPromise: it is not well-formed.
    """
    try:
        top = ET.fromstring(document)  # noqa: S314 - the server of this demo wrote it
    except ET.ParseError as error:
        raise BrokenPromise(f"the feed is not well-formed: {error}") from error
    return [item.findtext("title") or "" for item in top.iter("item")]


def _fetch(server: Server, token: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", "/feeds/demo.xml", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def change_password(stage: Stage) -> str:
    """The repository gets a new password; what is read after this is read with it."""
    keys = stage.server.home / "srv/backup/pbs/demo.restic/keys"
    before = await stage.server.document("snapshots", "demo")
    old = {path.name for path in keys.iterdir()}
    made = await stage.server.document("key", "rotate", "demo")
    left = {path.name for path in keys.iterdir()}
    hold(
        left == {made["key"]} and not left & old, "the old key file lies there still, or the new one does not"
    )
    after = await stage.server.document("snapshots", "demo")
    hold(before == after, "the snapshots are not the same as before")
    return (
        f"all {len(after['snapshots'])} snapshots are there, and nothing is left that the old password opens"
    )


async def mount_and_compare(stage: Stage) -> str:
    """The newest snapshot, mounted, is the source: every name, byte and attribute."""
    place = stage.folder / "mount"
    newest = next(run["snapshot"] for run in reversed(stage.summary.runs) if run["snapshot"])
    await stage.server.ask("mount", "demo", place)
    try:
        found = compare(stage.source.tree, place / "ids" / newest)
    finally:
        await stage.server.ask("umount", "demo")
    _same(found, "the mounted snapshot")
    return f"{found.names:,} names and {size(found.content_bytes)} compared with the source: no difference"


async def restore_and_compare(stage: Stage) -> str:
    """A restored tree is the source, its own folder included."""
    place = stage.folder / "restored"
    begun = stage.clock.monotonic()
    await stage.server.ask("restore", "demo", "--to", place)
    took = stage.clock.monotonic() - begun
    found = compare(stage.source.tree, place, Rules(root=True))
    _same(found, "the restored tree")
    return f"restored in {duration(took)}, {found.names:,} names compared with the source: no difference"


def _same(found: Differences, what: str) -> None:
    first = "; ".join(map(str, found.first[:3]))
    hold(not found, f"{what} differs from the source in {found.total} places: {first}")
    hold(found.names > 0, f"{what} is empty")


async def get_one_file(stage: Stage) -> str:
    """One file by a name that is no text."""
    path = stage.folder / "fetched"
    await stage.server.ask("get", "demo", b"/" + material.NOT_UTF8, "-o", path)
    original = Path(os.fsdecode(os.fsencode(stage.source.tree) + b"/" + material.NOT_UTF8))
    hold(path.read_bytes() == original.read_bytes(), "the file that `pbs get` wrote is another one")
    return "a file whose name is not UTF-8 came back byte for byte"


Step = Callable[[Stage], Awaitable[str]]
# The name of a check, what is being done, the step, and whether those after it need it.
STEPS: tuple[tuple[str, str, Step, bool], ...] = (
    ("service", "making a home and starting the service", start_service, True),
    ("source", "making a source: files and an sshd", make_source, True),
    ("legacy-tree", "making the history that was there before, with rdiff-backup", make_legacy_tree, True),
    ("lock", "adding the source, and trying what it must refuse", add_source, True),
    ("import", "first pull, after the import of the legacy tree", pull_first, True),
    ("changes", "second pull, after many changes", pull_changes, True),
    ("unchanged", "third pull, nothing changed", pull_nothing, False),
    ("append-only", "fourth pull, from a source in other hands", suffer_intruder, False),
    ("unharmed", "looking for what the intruder changed", find_all_unharmed, False),
    ("feed", "reading the feed", read_feed, False),
    ("password", "changing the password of the repository", change_password, False),
    ("mount", "mounting the newest snapshot and comparing it with the source", mount_and_compare, False),
    ("restore", "restoring it and comparing that with the source", restore_and_compare, False),
    ("one-file", "fetching one file", get_one_file, False),
)


async def tell(stage: Stage) -> None:
    """Carry out the steps; one that breaks is noted, and ends the story where the others need it."""
    for name, doing, step, needed in STEPS:
        stage.say(doing)
        try:
            detail = await step(stage)
        except PbsError as error:
            stage.summary.add(name, False, error.message)
            if needed:
                return
        except (OSError, ValueError, LookupError, TypeError) as error:
            # A document without a promised field, a file that is not there: the promise is broken all the same.
            stage.summary.add(name, False, f"{type(error).__name__}: {error}")
            if needed:
                return
        else:
            stage.summary.add(name, True, detail)

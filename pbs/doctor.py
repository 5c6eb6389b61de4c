"""What a person checks first: tools, home, service, and for a source whether what must work works and what must not does not.

Every check answers with a finding; none changes anything.
"""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pbs import keyring, repository, servercopy
from pbs.assemble import KnownRepository, Tools
from pbs.clock import SystemClock
from pbs.config import load
from pbs.endpoint import Supervisor
from pbs.endpoint.door import rest_server
from pbs.errors import PbsError, TunnelError
from pbs.home import Home
from pbs.ledger import files as ledger_file
from pbs.ledger import open_ledger
from pbs.model import Source
from pbs.process import find_tool, run
from pbs.runs.pull import socket_path
from pbs.text import clean_line, duration, size
from pbs.tunnel import Connection, connect
from pbs.tunnel.probe import Finding, forbidden

WORD_SECONDS = 30.0
LEAST_FREE_BYTES = 1 << 30
OLD_COPY = timedelta(hours=30)
# Whoever asked for a restore has taken out what was wanted by then.
FORGOTTEN = timedelta(days=7)
REST_SERVER_MINIMUM = (0, 13)


async def look_at_server(home: Home) -> list[Finding]:
    """The tools, the home, the ledger and the service."""
    findings = [
        await _restic(),
        await _rest_server(),
        await _sandbox(home),
        _tool("fusermount3", "mounts"),
        _tool("rdiff-backup", "imports"),
    ]
    findings += [_private(home.keys), _space(home)]
    try:
        config = load(home)
        findings.append(Finding("configuration", "ok", f"{len(config.sources)} source(s)"))
    except PbsError as error:
        findings.append(
            Finding("configuration", "broken", error.message, "`pbs config check` lists the faults")
        )
    findings += [_ledger(home), _receipts(home), _copy(home), _service(home)]
    findings += restored(home, SystemClock().now())
    return findings


async def _restic() -> Finding:
    try:
        version = await repository.require()
    except PbsError as error:
        return Finding("restic", "broken", error.message, error.hint)
    return Finding("restic", "ok", f"{'.'.join(map(str, version))} at {repository.tool()}")


async def _rest_server() -> Finding:
    try:
        path = rest_server()
    except PbsError as error:
        return Finding("rest-server", "broken", error.message, error.hint)
    said = (await run([path, "--version"], timeout=20)).stdout.decode("utf-8", "replace")
    found = re.search(r"\b(\d+)\.(\d+)[0-9.]*", said)
    number = found[0] if found else "?"
    if found is None or (int(found[1]), int(found[2])) < REST_SERVER_MINIMUM:
        return Finding("rest-server", "broken", f"{clean_line(said, 80)} is too old", "install 0.13 or newer")
    return Finding("rest-server", "ok", f"{number} at {path}")


async def _sandbox(home: Home) -> Finding:
    """Whether endpoints are shut in here, tried with the rest-server of this machine."""
    try:
        paths = map(str, (rest_server(), home.backups, home.locks))
        tried = await run([sys.executable, "-I", "-m", "pbs.guard", "--try", *paths], timeout=20)
    except PbsError as error:
        return Finding("sandbox", "broken", error.message, error.hint)
    layers, _, version = tried.stdout.decode("utf-8", "replace").partition("\n")
    if tried.code != 0 or not version:
        return Finding(
            "sandbox",
            "broken",
            f"rest-server does not start when it is shut in: {clean_line(tried.stderr or layers, 200)}",
            'set sandbox = "off" in [defaults] of pbs.toml',
        )
    if "namespaces" not in layers or "landlock" not in layers:
        return Finding(
            "sandbox", "warning", f"endpoints are {clean_line(layers, 100)}",
            "a kernel with Landlock (5.13), and unprivileged user namespaces or root, give both layers",
        )  # fmt: skip
    return Finding("sandbox", "ok", f"endpoints are {clean_line(layers, 100)}")


def _tool(name: str, use: str) -> Finding:
    path = find_tool(name)
    if path is None:
        return Finding(
            name, "warning", f"{name} is missing: no {use}", f"install {name} where {use} are wanted"
        )
    return Finding(name, "ok", str(path))


def _private(folder: Path) -> Finding:
    try:
        loose = [
            path
            for path in (folder, *folder.iterdir())
            if path.stat().st_mode & 0o077 and path.suffix != ".pub"
        ]
    except OSError as error:
        return Finding(
            "keys", "broken", f"{folder} cannot be read: {error.strerror}", "run as the owner of the home"
        )
    if loose:
        return Finding("keys", "broken", f"others may read {loose[0]}", f"chmod -R go= {folder}")
    if not keyring.is_sealed(folder):
        return Finding("keys", "ok", f"{folder} is closed to others")
    if bare := keyring.plain(folder):
        return Finding(
            "keys", "warning", f"the folder is sealed, and {bare[0]} is not", "`pbs key lock` seals the rest"
        )
    return Finding("keys", "ok", f"{folder} is closed to others, and sealed")


def _space(home: Home) -> Finding:
    folders = [folder for folder in (home.backups, home.ledger.parent, home.root) if folder.is_dir()]
    free, where = min((shutil.disk_usage(folder).free, folder) for folder in folders)
    state = "ok" if free > LEAST_FREE_BYTES else "warning"
    advice = None if state == "ok" else "free some space: a full disk stops every run"
    return Finding("disk", state, f"{size(free)} free at {where}", advice)


def _ledger(home: Home) -> Finding:
    found = ledger_file.faults(home.ledger)
    try:
        mode = "wal"
        if not found:
            open_ledger(home.ledger, lasting=True).close()
            mode = ledger_file.journal_mode(home.ledger)
    except PbsError as error:
        return Finding("ledger", "broken", error.message, error.hint)
    if found:
        said = clean_line("; ".join(found), 300)
        return Finding("ledger", "broken", said, "`pbs stop`, then `pbs ledger rebuild`")
    if mode != "wal":
        return Finding(
            "ledger", "warning", f"its journal mode is {mode}, not wal", "is it on a network file system?"
        )
    return Finding("ledger", "ok", f"every page and row is sound, {size(home.ledger.stat().st_size)}")


def _receipts(home: Home) -> Finding:
    """Whether ledger and repositories tell of the same snapshots, by their names alone."""
    missing, unknown = [], []
    try:
        ledger = open_ledger(home.ledger, lasting=True)
        for name in ledger.sources():
            known = ledger.repository(name)
            if known is None:
                continue
            there = repository.inventory(home.root / known.path)
            missing += [
                f"{name} {each.id[:8]}" for each in ledger.usable(name) if each.id not in there.snapshots
            ]
            have = {each.id for each in ledger.receipts(name)}
            unknown += [f"{name} {each[:8]}" for each in sorted(there.snapshots - have)]
    except PbsError as error:
        return Finding("receipts", "broken", error.message, error.hint)
    if missing:
        said = (
            f"{len(missing)} snapshot(s) of the ledger are not in their repository: {', '.join(missing[:3])}"
        )
        return Finding(
            "receipts", "broken", said, "is the disk of the backups mounted, and is it the right one?"
        )
    if unknown:
        said = f"{len(unknown)} snapshot(s) have no receipt: {', '.join(unknown[:3])}"
        advice = "a run that goes on, or broke off, leaves such; the next pull records them as quarantined"
        return Finding("receipts", "warning", said, advice)
    return Finding("receipts", "ok", "each snapshot of the ledger lies in its repository, and no other does")


def _copy(home: Home) -> Finding:
    """Whether a lost server could be made anew, and from how old a state."""
    name = "copy of the server"
    try:
        ledger = open_ledger(home.ledger, lasting=True)
        last, shown = servercopy.newest(ledger), ledger.upkeep.last_noted("recovery-shown")
        servercopy.recovery_key(home)
    except PbsError as error:
        return Finding(name, "warning", error.message, error.hint)
    if last is None or not home.server_copy.exists():
        return Finding(
            name,
            "warning",
            "there is none yet",
            "the service makes one soon after its start; `pbs copy make` now",
        )
    age = SystemClock().now() - last
    said = f"{duration(age.total_seconds())} old"
    if age > OLD_COPY:
        return Finding(name, "warning", said, "var/log/controller.log says why; `pbs copy make` tries it now")
    if shown is None:
        return Finding(
            name, "warning", f"{said}; nobody has printed yet what opens it",
            "`pbs key recovery` prints it: keep that sheet away from this server",
        )  # fmt: skip
    return Finding(name, "ok", said)


def restored(home: Home, now: datetime) -> list[Finding]:
    """What restores on the server brought back and nobody removed: plain copies, which take room."""
    try:
        # When it got its name: its own time is the one that it had on the source.
        since = [path.lstat().st_ctime for path in home.restored.iterdir() if path.is_dir()]
    except OSError:
        return []
    if not since:
        return []
    oldest = datetime.fromtimestamp(min(since), UTC)
    said = f"{len(since)} restored folder(s) lie in {home.restored}, the oldest since {oldest:%Y-%m-%d}"
    if now - oldest < FORGOTTEN:
        return [Finding("restored", "ok", said)]
    return [
        Finding(
            "restored", "warning", said, "take out what is wanted, and remove them: they are plain copies"
        )
    ]


def _service(home: Home) -> Finding:
    try:
        programs = Supervisor(home.supervisor_socket, home.etc / "supervisord.d").all()
    except PbsError as error:
        return Finding("service", "warning", error.message, error.hint)
    bad = [each["name"] for each in programs if each["statename"] in ("FATAL", "BACKOFF")]
    if bad:
        return Finding("service", "broken", f"{bad[0]} does not run", f"look at {home.log}/{bad[0]}.log")
    return Finding("service", "ok", f"{len(programs)} programs")


async def look_at_source(home: Home, source: Source) -> list[Finding]:
    """The repository, the allowed words, and everything that must be refused."""
    clock = SystemClock()
    ledger = open_ledger(home.ledger)
    findings = [
        await _repository(home, source, Tools(home, ledger, Supervisor(home.sockets, home.etc), clock))
    ]
    try:
        async with connect(source.address, clock) as line:
            findings.append(
                Finding("login", "ok", f"{source.address.user}@{source.address.host}, host key as pinned")
            )
            findings += await _words(source, line)
    except PbsError as error:
        findings.append(Finding(error.code, "broken", error.message, error.hint))
    return findings


async def _repository(home: Home, source: Source, tools: Tools) -> Finding:
    try:
        await KnownRepository(home, tools.ledger, source.name, tools.clock).verify()
    except PbsError as error:
        return Finding("repository", "broken", error.message, error.hint)
    return Finding("repository", "ok", "is the one that the ledger knows, and our key opens it")


async def _words(source: Source, line: Connection) -> list[Finding]:
    """What must work, and, whatever works, all that must not."""
    findings, folder = await _agent(source, line)
    root = source.address.user == "root"
    try:
        if folder is not None:
            lent = socket_path(folder)
            # What is lent here leads nowhere, so nothing of ours can be reached while the lock is tried.
            async with line.lend(lent, Path("/nonexistent") / secrets.token_hex(8)):
                findings.append(Finding("forward", "ok", "a socket can be lent"))
                return findings + await forbidden(line, source.address, lent, root)
    except TunnelError as error:
        findings.append(Finding("forward", "broken", error.message, error.hint))
    return findings + await forbidden(line, source.address, None, root)


async def _agent(source: Source, line: Connection) -> tuple[list[Finding], str | None]:
    """What the agent says to its harmless words, and its socket folder where it can work."""
    try:
        hello, end = await _said(line, "ping")
        if end.get("outcome") != "ok":
            said = f"the agent says: {_text(end.get('message'))}"
            return [Finding("ping", "broken", said, "correct that on the source")], None
        about = f"agent {_text(hello.get('agent'))}, restic {_text(hello.get('restic'))}"
        findings = [Finding("ping", "ok", about)]
        if hello.get("profile") != source.name:
            findings.append(
                Finding(
                    "profile", "warning", f"the agent answers for the profile {_text(hello.get('profile'))}",
                    f"the line for this source ends in --profile {source.name}; of two lines with one key the first wins",
                )
            )  # fmt: skip
        _, end = await _said(line, "clear")
    except TunnelError as error:
        return [Finding(error.code, "broken", error.message, error.hint)], None
    said = _text(end.get("message"))
    cleared = end.get("outcome") == "ok"
    findings.append(
        Finding(
            "clear",
            "ok" if cleared else "broken",
            said,
            None if cleared else "look at the agent's socket folder there",
        )
    )
    folder = hello.get("socket_folder")
    return findings, folder if isinstance(folder, str) else None


async def _said(line: Connection, word: str) -> tuple[dict[str, Any], dict[str, Any]]:
    async with await line.say(word) as talk:
        async for _ in talk.events(within=WORD_SECONDS):
            pass
    return talk.hello, talk.end or {}


def _text(value: object) -> str:
    return clean_line(value, 300) if isinstance(value, str) else "nothing that makes sense"


def standing(findings: list[Finding]) -> str:
    """The worst of them."""
    order = ("broken", "warning", "ok")
    return next(state for state in order if any(each.state == state for each in findings) or state == "ok")

"""The parent of the service: checks everything that can be checked, then keeps one supervisord for as long as it lives.

Once everything is up it becomes `pbs.attend`, which waits with a third of the memory. It carries out no run and holds no
state but the lock that lets a home be served once.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pbs import keyring
from pbs.attend import attend, become_light, end, pass_on
from pbs.background import in_background
from pbs.clock import SystemClock, pause
from pbs.config import Config, adopt, load
from pbs.endpoint import Endpoint, Supervisor
from pbs.endpoint.program import escape, quote
from pbs.errors import HomeError, LedgerError, ServiceDown
from pbs.files import FileLock, write
from pbs.home import SUPERVISOR_PID, Home
from pbs.ledger import files as ledger_file
from pbs.ledger import open_ledger
from pbs.ledger.upgrade import upgrade
from pbs.process import start
from pbs.render import render
from pbs.stopping import served
from pbs.systemd import READY, Manager
from pbs.text import clean_line

READY_SECONDS = 60.0
PORT_SECONDS = 3.0
LOOKING_SECONDS = 0.5
# What its configuration takes for something else, however it is written.
NOT_FOR_SUPERVISOR = re.compile(r"[%\[\x00-\x1f\x7f]|\s[;#]")


def prepare(root: Path) -> tuple[Home, Config]:
    """Everything that must be right before anything starts; nothing is running yet when this raises.

    Raises:
        ConfigError, HomeError, SchemaMismatch, ToolMissing: each with what to do.
    """
    home = Home.at(root)
    config = load(home)
    home = Home.at(root, config.server.run_dir)
    for path in (home.root, home.sockets):
        if NOT_FOR_SUPERVISOR.search(str(path)):
            raise HomeError(
                f"supervisord cannot be told of a path like {clean_line(str(path))}",
                'name it without "%", "[", control characters, and ";" or "#" behind a blank',
            )
    home.check_socket_paths(tuple(config.sources))
    home.make()
    keyring.ready(home.keys)
    if config.server.listen is not None:
        keyring.operator_token(home)
    return home, config


def ready_to_start(home: Home, config: Config) -> None:
    """Upgrade the ledger, look at the port, write what supervisord reads. The caller holds the lock of the service."""
    # Not before: as long as somebody else serves this home, its sockets are where that one put them.
    home.remember_run_dir()
    adopt(home)
    (home.sockets / SUPERVISOR_PID).unlink(missing_ok=True)
    _no_empty_ledger(home)
    if keyring.is_sealed(home.keys):
        # What a killed `pbs key lock` did not come to, or a person put there.
        keyring.seal_rest(home.keys)
        keyring.hand_out(home)
    upgrade(home.ledger, home.locks / "upgrade.lock")
    _port_free(config)
    folder = home.etc / "supervisord.d"
    for path in folder.glob("*.conf"):
        path.unlink()
    # What a killed service was just writing.
    for torn in (path for where in (folder, home.etc, home.feeds) for path in where.glob(".*.tmp")):
        torn.unlink(missing_ok=True)
    ledger = open_ledger(home.ledger)
    supervisor = Supervisor(home.supervisor_socket, folder)
    clock = SystemClock()
    for name, source in config.sources.items():
        # Written beforehand, since making a thousand programs known one by one costs minutes.
        if source.endpoint == "always" and ledger.repository(name) is not None:
            write(folder / f"endpoint-{name}.conf", Endpoint(home, source, supervisor, clock).text.encode())
    ledger.close()
    write(home.etc / "supervisord.conf", _supervisord_conf(home, config).encode())


def _no_empty_ledger(home: Home) -> None:
    """Never begin with an empty ledger where one was: what it knew is to be had back first."""
    if ledger_file.empty(home.ledger) and any(home.backups.glob("*.restic/config")):
        raise LedgerError(
            f"there is no ledger at {home.ledger}, and repositories lie in {home.backups}",
            "`pbs ledger rebuild` makes it anew from all that is left; is the disk of the ledger mounted?",
        )


def _supervisord_conf(home: Home, config: Config) -> str:
    return render(
        "supervisord.conf.j2",
        socket=escape(home.supervisor_socket),
        log=escape(home.log),
        pidfile=escape(home.sockets / SUPERVISOR_PID),
        program=quote(sys.executable, "-I", "-m", "pbs.cli.main", "--home", home.root),
        workers=config.server.workers,
        minfds=min(1024, _fd_limit()),
        user=pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() == 0 else "",
    )


def _fd_limit() -> int:
    return os.sysconf("SC_OPEN_MAX")


def _port_free(config: Config) -> None:
    if config.server.listen is None:
        return
    host, port = config.server.listen
    clock = SystemClock()
    # The controller of a service that was killed a moment ago may still be letting go of it.
    deadline = clock.monotonic() + PORT_SECONDS
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and clock.monotonic() < deadline:
                pause(0.05)
                continue
            raise HomeError(
                f"cannot listen on {host}:{port}: {error.strerror}",
                'choose another `listen` in [server] of pbs.toml, or listen = "off" for the socket alone',
            ) from error
        return


def serve(root: Path, *, say: Callable[[str], None]) -> int:
    """Serve a home until TERM or INT; returns supervisord's exit code, if at all: mostly this process becomes a light one.

    Raises:
        PbsError: it cannot start; nothing is left running.
    """
    home, config = prepare(root)
    lock = _alone(home)
    manager = Manager(os.environ)
    ready_to_start(home, config)
    command = [sys.executable, "-I", "-m", "pbs.keeper", "-c", str(home.etc / "supervisord.conf")]
    log = os.open(home.log / "supervisord.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    # It makes the logs of all its programs.
    child = start(command, inherit=(lock.descriptor,), output=log, umask=0o077)
    os.close(log)
    try:
        stopping = pass_on(child, home, manager)
        wait_ready(home, child)
        where = f", http on {config.server.base_url}" if config.server.listen else ""
        say(f"serving {home.root}{where}; `pbs stop` or Ctrl-C ends it")
        manager.say(READY, status=f"serving {home.root}")
        if not stopping:
            become_light(child.pid, lock.descriptor, home, manager)
        return attend(child, home, manager)
    finally:
        end(child, home, manager)
        lock.release()


def _alone(home: Home) -> FileLock:
    """The lock of the service. Whoever only looks whether it runs holds it for a moment."""
    lock = FileLock(home.locks / "serve.lock")
    clock = SystemClock()
    deadline = clock.monotonic() + LOOKING_SECONDS
    while not lock.acquire():
        if clock.monotonic() > deadline:
            raise HomeError(
                f"the home {home.root} is already served", "`pbs status` shows it, `pbs stop` ends it"
            )
        pause(0.02)
    return lock


def wait_ready(home: Home, child: subprocess.Popen[bytes] | None = None) -> None:
    """Return when the controller answers.

    Raises:
        ServiceDown: it does not within 30 s, or supervisord ended.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + READY_SECONDS
    while not answers(home.controller_socket):
        if child is not None and child.poll() is not None:
            raise ServiceDown("supervisord ended at once", f"look at {home.log}/supervisord.out")
        if clock.monotonic() > deadline:
            raise ServiceDown("the controller does not answer", f"look at {home.log}/controller.log")
        pause(0.05)


def answers(path: Path) -> bool:
    """Whether somebody accepts connections on this socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def serve_detached(root: Path) -> Home:
    """Serve a home in the background; returns when it answers.

    Raises:
        PbsError: it cannot start, or does not answer in time.
    """
    home, _ = prepare(root)
    if served(home):
        raise HomeError(
            f"the home {home.root} is already served", "`pbs status` shows it, `pbs stop` ends it"
        )
    in_background(lambda ready: serve(home.root, say=lambda _: ready()), home.log / "serve.out")
    return home

"""The source of the demo: a real sshd of its own on the loopback, and the agent as its operator would install it.

It reads no configuration of the machine's sshd and writes below its own folder only; as root it makes /run/sshd where
that is missing, which every sshd needs.
"""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pbs import files
from pbs.clock import Clock
from pbs.demo.server import Server
from pbs.errors import ToolError, ToolMissing
from pbs.process import find_tool, run, start

READY_SECONDS = 10.0
ATTEMPTS = 5
PRIVILEGE_FOLDER = Path("/run/sshd")
# What OpenSSH ships with, but for where things lie: the line in authorized_keys alone has to hold the lock.
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_ed25519
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM {pam}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""


def free_port() -> int:
    """A TCP port of the loopback that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def locked(user: str, shadow: Path = Path("/etc/shadow")) -> bool:
    """Whether the account's password is locked; unknown to whoever may not look, and to an sshd of his."""
    with suppress(OSError):
        for line in shadow.read_text(errors="replace").splitlines():
            name, _, rest = line.partition(":")
            if name == user:
                return rest.startswith("!")
    return False


class Source:
    """The machine that is backed up. `keep`: its sshd outlives us."""

    def __init__(self, folder: Path, clock: Clock, *, keep: bool) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.agent = folder / "agent"
        self.record = folder / "intruder.json"
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.port = 0
        self.sshd: subprocess.Popen[bytes] | None = None
        self._clock = clock
        self._keep = keep

    @property
    def log(self) -> Path:
        """What sshd says."""
        return self.folder / "sshd.log"

    async def start_sshd(self) -> None:
        """Make a host key and serve it on a free port.

        Raises:
            ToolError: sshd is missing or does not start; with its own words.
        """
        program, keygen = find_tool("sshd"), find_tool("ssh-keygen")
        if program is None or keygen is None:
            raise ToolMissing("sshd or ssh-keygen is not installed", "./bootstrap install")
        if os.geteuid() == 0 and not PRIVILEGE_FOLDER.exists():
            files.make_folder(PRIVILEGE_FOLDER, mode=0o755)
        key = self.folder / "host_ed25519"
        made = await run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", key], timeout=30)
        if made.code:
            raise ToolError(f"ssh-keygen failed: {made.stderr}")
        (self.folder / "authorized_keys").touch()
        for _ in range(ATTEMPTS):
            self.port = free_port()
            if await self._serve(program):
                return
        raise ToolError(f"sshd does not start: {self.log.read_text(errors='replace').strip()[-500:]}")

    async def _serve(self, program: Path) -> bool:
        """Whether it answers; somebody may have taken the port just before."""
        config = self.folder / "sshd_config"
        # Without PAM, sshd lets nobody in whose password is locked, as root's often is.
        pam = "yes" if locked(self.user) else "no"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, pam=pam))
        end = 0 if self._keep else signal.SIGKILL
        with self.log.open("ab") as log:
            self.sshd = start([program, "-D", "-e", "-f", config], at_parent_death=end, output=log.fileno())
        deadline = self._clock.monotonic() + READY_SECONDS
        while self.sshd.poll() is None and self._clock.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as link:
                if link.recv(4) == b"SSH-":
                    return True
            await self._clock.sleep(0.02)
        return False

    async def install_agent(self, server: Server) -> None:
        """Unpack what `pbs agent bundle` writes, allow the tree in a profile, and make the forced command."""
        bundle = self.folder / "pbs-agent.tar"
        await server.ask("agent", "bundle", "--output", bundle, "--profile", "demo")
        unpacked = await run(["tar", "-xf", bundle, "-C", self.folder], timeout=60)
        if unpacked.code:
            raise ToolError(f"the bundle cannot be unpacked: {unpacked.stderr}")
        (self.folder / "pbs-agent").rename(self.agent)
        (self.folder / "demo.toml").write_text(
            f'path = "{self.tree}"\nsockets = "{self.folder}/s"\ncache = "{self.folder}/cache"\n'
        )
        self.behave()

    @property
    def command(self) -> Path:
        """The forced command that authorized_keys names."""
        return self.folder / "forced-command"

    def behave(self) -> None:
        """An honest source: the forced command is the agent."""
        self._force(*self._agent())

    def go_bad(self) -> None:
        """A source in other hands: something else runs first, with all that the agent is given."""
        intruder = Path(__file__).with_name("intruder.py")
        self._force(sys.executable, "-I", str(intruder), str(self.record), *self._agent())

    def _agent(self) -> tuple[str, ...]:
        # This Python, since the machine's own may be missing; the profile lies in the demo's folder, not in /etc.
        return (
            sys.executable,
            "-I",
            str(self.agent / "pbs-agent"),
            "--config",
            str(self.folder / "demo.toml"),
        )

    def _force(self, *words: str) -> None:
        files.write(self.command, f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'.encode(), mode=0o755)

    def authorize(self, line: str) -> None:
        """Let exactly this line in."""
        files.write(self.folder / "authorized_keys", f"{line}\n".encode())

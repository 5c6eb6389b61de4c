"""Who is measured: each makes a fresh destination, then backs up the same tree twice."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import shlex
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from box import Box, Broken, await_that, environment, free_port

from pbs.process import find_tool

CIPHER = "aes128-gcm@openssh.com"
PBS = [sys.executable, "-m", "pbs.cli.main"]
# A program, the Debian package that has it.
PACKAGES = {"restic": "restic (≥ 0.19)", "rest-server": "restic-rest-server", "ssh": "openssh-client",
            "ssh-keygen": "openssh-client", "sshd": "openssh-server"}  # fmt: skip
MORE_PACKAGES = {"rdiff-backup": "rdiff-backup", "borg": "borgbackup", "rsync": "rsync"}


def bundled_agent(pbs: Callable[..., str], folder: Path) -> Path:
    """Unpack below `folder` the agent that operators install; returns where it is."""
    pbs("agent", "bundle", "-o", str(folder / "bundle.tar"), "--profile", "bench")
    with tarfile.open(folder / "bundle.tar") as tar:
        tar.extractall(folder)  # our own file; older 3.11 know no filter
    return folder / "pbs-agent"


def profile(target: Path, tree: Path, *, sockets: Path, cache: Path) -> None:
    """Write what an agent may read, and where it keeps things."""
    values = {"path": tree, "sockets": sockets, "cache": cache, "restic": tool("restic")}
    target.write_text("".join(f"{key} = {json.dumps(str(value))}\n" for key, value in values.items()))


def tool(name: str) -> str:
    """Where a program is, found as the product finds it.

    Raises:
        Broken: it is missing; with the package that has it.
    """
    found = find_tool(name, f"restic-{name}")
    if found is None:
        raise Broken(f"{name} is missing: install {({**PACKAGES, **MORE_PACKAGES})[name]}")
    return str(found)


def missing(names: list[str]) -> list[str]:
    """The packages of the programs that are not here."""
    packages = {**PACKAGES, **MORE_PACKAGES}
    return [packages[name] for name in names if find_tool(name, f"restic-{name}") is None]


class Sshd:
    """A real sshd on the loopback with a key of its own, and a client configuration that reaches it as `src`."""

    def __init__(self, box: Box, folder: Path) -> None:
        self.root, self.port = folder, free_port()
        self.authorized_keys = folder / "authorized_keys"
        for name in ("host_key", "client_key"):
            box.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
        self.host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
        self.authorized_keys.write_text((folder / "client_key.pub").read_text())
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {self.host_key}\n")
        self.client = folder / "ssh_config"
        self.client.write_text(
            f"Host src\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {folder}/client_key\n IdentitiesOnly yes\n UserKnownHostsFile {folder}/known_hosts\n"
            f" GlobalKnownHostsFile none\n BatchMode yes\n Ciphers {CIPHER}\n Compression no\n ControlPath none\n"
            " ExitOnForwardFailure yes\n LogLevel ERROR\n"
        )
        # A shell that reads what the person who runs this has in his home costs more than the pull that it starts.
        (folder / "sshd_config").write_text(
            f"SetEnv HOME={box.folder}\nPort {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nAuthorizedKeysFile {self.authorized_keys}\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\nAllowTcpForwarding yes\nStreamLocalBindUnlink yes\nMaxStartups 100\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        command = [tool("sshd"), "-D", "-e", "-f", folder / "sshd_config"]
        self._box, self._process = box, box.daemon(command, folder / "sshd.log")
        await_that(self._answers, "sshd")

    @property
    def ssh(self) -> list[str]:
        """The client's command."""
        return [tool("ssh"), "-F", str(self.client)]

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it and its sessions."""
        self._box.end(self._process)


@dataclasses.dataclass
class Contender:
    """One way to back up `tree`; everything that it makes lies in `folder`, fresh for each round."""

    box: Box
    tree: Path
    folder: Path = Path()
    key = ""
    label = ""

    def __post_init__(self) -> None:
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.sshd: Sshd | None = None

    def prepare(self) -> None:
        """Make the destination and start what stays; not timed."""

    def back_up(self) -> None:
        """One backup; timed."""
        raise NotImplementedError

    def pause(self) -> None:
        """What must pass between two backups; not timed."""

    @property
    def recorded(self) -> float | None:
        """Seconds of the last backup by its own record, where it keeps one."""
        return None

    def done(self) -> None:
        """End what was started; not timed."""
        for child in self._daemons:
            self.box.end(child)
        self._daemons = []
        if self.sshd is not None:
            self.sshd.stop()
            self.sshd = None


class LocalRestic(Contender):
    """Bare restic into a folder."""

    key, label = "local", "restic to a local folder"

    def prepare(self) -> None:
        """A repository with restic's own key."""
        (self.folder / "password").write_text("correct horse battery staple")
        self.box.run([*self.restic(str(self.folder / "repo")), "init"], env=environment(self.folder))

    def restic(self, repository: str) -> list[str]:
        """Restic with a cache of its own."""
        return [tool("restic"), "--repo", repository, "--password-file", str(self.folder / "password"),
                "--cache-dir", str(self.folder / "cache")]  # fmt: skip

    def back_up(self) -> None:
        """With restic's own default options."""
        self.box.run(
            [*self.restic(str(self.folder / "repo")), "backup", str(self.tree)], env=environment(self.folder)
        )


class RestServer(LocalRestic):
    """restic through an append-only rest-server."""

    key, label = "rest", "restic → rest-server, unix socket"

    def prepare(self) -> None:
        """The repository, and a server in front of it."""
        super().prepare()
        command = [tool("rest-server"), "--listen", f"unix:{self.socket}", "--append-only", "--no-auth",
                   "--path", str(self.folder / "repo")]  # fmt: skip
        self._daemons.append(self.box.daemon(command, self.folder / "rest.log", environment(self.folder)))
        await_that(self._answers, "rest-server")

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        return self.folder / "rest.sock"

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def back_up(self) -> None:
        """Over the socket."""
        command = [*self.restic(f"rest:http+unix://{self.socket}:/"), "backup", str(self.tree)]
        self.box.run(command, env=environment(self.folder))


class Tunnel(RestServer):
    """The same through OpenSSH: what a careful person would do by hand."""

    key, label = "tunnel", "restic → rest-server, OpenSSH -R, aes128-gcm"

    def prepare(self) -> None:
        """And an sshd on the source's side."""
        super().prepare()
        self.sshd = Sshd(self.box, self.folder)

    def back_up(self) -> None:
        """One ssh command: it lends the socket and runs restic on the other side."""
        assert self.sshd is not None
        lent = self.folder / "lent.sock"
        lent.unlink(missing_ok=True)
        command = [*self.restic(f"rest:http+unix://{lent}:/"), "backup", str(self.tree)]
        self.box.run([*self.sshd.ssh, "-R", f"{lent}:{self.socket}", "src", shlex.join(command)],
                     env=environment(self.folder))  # fmt: skip


class Pull(Contender):
    """Ours: a home that is served, a source with the agent as it is shipped."""

    key, label = "pull", "pbs pull"

    def pbs(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """One verb."""
        return self.box.run(
            [*PBS, "--home", str(self.folder / "h"), *arguments], env=environment(self.folder), codes=codes
        )

    def prepare(self) -> None:
        """A home, the service, a source."""
        home = self.folder / "h"
        self.pbs("init", str(home))
        listen = f"127.0.0.1:{free_port()}"
        (home / "pbs.toml").write_text(
            f'[server]\nlisten = "{listen}"\nbase_url = "http://{listen}"\n[defaults]\nschedule = "manual"\n'
        )
        self.sshd = Sshd(self.box, self.folder)
        agent = self._agent()
        serve = [*PBS, "--home", str(home), "serve"]
        self._daemons.append(self.box.daemon(serve, self.folder / "serve.log", environment(self.folder)))
        await_that(self._serves, "pbs serve")
        answer = self.pbs(
            "source", "add", "bench", "--host", "127.0.0.1", "--port", str(self.sshd.port), "--user", getpass.getuser(),
            "--host-key", self.sshd.host_key, "--agent-path", str(agent), "--json",
        )  # fmt: skip
        self.sshd.authorized_keys.write_text(json.loads(answer)["authorized_keys"] + "\n")

    def _agent(self) -> Path:
        """The agent with a profile."""
        place = bundled_agent(self.pbs, self.folder)
        profile(place / "bench.toml", self.tree, sockets=self.folder / "s", cache=self.folder / "cache")
        wrapper = place / "run"
        wrapper.write_text(f'#!/bin/sh\nexec {place}/pbs-agent --config {place}/bench.toml "$@"\n')
        wrapper.chmod(0o755)
        return wrapper

    def _serves(self) -> bool:
        states = {
            each["name"]: each["state"]
            for each in json.loads(self.pbs("status", "--json", codes=(0, 6)))["services"]
        }
        return states.get("worker-0") == states.get("controller") == "running"

    def back_up(self) -> None:
        """Ask for a pull and follow it to its end."""
        self._last = json.loads(self.pbs("pull", "bench", "--json", codes=(0, 1, 3, 4, 5)))
        if self._last["outcome"] != "ok":
            raise Broken(f"the pull ended {self._last['outcome']}: {self._last['message']}")

    @property
    def recorded(self) -> float | None:
        """From the run's start to its end."""
        return float(self._last["seconds"])

    def restored(self) -> Path:
        """The newest snapshot, restored into a folder."""
        self.pbs("restore", "bench", "--to", str(self.folder / "restored"))
        return self.folder / "restored"

    def stages(self) -> dict[str, float]:
        """The stages of the last run with their seconds, from its log."""
        log = self.folder / "h/var/log/runs/bench" / f"{self._last['id']}.jsonl"
        events = [json.loads(line) for line in log.read_text().splitlines()]
        marks = [(each.get("stage", each["event"]), datetime.fromisoformat(each["time"])) for each in events
                 if each["event"] in ("begin", "hello", "stage", "ended")]  # fmt: skip
        return {
            name: round((after - moment).total_seconds(), 3) for (name, moment), (_, after) in pairwise(marks)
        }


class RdiffBackup(Contender):
    """rdiff-backup, pulling."""

    key, label = "rdiff-backup", "rdiff-backup over ssh"

    def prepare(self) -> None:
        """Only the sshd."""
        self.sshd = Sshd(self.box, self.folder)

    def back_up(self) -> None:
        """The destination is here, the source behind ssh."""
        assert self.sshd is not None
        program = tool("rdiff-backup")
        schema = f"{shlex.join(self.sshd.ssh)} {{h}} {program} --api-version 201 server"
        self.box.run([program, "--api-version", "201", "--remote-schema", schema, "backup", f"src::{self.tree}",
                      self.folder / "d"], env=environment(self.folder))  # fmt: skip

    def pause(self) -> None:
        """It refuses two backups within one second."""
        time.sleep(1.1)


class Borg(Contender):
    """borg, pushing: it knows no other direction."""

    key, label = "borg", "borg over ssh"

    def prepare(self) -> None:
        """A repository behind ssh."""
        self.sshd = Sshd(self.box, self.folder)
        self._count = 0
        self.box.run([tool("borg"), "init", "--encryption=repokey", self._where], env=self._environment())

    @property
    def _where(self) -> str:
        return f"ssh://src{self.folder}/repo"

    def _environment(self) -> dict[str, str]:
        assert self.sshd is not None
        return environment(self.folder, BORG_PASSPHRASE="correct horse battery staple", BORG_RSH=shlex.join(self.sshd.ssh),
                           BORG_REMOTE_PATH=tool("borg"), BORG_BASE_DIR=str(self.folder / "borg"))  # fmt: skip

    def back_up(self) -> None:
        """One more archive."""
        self._count += 1
        self.box.run(
            [tool("borg"), "create", f"{self._where}::{self._count}", self.tree], env=self._environment()
        )


class Rsync(Contender):
    """rsync: one copy, no history, no encryption."""

    key, label = "rsync", "rsync -a over ssh (no history)"

    def prepare(self) -> None:
        """Only the sshd."""
        self.sshd = Sshd(self.box, self.folder)

    def back_up(self) -> None:
        """Pulling, as we do."""
        assert self.sshd is not None
        self.box.run([tool("rsync"), "-a", "-e", shlex.join(self.sshd.ssh), f"src:{self.tree}/", f"{self.folder}/d/"],
                     env=environment(self.folder))  # fmt: skip


USUAL: list[type[Contender]] = [LocalRestic, RestServer, Tunnel, Pull]
MORE: list[type[Contender]] = [RdiffBackup, Borg, Rsync]

"""Where everything of one backup server lies, and which of it is closed to others. It writes nothing but folders."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pbs.errors import HomeError
from pbs.files import PRIVATE_DIR, explained, write

SOCKET_PATH_LIMIT = 107
# supervisord binds SOCKET.PID before it renames it to SOCKET.
SUPERVISOR_SOCKET_LIMIT = 99
# In run_dir: its process id.
SUPERVISOR_PID = "supervisord.pid"
# What else we put there.
RUN_DIR_NAMES = frozenset(
    {SUPERVISOR_PID, "supervisor.sock", "controller.sock", "endpoint", "wake", "locks", "mounts", "keys"}
)


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one backup server. `sockets` is run_dir: a short folder where a long home would not fit."""

    root: Path
    sockets: Path

    @classmethod
    def at(cls, root: Path, run_dir: str | None = None) -> Home:
        """The home at `root`; the run_dir that the service last used is remembered in etc/run_dir."""
        root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would replace a short symlink by a long path
        if run_dir is None:
            with suppress(OSError):
                run_dir = (root / "etc/run_dir").read_text().strip() or None
        return cls(root, root / (run_dir or "var/run"))

    @property
    def exists(self) -> bool:
        """Whether `pbs init` was here."""
        # os.path, not pathlib: what cannot be looked at (no permission, a name too long) is not there for us.
        return os.path.exists(self.config) or os.path.exists(self.ledger)  # noqa: PTH110

    @property
    def config(self) -> Path:
        """The operator's configuration."""
        return self.root / "pbs.toml"

    @property
    def sources_d(self) -> Path:
        """One file per source."""
        return self.root / "sources.d"

    @property
    def etc(self) -> Path:
        """What is generated."""
        return self.root / "etc"

    @property
    def keys(self) -> Path:
        """Everything that is secret."""
        return self.root / "etc/keys"

    @property
    def ledger(self) -> Path:
        """The database."""
        return self.root / "var/lib/ledger.sqlite"

    @property
    def locks(self) -> Path:
        """File locks. Always below the home, so that they are found with a broken configuration too."""
        return self.root / "var/run/locks"

    @property
    def log(self) -> Path:
        """Logs of the service."""
        return self.root / "var/log"

    @property
    def cache(self) -> Path:
        """Restic's caches: safe to delete."""
        return self.root / "var/cache"

    @property
    def folders(self) -> Path:
        """Folders of snapshots that somebody looked at, by source: safe to delete."""
        return self.cache / "folders"

    @property
    def feeds(self) -> Path:
        """Rendered feeds."""
        return self.root / "srv/feeds"

    @property
    def promises(self) -> Path:
        """How promises stand, for those who look at files."""
        return self.root / "var/promises"

    @property
    def checks(self) -> Path:
        """One small program for each of these files: exit 0 = kept."""
        return self.root / "etc/promise"

    @property
    def backups(self) -> Path:
        """Legacy trees and repositories."""
        return self.root / "srv/backup/pbs"

    @property
    def controller_socket(self) -> Path:
        """Where the API answers."""
        return self.sockets / "controller.sock"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisord answers."""
        return self.sockets / "supervisor.sock"

    def endpoint_socket(self, name: str) -> Path:
        """Where the append-only door of a source listens."""
        return self.sockets / "endpoint" / f"{name}.sock"

    def repository(self, name: str) -> Path:
        """The restic repository of a source."""
        return self.backups / f"{name}.restic"

    def legacy(self, name: str) -> Path:
        """The rdiff-backup tree of a source, if there was one."""
        return self.backups / name

    def work(self, name: str) -> Path:
        """Views and scratch of a source: hard links need the repository's file system."""
        return self.backups / f"{name}.work"

    def quarantine(self, name: str) -> Path:
        """What admission set aside, by run."""
        return self.backups / f"{name}.quarantine"

    def password(self, name: str) -> Path:
        """The repository password of a source."""
        return self.keys / f"{name}.key"

    def rotation(self, name: str) -> Path:
        """What a change of the repository password of a source is about to do, while it goes on."""
        return self.keys / f"{name}.rotation"

    @property
    def held_key(self) -> Path:
        """Where the service that goes on hands out what opens a sealed keys folder: a link into its memory."""
        return self.sockets / "keys"

    @property
    def recovery_key(self) -> Path:
        """What opens the copy of the server. No source's key has this name: theirs end in `.key`."""
        return self.keys / "server.recovery"

    @property
    def server_copy(self) -> Path:
        """The copies of ledger, keys and configuration: no source has a name with a dot, and no endpoint serves it."""
        return self.backups / ".server.restic"

    def notify_token(self, name: str) -> Path:
        """What a source shows when it asks for its pull. The operator's own token has its name for itself."""
        return self.keys / (f"{name}.token" if name.lower() != "admin" else "admin.source.token")

    def channel_secret(self, name: str) -> Path:
        """What is secret of a channel of messages: its address, or the password of its account."""
        return self.keys / f"{name}.notify"

    def feed_secret(self, name: str) -> Path:
        """What stands in the address of a feed for a reader that can send no token."""
        return self.keys / f"{name}.feed"

    def run_log(self, name: str, run: str) -> Path:
        """Everything that one run did, one JSON object a line."""
        return self.log / "runs" / name / f"{run}.jsonl"

    def mountpoint(self, name: str) -> Path:
        """Where snapshots of a source are mounted unless told otherwise."""
        return self.root / "mnt" / name

    @property
    def restored(self) -> Path:
        """What runs restored here, a folder for each; whoever asked for it removes it."""
        return self.root / "srv/restored"

    @property
    def mounts(self) -> Path:
        """Records of open mounts."""
        return self.root / "var/run/mounts"

    def make(self) -> None:
        """Make every folder that is missing, closed to others where secrets or sockets lie.

        Raises:
            HomeError: where a folder cannot be made or a private one belongs to somebody else.
        """
        with explained("make the folders of the home", self.root):
            self._refuse_shared_run_dir()
            for folder in (self.root, self.root / "var", self.root / "srv"):
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            for folder in (
                self.etc, self.keys, self.sources_d, self.root / "var/lib", self.root / "var/run", self.locks,
                self.sockets, self.sockets / "endpoint", self.sockets / "wake", self.log, self.log / "runs",
                self.cache, self.feeds, self.backups, self.root / "mnt", self.etc / "supervisord.d",
                self.promises, self.checks,
            ):  # fmt: skip
                folder.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
            for folder in (self.keys, self.sockets):
                _close_to_others(folder)

    def _refuse_shared_run_dir(self) -> None:
        """Never close a folder that others use: `run_dir = "/run"`, served by root, would stop the whole machine."""
        if not self.sockets.is_dir() or not self.sockets.stat().st_mode & 0o077:
            return
        foreign = sorted({entry.name for entry in self.sockets.iterdir()} - RUN_DIR_NAMES)
        if foreign or self.sockets.stat().st_mode & stat.S_ISVTX:
            raise HomeError(
                f"{self.sockets} is open to others and not ours alone"
                + (f": it holds {foreign[0]}" if foreign else ""),
                f'name a folder of its own as run_dir in [server] of pbs.toml, such as run_dir = "{self.sockets}/pbs"',
            )

    def check_socket_paths(self, names: tuple[str, ...] = ()) -> None:
        """Refuse, before anything starts, a home whose socket paths the kernel would not take.

        Raises:
            HomeError: with the path, its length and the way out.
        """
        wanted = [
            (self.supervisor_socket, SUPERVISOR_SOCKET_LIMIT),
            (self.controller_socket, SOCKET_PATH_LIMIT),
        ]
        wanted += [(self.endpoint_socket(name), SOCKET_PATH_LIMIT) for name in names]
        for path, limit in wanted:
            length = len(os.fsencode(path))
            if length > limit:
                raise HomeError(
                    f"the socket path {path} has {length} bytes; at most {limit} work",
                    'set run_dir in [server] of pbs.toml to a short absolute folder, such as run_dir = "/run/pbs"',
                )

    def remember_run_dir(self) -> None:
        """Leave word where the sockets are, for verbs that must work with a broken pbs.toml."""
        # From the home where it lies in it: a home that was moved must not look for its sockets in the old place.
        inside = self.sockets.is_relative_to(self.root)
        where = self.sockets.relative_to(self.root) if inside else self.sockets
        write(self.etc / "run_dir", str(where).encode() + b"\n")


def require(home: Home) -> None:
    """Raise unless there is a home here, and one that this user may enter.

    Raises:
        HomeError: with how to name or make one.
    """
    if not home.exists:
        raise HomeError(
            f"{home.root} is no home of a backup server",
            "make one with `pbs init DIR`, or name it with --home",
        )
    if not os.access(home.etc, os.R_OK | os.X_OK) and os.path.lexists(home.etc):
        raise HomeError(
            f"the home {home.root} is closed to this user (number {os.geteuid()})",
            "run as the user that owns it",
        )


def _close_to_others(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise HomeError(
            f"{folder} belongs to user id {status.st_uid}, not to {os.geteuid()} who runs this",
            "run pbs as the owner of the home, or give the home to this user with chown -R",
        )
    if status.st_mode & 0o077:
        folder.chmod(PRIVATE_DIR)

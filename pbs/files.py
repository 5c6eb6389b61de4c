"""Where everything of a home lies, and how it is written: whole or not at all, private from the start.

The only door to writing files and to file locks. It never knows what the bytes mean.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pbs.errors import HomeError, LeaseHeld

SOCKET_PATH_LIMIT = 107
# supervisord binds SOCKET.PID before it renames it to SOCKET.
SUPERVISOR_SOCKET_LIMIT = 99
PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600


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
        return (self.root / "pbs.toml").exists() or self.ledger.exists()

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
    def feeds(self) -> Path:
        """Rendered feeds."""
        return self.root / "srv/feeds"

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

    def password(self, name: str) -> Path:
        """The repository password of a source."""
        return self.keys / f"{name}.key"

    def run_log(self, name: str, run: str) -> Path:
        """Everything that one run did, one JSON object a line."""
        return self.log / "runs" / name / f"{run}.jsonl"

    def mountpoint(self, name: str) -> Path:
        """Where snapshots of a source are mounted unless told otherwise."""
        return self.root / "mnt" / name

    def make(self) -> None:
        """Make every folder that is missing, closed to others where secrets or sockets lie.

        Raises:
            HomeError: where a folder cannot be made or a private one belongs to somebody else.
        """
        with explained("make the folders of the home", self.root):
            for folder in (self.root, self.root / "var", self.root / "srv"):
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            for folder in (
                self.etc, self.keys, self.sources_d, self.root / "var/lib", self.root / "var/run", self.locks,
                self.sockets, self.sockets / "endpoint", self.sockets / "wake", self.log, self.log / "runs",
                self.cache, self.feeds, self.backups, self.root / "mnt", self.etc / "supervisord.d",
            ):  # fmt: skip
                folder.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
            for folder in (self.keys, self.sockets):
                _close_to_others(folder)

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
        write(self.etc / "run_dir", str(self.sockets).encode() + b"\n")


def _close_to_others(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise HomeError(
            f"{folder} belongs to user id {status.st_uid}, not to {os.geteuid()} who runs this",
            "run pbs as the owner of the home, or give the home to this user with chown -R",
        )
    if status.st_mode & 0o077:
        folder.chmod(PRIVATE_DIR)


@contextmanager
def explained(what: str, where: Path) -> Iterator[None]:
    """Turn the system's refusal into one sentence that says what to do.

    Raises:
        HomeError: for every OSError inside.
    """
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "the disk is full: free some space, then try again",
            errno.EDQUOT: "the disk quota is used up: free some space, then try again",
            errno.EACCES: "run as the user that owns the home, or correct the owner with chown",
            errno.EPERM: "run as the user that owns the home, or correct the owner with chown",
            errno.EROFS: "the file system is mounted read-only: mount it writable, then try again",
        }
        place = error.filename or where
        reason = error.strerror or str(error)
        raise HomeError(f"cannot {what}: {place}: {reason}", hints.get(error.errno or 0)) from error


def write(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `data`, atomically: after power loss it holds the old bytes or the new ones.

    Raises:
        HomeError: disk full, no permission; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with explained("write", path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or removal in `folder` outlive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """Add one line to a log; a torn last line of a killed writer is closed first by nobody: readers skip it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        os.write(descriptor, line + b"\n")
    finally:
        os.close(descriptor)


def tree_bytes(path: Path) -> int:
    """The bytes of all files below a folder; 0 where there is none."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a repository has many files
    return total


def remove_tree(path: Path) -> None:
    """Remove a folder of ours and all below it; nothing there is fine."""
    shutil.rmtree(path, ignore_errors=True)


def make_folder(path: Path, mode: int = PRIVATE_DIR) -> None:
    """Make a folder and what is missing above it; one that is there already is fine.

    Raises:
        HomeError: where it cannot be made.
    """
    with explained("make the folder", path):
        path.mkdir(mode=mode, parents=True, exist_ok=True)


def remove_file(path: Path) -> bool:
    """Remove one name (never what a link points to); False where there is none."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def remove_folder(path: Path) -> bool:
    """Remove an empty folder; False where it is none, not there, or not empty."""
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def hard_link(source: Path, name: Path) -> None:
    """Give a file one more name.

    Raises:
        HomeError: across file systems, where there are no hard links.
    """
    with explained("hard-link a file of the repository (both must be on one file system)", name):
        os.link(source, name, follow_symlinks=False)


def symbolic_link(target: str, name: Path) -> None:
    """Make `name` point to `target`.

    Raises:
        HomeError: where that cannot be made.
    """
    with explained("make the link", name):
        name.symlink_to(target)


def publish_folder(made: Path, name: Path) -> None:
    """Give a finished folder its final name, so that it outlives power loss whole or is not there at all.

    Raises:
        HomeError: where something that is not an empty folder has this name.
    """
    with explained("give a finished folder its name", name):
        for folder, _, _ in os.walk(made):
            sync_folder(Path(folder))
        made.rename(name)
        sync_folder(name.parent)


def set_metadata(path: Path, mode: int, owner: tuple[int, int] | None, mtime_ns: int) -> None:
    """Set owner (None = leave it), permissions and modification time of a folder."""
    with explained("set owner, permissions and time", path):
        if owner is not None:
            os.chown(path, *owner)
        path.chmod(mode)
        os.utime(path, ns=(mtime_ns, mtime_ns))


def lock_folder(path: Path) -> int | None:
    """Lock a folder itself; the descriptor, or None where somebody holds it or it is gone.

    Whoever inherits the descriptor holds the lock too.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Somebody may have removed the folder, or made another of its name, before we had the lock.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


class FileLock:
    """A kernel lock that ends with the last process that holds its descriptor, children included.

    The descriptor is inheritable on purpose: `descriptor` is handed to every local child that must finish
    before somebody else may start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = -1

    def acquire(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Take it; False where somebody else holds it and `wait` is not set.

        Raises:
            HomeError: where the lock file cannot be made.
        """
        with explained("open the lock file", self._path):
            self._path.parent.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(
                descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
            )
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        self.descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of it here; children that inherited the descriptor go on holding it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@contextmanager
def locked(path: Path, *, shared: bool = False, what: str = "it") -> Iterator[FileLock]:
    """Hold a lock for the length of a block.

    Raises:
        LeaseHeld: where somebody else holds it.
    """
    lock = FileLock(path)
    if not lock.acquire(shared=shared):
        raise LeaseHeld(f"{what} is in use by another process", "wait until that has ended, then try again")
    try:
        yield lock
    finally:
        lock.release()

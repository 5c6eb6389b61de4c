"""How files are written: whole or not at all, private from the start; and kernel locks.

The only door to writing files and to file locks. It never knows what the bytes mean, nor where a home keeps them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pbs import removal
from pbs.errors import HomeError, LeaseHeld

PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600
READ_ONLY = 0o400
SYSTEM_TEMPORARY = Path("/var/tmp")  # noqa: S108 - only folders that are private from the start are made there
_libc = ctypes.CDLL(None, use_errno=True)
# What a disk says that takes nothing more, or not from us.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def refusal(error: OSError, what: str, where: Path | str | None = None) -> HomeError:
    """The system's refusal as one sentence, and what to do about it."""
    hints = {
        errno.ENOSPC: "the disk is full: free some space, then try again",
        errno.EDQUOT: "the disk quota is used up: free some space, then try again",
        errno.EACCES: "run as the user that owns it, or correct the owner with chown",
        errno.EPERM: "run as the user that owns it, or correct the owner with chown",
        errno.EROFS: "the file system is mounted read-only: mount it writable, then try again",
        errno.ENOENT: "is the path right, and the folder that it lies in there?",
        errno.ENOTDIR: "a part of this path is a file: name another path",
        errno.EISDIR: "this is a folder: name a file",
        errno.ENAMETOOLONG: "name a shorter path",
    }
    place = error.filename if where is None or _says_more(error.filename) else where
    reason = error.strerror or str(error)
    return HomeError(
        f"cannot {what}: {os.fsdecode(place)}: {reason}" if place else f"cannot {what}: {reason}",
        hints.get(error.errno or 0, "look at the disk and at the log of the system, then try again"),
    )


def _says_more(name: object) -> bool:
    """Whether the name in an error tells a person more than the path that was meant: our temporary names do not."""
    return isinstance(name, str | bytes | os.PathLike) and not os.fsencode(name).endswith(b".tmp")


@contextmanager
def explained(what: str, where: Path) -> Iterator[None]:
    """Turn the system's refusal into one sentence that says what to do.

    Raises:
        HomeError: for every OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise refusal(error, what, where) from error


def write(path: Path, data: bytes, mode: int = PRIVATE_FILE, *, lasting: bool = True) -> None:
    """Replace `path` by `data`, atomically: after power loss it holds the old bytes or the new ones.

    What is made anew all the time need not be `lasting`: then power loss may leave anything, and nothing waits for the disk.

    Raises:
        HomeError: disk full, no permission; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with explained("write", path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if lasting:
                    file.flush()
                    os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if lasting:
            sync_folder(path.parent)


@contextmanager
def appearing(path: Path) -> Iterator[int]:
    """A descriptor for a file that appears at `path` only when the block has ended well; an old one stays till then.

    Raises:
        HomeError: it cannot be written there.
    """
    # A name may be as long as the file system takes, so it is no part of this one.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with explained("write", path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            yield descriptor
            os.fsync(descriptor)
            temporary.replace(path)
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename or removal in `folder` outlive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_disk(folder: Path) -> None:
    """Make everything that was written to the file system of `folder` outlive power loss.

    Raises:
        HomeError: the disk took not all of it.
    """
    with explained("write to the disk", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _libc.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """Add one line to a log; a torn last line of a killed writer is closed first by nobody: readers skip it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        os.write(descriptor, line + b"\n")
    finally:
        os.close(descriptor)


def rotate(path: Path, most: int, olds: int) -> None:
    """A file of `most` bytes becomes NAME.1, the one before that NAME.2, and so on; the oldest goes."""
    with suppress(FileNotFoundError):
        if path.stat().st_size < most:
            return
        for number in range(olds, 0, -1):
            older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number}"))


def tree_bytes(path: Path) -> int:
    """The bytes of all files below a folder; 0 where there is none."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a repository has many files
    return total


def remove_tree(path: Path) -> None:
    """Remove a folder of ours and all below it, as far as that can be; nothing there is fine."""
    with suppress(OSError):
        removal.remove(path)


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


def roomy(folder: Path, least: int) -> Path:
    """This folder, made if need be, where so many bytes can be written; else the system's for temporary files."""
    with suppress(OSError):
        folder.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        status = os.statvfs(folder)
        if os.access(folder, os.W_OK | os.X_OK) and status.f_bavail * status.f_frsize >= least:
            return folder
    return SYSTEM_TEMPORARY


def unnamed(folder: Path) -> IO[bytes]:
    """A file without a name in a folder of ours, gone when it is closed.

    Raises:
        HomeError: it cannot be made there.
    """
    with explained("make a temporary file", folder):
        return tempfile.TemporaryFile(dir=folder)


def move(source: Path, target: Path) -> bool:
    """Give a file or folder another name on the same file system, so that it outlives power loss; False: not there.

    Raises:
        HomeError: it cannot be moved.
    """
    with explained("move", source):
        try:
            source.rename(target)
        except FileNotFoundError:
            if not os.path.lexists(source):
                return False
            raise
        sync_folder(target.parent)
        sync_folder(source.parent)
    return True


def copy_file(source: Path, name: Path) -> None:
    """Make a copy of a file of ours, private.

    Raises:
        HomeError: no space.
    """
    with explained("copy a file of the repository", name):
        shutil.copyfile(source, name, follow_symlinks=False)


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

    `descriptor` is handed to every local child that must finish before somebody else may start; no other child gets it.
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
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                # One that is there can be locked all the same.
                descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
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

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold a shared lock alone for the length of a block, which is told False where others share it just now.

        Raises:
            LeaseHeld: somebody else took it meanwhile, alone: nothing of it is ours any more.
        """
        alone = self._convert(fcntl.LOCK_EX)
        # The kernel lets go of the shared lock before it tries for the other.
        if not alone and not self._convert(fcntl.LOCK_SH):
            raise LeaseHeld(f"{self._path.stem} was taken by another process", "wait until that has ended")
        try:
            yield alone
        finally:
            if alone:
                self._convert(fcntl.LOCK_SH)

    def _convert(self, kind: int) -> bool:
        try:
            fcntl.flock(self.descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
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

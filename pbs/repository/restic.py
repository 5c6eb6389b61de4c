"""One function for each verb of restic that the server uses, and its exit codes as our errors.

Every call is given by a `Handle`: which repository, which key, which locks its child must hold. Reading takes no lock
in the repository: our own locks are the truth. It never asks for `latest`, and never trusts what a snapshot claims.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pbs import files
from pbs.bounds import Bounds
from pbs.errors import (
    NotFound,
    PbsError,
    RepositoryLocked,
    RepositoryMissing,
    ResticError,
    ToolMissing,
    WrongPassword,
)
from pbs.model import SNAPSHOT_ID, Snapshot
from pbs.process import SECRET, Finished, find_tool, run
from pbs.program import Program
from pbs.repository import messages

T = TypeVar("T")
MINIMUM = (0, 19, 0)
SOON_SECONDS = 60.0
ANSWER_SECONDS = 600.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of address space, for any restic: its start alone sets 1.7 to 2.5 GB aside, more with more processors, and touches little of it.
LEAST_MEMORY = 4 << 30
COMPLAINTS_SHOWN = 5
LEAST_TEMPORARY = 64 << 20
# With a thousand paths of 4096 bytes it has four megabytes.
LONGEST_SNAPSHOT = 16 << 20
# In one call: its arguments must fit.
MOST_FORGOTTEN = 500


def memory_limit() -> int:
    """Bytes of address space for a child that reads what a source sent: three quarters of this machine's memory, or what
    any restic needs.
    """
    return max(LEAST_MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4)


@dataclass(frozen=True, slots=True)
class Handle:
    """A repository as one caller may use it.

    Attributes:
        path: Its folder, or a view of it.
        password: Its password; None = it has none.
        cache: Where restic may put temporary files; safe to delete.
        key: The id of our key, tried before all that a source may have put beside it.
        inherit: Lock descriptors that every child keeps open.
        bounds: What a child may use.
        threads: How many processors a child may use; None = all.
    """

    path: Path
    password: str | None = field(repr=False)
    cache: Path
    key: str | None = None
    inherit: tuple[int, ...] = ()
    bounds: Bounds = field(default_factory=lambda: Bounds(memory_limit()))
    threads: int | None = None

    def program(self, *, writing: bool = False) -> Program:
        """Restic on this repository; only `writing` takes restic's own lock.

        Raises:
            ToolMissing: restic is not installed.
        """
        arguments = [str(tool()), "--repo", str(self.path)]
        arguments += ["--insecure-no-password"] if self.password is None else ["--password-file", SECRET]
        arguments += [] if writing else ["--no-lock"]
        # A cache of what lies on a disk of ours gains nothing, and restic tries for 15 minutes to fill one that is full.
        arguments += ["--no-cache"]
        temporary = files.roomy(self.cache, LEAST_TEMPORARY)
        environment = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "TMPDIR": str(temporary),
                       "RESTIC_PROGRESS_FPS": "2"}  # fmt: skip
        if self.key is not None:
            environment["RESTIC_KEY_HINT"] = self.key
        if self.threads is not None:
            environment["GOMAXPROCS"] = str(self.threads)
        return Program(tuple(arguments), environment, self.password, self.inherit, self.bounds, explain)


def tool() -> Path:
    """The restic program.

    Raises:
        ToolMissing: where there is none.
    """
    found = find_tool("restic")
    if found is None:
        raise ToolMissing(
            "restic is not installed on this server", "run ./bootstrap, or install restic ≥ 0.19"
        )
    return found


async def once_more(look: Callable[[], Awaitable[T]]) -> T:
    """What a look comes to; where its restic was killed soon, a second one: that is rarely the fault of what it looked at.

    Raises:
        PbsError: what the look raises; what its second one does.
    """
    begun = asyncio.get_running_loop().time()
    try:
        return await look()
    except ResticError as error:
        # The kernel kills also who used up his time: then it would only do so again.
        if error.status != -signal.SIGKILL or asyncio.get_running_loop().time() - begun > SOON_SECONDS:
            raise
    return await look()


def explain(argv: Sequence[str | bytes | os.PathLike[str]], finished: Finished) -> PbsError:
    """Restic's exit code and its last words as one of our errors."""
    lines = messages.without_stack(finished.stderr).splitlines()
    said = [messages.complaint(line) for line in lines if line.strip()]
    words = "; ".join(said[-COMPLAINTS_SHOWN:])
    match finished.code:
        case 10:
            return RepositoryMissing(
                f"there is no repository here: {words}", "is its disk mounted? nothing new was made", 10
            )
        case 11:
            return RepositoryLocked(
                f"the repository is locked: {words}",
                "wait until the other work has ended, then try again",
                11,
            )
        case 12 if "--insecure-no-password" in argv:
            return WrongPassword(
                "the repository has a password, and no key file of it is kept here",
                "put etc/keys/NAME.key back, from the recovery sheet made by `pbs key export`", 12,
            )  # fmt: skip
        case 12:
            return WrongPassword(
                "the key that is kept here does not open the repository",
                "compare etc/keys with the recovery sheet made by `pbs key export`", 12,
            )  # fmt: skip
        case 2 if "out of memory" in finished.stderr or "cannot allocate" in finished.stderr:
            return ResticError(
                "restic needed more memory than it may have",
                "a hostile snapshot can cause this; see the log",
                2,
            )
        case 2 if "panic: " in finished.stderr:
            return ResticError(
                f"restic itself broke: {words}",
                "a damaged repository, or one that a hostile source wrote into, can cause this; `pbs pull` clears junk",
                2,
            )
        case code if code < 0:
            return ResticError(f"restic was ended by signal {-code}", "try again", code)
        case code if "no space left on device" in words:
            return ResticError(f"the disk is full: {words}", "free some space, then try again", code)
    return ResticError(
        f"restic failed: {words or f'exit code {finished.code}'}",
        "`pbs doctor` looks at tools, disk and repository",
        finished.code,
    )


async def version() -> tuple[int, ...]:
    """The version of restic here, such as (0, 19, 1).

    Raises:
        ToolMissing: there is none, or it says no version.
    """
    finished = await run([tool(), "version"], env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"}, timeout=60.0)
    found = re.match(rb"restic (\d+)\.(\d+)(?:\.(\d+))?", finished.stdout)
    if found is None:
        raise ToolMissing(f"{tool()} does not say which restic it is", "install restic ≥ 0.19")
    return tuple(int(part or 0) for part in found.groups())


async def require(minimum: tuple[int, ...] = MINIMUM) -> tuple[int, ...]:
    """The version, where it is new enough.

    Raises:
        ToolMissing: restic is missing or too old.
    """
    found = await version()
    if found < minimum:
        have, want = (".".join(str(part) for part in parts) for parts in (found, minimum))
        raise ToolMissing(f"restic {have} is too old for the server", f"install restic ≥ {want}")
    return found


async def identity(handle: Handle) -> str:
    """The repository's own id, from its config. Proves as well that our key opens it.

    Raises:
        RepositoryMissing: there is none.
        WrongPassword: our key does not open it.
        ResticError: its config is damaged.
    """
    finished = await handle.program().run("cat", "config", timeout=ANSWER_SECONDS)
    found = (messages.record(finished.stdout) or {}).get("id")
    if not isinstance(found, str) or not SNAPSHOT_ID.fullmatch(found):
        raise ResticError("the repository's config holds no id", "compare it with a copy of the repository")
    return found


def full_id(snapshot_id: str) -> str:
    """The id, where it is a whole one.

    Raises:
        NotFound: anything shorter or else: restic would guess.
    """
    if not SNAPSHOT_ID.fullmatch(snapshot_id):
        raise NotFound(f"{messages.cleaned(snapshot_id, 80)!r} is no snapshot id", "see `pbs snapshots`")
    return snapshot_id


def present(handle: Handle, snapshot_id: str) -> str:
    """The id, where the repository holds this snapshot.

    Raises:
        NotFound: it does not, or this is no whole id.
    """
    if not (handle.path / "snapshots" / full_id(snapshot_id)).is_file():
        raise NotFound(f"there is no snapshot {snapshot_id[:8]} in the repository", "see `pbs snapshots`")
    return snapshot_id


async def snapshot(handle: Handle, snapshot_id: str) -> Snapshot:
    """What the repository says of one snapshot.

    Raises:
        NotFound: there is none of this id.
        ResticError: it cannot be read.
    """
    wanted = present(handle, snapshot_id)
    # A source may pack gigabytes into a few kilobytes: restic has what it needs for an honest one, and our memory is bounded too.
    little = replace(handle, bounds=replace(handle.bounds, memory=LEAST_MEMORY))
    finished = await little.program().run(
        "cat", "snapshot", wanted, timeout=ANSWER_SECONDS, most=LONGEST_SNAPSHOT
    )
    values = messages.record(finished.stdout)
    if values is None:
        raise ResticError(
            f"restic says nothing sensible of the snapshot {snapshot_id[:8]}",
            "a hostile source can cause this; nothing of it counts",
        )
    return messages.snapshot(snapshot_id, values)


async def dump(handle: Handle, snapshot_id: str, path: bytes, target: int, archive: str = "tar") -> None:
    """Write one file's content, or a folder as an archive, into the descriptor `target`.

    Args:
        handle: The repository.
        snapshot_id: The whole id.
        path: From the snapshot's root, beginning with `/`.
        target: An open descriptor.
        archive: `tar` or `zip`, for a folder.

    Raises:
        NotFound: the snapshot holds no such path, or nothing there that has a content.
        ResticError: it cannot be read whole; `target` then holds a part of it.
    """
    try:
        await handle.program().run(
            "dump", "--archive", archive, present(handle, snapshot_id), path, stdout=target
        )
    except ResticError as error:
        if "cannot dump file" in error.message and "not found in snapshot" in error.message:
            raise messages.nothing_at(path) from error
        if "cannot dump file" in error.message:
            raise NotFound(
                f"what lies at {messages.cleaned(messages.lossy(path))} has no content of its own",
                "`pbs restore NAME --to DIR PATH` brings back links and the like",
            ) from error
        raise


async def check(handle: Handle, read_data: str | None = None, timeout: float | None = None) -> None:  # noqa: ASYNC109
    """Look over the whole repository; `read_data` (`100%`, `3/30`, `2G`) says how much of its content is read too.

    Raises:
        ResticError: with what is wrong.
    """
    part = [f"--read-data-subset={read_data}"] if read_data else []
    await handle.program().run("check", *part, timeout=timeout)


async def drop(handle: Handle, snapshots: Sequence[str]) -> None:
    """Remove these snapshots, named by their whole ids: no rule of restic's own is ever asked, and nothing is pruned.

    Raises:
        ResticError: restic refuses; see in the repository which of them are left.
    """
    ids = [full_id(each) for each in snapshots]
    for start in range(0, len(ids), MOST_FORGOTTEN):
        await handle.program(writing=True).run(
            "forget", *ids[start : start + MOST_FORGOTTEN], timeout=ANSWER_SECONDS
        )


def clear_locks(path: Path) -> int:
    """Remove the locks that a source left behind, and say how many. Only where nobody but us can touch the repository."""
    removed = 0
    with suppress(FileNotFoundError):
        for lock in (path / "locks").iterdir():
            with suppress(OSError):
                removed += files.remove_file(lock)
    return removed

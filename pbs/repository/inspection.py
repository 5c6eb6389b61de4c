"""Read what arrived before anything relies on it: packs, blob by blob, in a view that holds nothing else.

The index that their source uploaded is never looked at: ours is made from the packs' own headers, and put into the
repository. It counts only once the manifest holds it, so a death at any point leaves a file that nobody reads and the
next admission removes. Every restic here has bounds, and one that exceeds them speaks against what it was reading.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeVar

from pbs import files
from pbs.bounds import Bounds
from pbs.errors import ResticError, ToolTimeout
from pbs.model import SNAPSHOT_ID
from pbs.repository import messages
from pbs.repository.contents import entries, named_file
from pbs.repository.indexes import Arrived, told
from pbs.repository.restic import LEAST_MEMORY, Handle, memory_limit
from pbs.repository.unpacking import unpacked
from pbs.scratch import scratch
from pbs.threads import in_thread

A = TypeVar("A")
B = TypeVar("B")
PREFIX = "inspect-"
# An honest pack of one huge folder needs this many times its size.
MEMORY_PER_BYTE = 16
CPU_SECONDS, CPU_BYTES = 60, 2 << 20
WALL_SECONDS, WALL_BYTES = 600, 1 << 20
MOST_THREADS = 4
# How restic ends that ran into a bound, or broke over what it read: by a signal, or with the 2 of a broken Go program.
BROKE = frozenset({2, -6, -9, -24})
# Finding out which of many packs it is that breaks restic may be tried so often, and take so long.
MOST_FAILURES, MOST_FAILED_SECONDS = 32, 300.0
UNREADABLE = "it is no pack that our key opens"
DAMAGED = "what it holds is not what it says it holds"
OTHER_LENGTH = "it says of a blob that it is longer or shorter than it is"
GREEDY = "reading it took more memory or time than it may"
UNREAD = "it was not read: too much of what came with it could not be"


class Exceeded(ResticError):
    """Reading needed more than it may have."""


@dataclass(slots=True)
class Inspected:
    """What became of the packs: those that hold what they say, why the others are none, our index of the former, and what
    they brought.
    """

    good: dict[str, int] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    arrived: Arrived = field(default_factory=Arrived)


@dataclass(frozen=True, slots=True)
class Inspector:
    """How a repository's arrivals are read.

    Attributes:
        handle: The repository.
        work: A folder of ours on the same file system.
        full: Whether each blob is read; else the headers alone.
        gentle: Give way to everything else on this machine.
    """

    handle: Handle
    work: Path
    full: bool = True
    gentle: bool = False

    async def inspect(self, packs: Mapping[str, int]) -> Inspected:
        """Read these packs (with their sizes), and put an index of the good ones into the repository.

        Raises:
            PbsError: it could not be found out: no space, no restic, a wrong key.
        """
        return await self._each(packs, self._admit)

    async def prove(self, packs: Mapping[str, int]) -> tuple[dict[str, int], dict[str, str]]:
        """Read packs that were admitted before; those that hold what they say, and why others are none. Nothing is put anywhere.

        Raises:
            PbsError: it could not be found out.
        """
        found = await self._each(packs, self._look)
        return found.good, {name: reason for name, reason in found.bad.items() if reason != UNREAD}

    async def _each(
        self, packs: Mapping[str, int], look: Callable[[Mapping[str, int], Inspected], Awaitable[None]]
    ) -> Inspected:
        """Look at all of them together, and in ever smaller parts where restic breaks over them."""
        found = Inspected()
        waiting: list[Mapping[str, int]] = [packs]
        # A restic may also die of what is no pack's fault: none is accused before it broke two that read it alone.
        accused = set[str]()
        failures, lost, now = 0, 0.0, asyncio.get_running_loop().time
        while waiting:
            part, began = waiting.pop(), now()
            if failures >= MOST_FAILURES or lost > MOST_FAILED_SECONDS:
                found.bad |= dict.fromkeys(part, UNREAD)
                continue
            try:
                await look(part, found)
            except Exceeded:
                failures, lost = failures + 1, lost + now() - began
                if len(part) == 1 and part.keys() <= accused:
                    found.bad |= dict.fromkeys(part, GREEDY)
                elif len(part) == 1:
                    accused |= part.keys()
                    waiting.append(part)
                else:
                    names = sorted(part)
                    middle = len(names) // 2
                    waiting += [
                        {name: part[name] for name in half} for half in (names[middle:], names[:middle])
                    ]
        return found

    @asynccontextmanager
    async def _indexed(self, packs: Mapping[str, int]) -> AsyncIterator[Handle]:
        """A view that holds these alone, and an index of them that was made here."""
        with scratch(self.work, PREFIX) as folder:
            await in_thread(self._fill, folder.path, packs)
            handle = self._bounded(folder.path, folder.descriptor, packs)
            await _rebuild(handle)
            yield handle

    async def _look(self, packs: Mapping[str, int], found: Inspected) -> None:
        async with self._indexed(packs) as handle:
            bad, _ = await self._judged(handle, packs)
        found.bad |= bad
        found.good |= {name: size for name, size in packs.items() if name not in bad}

    async def _admit(self, packs: Mapping[str, int], found: Inspected) -> None:
        async with self._indexed(packs) as handle:
            bad, arrived = await self._judged(handle, packs)
            good = {name: size for name, size in packs.items() if name not in bad}
            if good and bad:
                # An index that names a bad one would be no use: only what is good may be in it.
                await in_thread(_leave_out, handle.path, bad)
                await _rebuild(handle)
                named, _ = await indexed(handle)
                if named != good.keys():
                    raise ResticError(
                        "an index of what arrived could not be made", "try again: pull once more"
                    )
            made = await in_thread(_install, handle.path, self.handle.path) if good else {}
        found.good |= good
        found.bad |= bad
        found.index |= made
        if good:
            found.arrived.add(arrived)

    async def _judged(self, handle: Handle, packs: Mapping[str, int]) -> tuple[dict[str, str], Arrived]:
        """Why some of the packs of a view with a new index are none, and what all of them brought."""
        with files.unnamed(handle.path) as file:
            # Both read the same new index, and each costs mostly its start.
            _, broken = await together(_tell(handle, file), _broken(handle, packs, full=self.full))
            named, arrived = await in_thread(_summed, file)
            bad = dict.fromkeys(set(packs) - named, UNREADABLE) | dict.fromkeys(broken & named, DAMAGED)
            good = packs.keys() - bad.keys()
            # Only now: what restic could read within its bounds costs us no more.
            lying = await in_thread(unpacked, self.handle, handle.path, file, good, arrived, full=self.full)
        return bad | dict.fromkeys(lying, OTHER_LENGTH), arrived

    def _fill(self, view: Path, packs: Mapping[str, int]) -> None:
        repository = self.handle.path
        for name in ("keys", "index", "locks", "snapshots", "data"):
            files.make_folder(view / name)
        files.hard_link(repository / "config", view / "config")
        for key in [self.handle.key] if self.handle.key else _keys(repository):
            files.hard_link(repository / "keys" / key, view / "keys" / key)
        for folder in {name[:2] for name in packs}:
            files.make_folder(view / "data" / folder)
        for name in packs:
            files.hard_link(repository / "data" / name[:2] / name, view / "data" / name[:2] / name)

    def _bounded(self, view: Path, descriptor: int, packs: Mapping[str, int]) -> Handle:
        total, largest = sum(packs.values()), max(packs.values(), default=0)
        bounds = Bounds(
            memory=LEAST_MEMORY + MEMORY_PER_BYTE * largest,
            cpu=CPU_SECONDS + total // CPU_BYTES,
            nice=19 if self.gentle else 0,
        )
        return bounded(self.handle, view, descriptor, bounds, gentle=self.gentle)


def bounded(handle: Handle, view: Path, descriptor: int, bounds: Bounds, *, gentle: bool = False) -> Handle:
    """The same repository as a view shows it, for a restic that reads what nobody has inspected."""
    processors = len(os.sched_getaffinity(0))
    # Whatever the size of what arrived would explain: this machine has others to serve.
    bounds = replace(bounds, memory=min(bounds.memory or memory_limit(), memory_limit()))
    return replace(
        handle,
        path=view,
        inherit=(*handle.inherit, descriptor),
        bounds=bounds,
        threads=1 if gentle else min(MOST_THREADS, processors),
    )


async def answered(
    handle: Handle,
    *arguments: str,
    writing: bool = False,
    allow: frozenset[int] = frozenset({0}),
    on_line: Callable[[bytes], None] | None = None,
    on_complaint: Callable[[bytes], None] | None = None,
    stdout: int | None = None,
) -> None:
    """Have a bounded restic read what nobody has inspected, and hand on what it prints, line by line.

    Raises:
        Exceeded: it ran into its bounds, or broke.
        PbsError: it failed for another reason.
    """
    cpu = handle.bounds.cpu or CPU_SECONDS
    try:
        await handle.program(writing=writing).run(
            *arguments, timeout=WALL_SECONDS + 2.0 * cpu, allow=allow, stdout=stdout,
            on_line=on_line or (lambda _: None), on_complaint=on_complaint,
        )  # fmt: skip
    except ToolTimeout as error:
        raise Exceeded(error.message, error.hint) from error
    except ResticError as error:
        if error.status in BROKE:
            raise Exceeded(error.message, error.hint, error.status) from error
        raise


async def together(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Both at once; where one fails, the other is ended, and the failure comes out as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            one, two = group.create_task(_awaited(first)), group.create_task(_awaited(second))
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from problems
    return one.result(), two.result()


async def _awaited(work: Awaitable[A]) -> A:
    return await work


async def _rebuild(handle: Handle) -> None:
    """Make the index of all packs of a view anew, from their headers."""
    await answered(handle, "repair", "index", "--read-all-packs", writing=True)


async def indexed(handle: Handle, *names: str) -> tuple[set[str], Arrived]:
    """The packs that the index of a view names, or these files of it, and what lies in them."""
    with files.unnamed(handle.path) as file:
        await _tell(handle, file, *names)
        return await in_thread(_summed, file)


async def _tell(handle: Handle, file: IO[bytes], *names: str) -> None:
    # Through a file: what one pack makes of an index may be far larger than the pack.
    for name in names or [entry.name for entry in entries(handle.path / "index")]:
        await answered(handle, "cat", "index", name, stdout=file.fileno())
        # On a full disk restic loses what it prints, and says nothing: then no pack is to blame.
        with files.explained("write down what an index says", handle.path):
            _end_of_line(file.fileno())


def _end_of_line(file: int) -> None:
    size = os.fstat(file).st_size
    if not size or os.pread(file, 1, size - 1) != b"\n":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _summed(file: IO[bytes]) -> tuple[set[str], Arrived]:
    named, arrived = set[str](), Arrived()
    for pack, blob in told(file):
        if blob is None:
            named.add(pack)
        else:
            arrived.count(blob)
    return named, arrived


def largest(handle: Handle, most: int) -> list[str]:
    """The largest index files, so many at most."""
    found = sorted(entries(handle.path / "index"), key=lambda each: each.stat().st_size, reverse=True)
    return [each.name for each in found[:most]]


async def _broken(handle: Handle, packs: Mapping[str, int], *, full: bool) -> set[str]:
    """The packs that do not hold what their own headers say; none where only headers are looked at."""
    if not full:
        return set()
    summaries: list[dict[str, Any]] = []

    def take(line: bytes) -> None:
        said = messages.record(line) if b'"summary"' in line else None
        if said is not None and said.get("message_type") == "summary":
            summaries.append(said)

    await answered(handle, "check", "--read-data", "--json", allow=frozenset({0, 1}), on_line=take)
    if len(summaries) != 1:
        raise Exceeded("restic does not say what it found", "try again: pull once more")
    named = summaries[0].get("broken_packs")
    broken = {pack for pack in named if pack in packs} if isinstance(named, list) else set()
    if broken or not summaries[0].get("num_errors"):
        return broken
    if len(packs) == 1:
        return set(packs)
    raise Exceeded("restic found an error and names no pack", "each is looked at alone")


def _leave_out(view: Path, packs: Iterable[str]) -> None:
    for name in packs:
        files.remove_file(view / "data" / name[:2] / name)
    for entry in list(entries(view / "index")):
        files.remove_file(Path(entry.path))


def _install(view: Path, repository: Path) -> dict[str, int]:
    """Give our index files a second name, in the repository; they outlive a power loss when this returns."""
    made = {}
    with files.explained("put the index into the repository", repository):
        for entry in list(entries(view / "index")):
            if named_file(entry):
                files.hard_link(Path(entry.path), repository / "index" / entry.name)
                made[entry.name] = entry.stat(follow_symlinks=False).st_size
        files.sync_folder(repository / "index")
    return made


def _keys(repository: Path) -> list[str]:
    return [entry.name for entry in entries(repository / "keys") if SNAPSHOT_ID.fullmatch(entry.name)]

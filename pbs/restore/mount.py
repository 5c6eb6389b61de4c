"""Snapshots as folders, for as long as somebody looks: DIR/ids/ID, DIR/received/TIME, DIR/latest.

`ids` is the mount, of a view that holds admitted snapshots only; the other two are links that we make, by the time
we received them. restic's own `latest` and folders by time follow what a source claims, so they are never offered.
A server that is killed takes its restic along; what is left then is cleared by the next call.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pbs import files
from pbs.clock import Clock
from pbs.errors import NotFound, RestoreError
from pbs.process import Child
from pbs.program import Program
from pbs.restore.points import INSTEAD, detach, fusermount, mounted, settled
from pbs.restore.records import (
    IDS,
    LATEST,
    RECEIVED,
    Mount,
    clear,
    forget,
    keep,
    lock_of,
    read,
    record_path,
    sweep,
)

READY_SECONDS = 120.0
GONE_SECONDS = 15.0
LOOK_SECONDS = 0.05
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def serve_mount(
    restic: Program,
    directory: Path,
    records: Path,
    clock: Clock,
    *,
    source: str,
    snapshots: Mapping[str, datetime],
    latest: str | None = None,
    seconds: float | None = None,
    ready: Callable[[Mount], None] = lambda _: None,
) -> None:
    """Mount, and stay until a signal, `seconds`, or somebody who unmounts; then take everything away again.

    Args:
        restic: Bound to a view that holds just these snapshots; its children inherit the view's lock.
        directory: Where; made if missing, else it must be empty.
        records: The folder in which open mounts are recorded.
        clock: The time.
        source: For the record.
        snapshots: Whole id → when we received it.
        latest: The id that `DIR/latest` shows; None = no such link.
        seconds: How long at most.
        ready: Called once everything can be seen.

    Raises:
        RestoreError: it cannot be mounted; nothing is left behind.

    Cancelling ends it like a signal does.
    """
    program = fusermount()
    await sweep(records)
    place = settled(directory)
    record = record_path(records, place)
    files.make_folder(records)
    lock = lock_of(record)
    if not lock.acquire():
        raise RestoreError(f"something is mounted at {place} already", f"`pbs umount {source}` ends it")
    try:
        made = _free(place)
        opened = clock.now()
        expires = opened + timedelta(seconds=seconds) if seconds is not None else None
        mount = Mount(source, place, os.getpid(), opened, expires, len(snapshots), made)
        keep(records, mount)
        served = replace(restic, inherit=(*restic.inherit, lock.descriptor))
        path = {"PATH": f"{program.parent}:{restic.env.get('PATH', '/usr/bin:/bin')}"}
        try:
            _lay_out(place, snapshots, latest)
            with _signals() as stop:
                await _serve(served, path, mount, clock, stop, ready)
        finally:
            await clear(mount)
            forget(record)
    finally:
        lock.release()


def _free(place: Path) -> bool:
    """Whether the folder must be made.

    Raises:
        RestoreError: it is no empty folder, or a mount that is not ours.
    """
    if mounted(place) or mounted(place / IDS):
        raise RestoreError(f"something is mounted at {place} already", f"unmount it: fusermount3 -u {place}")
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise RestoreError(f"{place} is no folder", "give an empty folder, or one that does not exist yet")
    if place.exists() and any(place.iterdir()):
        raise RestoreError(f"{place} is not empty", "give an empty folder, or one that does not exist yet")
    return not place.exists()


def link_names(snapshots: Mapping[str, datetime]) -> dict[str, str]:
    """Name → id: the time at which we received it, in UTC, numbered where two came in one second."""
    names: dict[str, str] = {}
    for identity, received in sorted(snapshots.items(), key=lambda item: (item[1], item[0])):
        base = received.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names[name] = identity
    return names


def _lay_out(place: Path, snapshots: Mapping[str, datetime], latest: str | None) -> None:
    files.make_folder(place / IDS)
    files.make_folder(place / RECEIVED)
    for name, identity in link_names(snapshots).items():
        files.symbolic_link(f"../{IDS}/{identity}", place / RECEIVED / name)
    if latest is not None:
        files.symbolic_link(f"{IDS}/{latest}", place / LATEST)


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """An event that the usual signals set; outside the main thread there are none."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    handled = []
    for number in STOPS:
        try:
            loop.add_signal_handler(number, stop.set)
            handled.append(number)
        except (RuntimeError, ValueError):
            break
    try:
        yield stop
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _serve(
    restic: Program,
    env: Mapping[str, str],
    mount: Mount,
    clock: Clock,
    stop: asyncio.Event,
    ready: Callable[[Mount], None],
) -> None:
    # %I is the snapshot's whole id: host names and tags of a source never become part of a path. restic unmounts by
    # itself when it gets TERM, so the kernel sends it that when this process is killed.
    arguments = ("mount", "--path-template", "%I", os.fsencode(mount.ids))
    async with (
        restic.child(*arguments, env=env, death_signal=signal.SIGTERM) as child,
        asyncio.TaskGroup() as group,
    ):
        ended = group.create_task(_drained(child), name="restic mount")
        stopped = group.create_task(stop.wait(), name="stop signal")
        waits = [ended, stopped]
        if await _appeared(mount, clock, ended, stopped):
            ready(mount)
            if mount.expires is not None:
                left = (mount.expires - mount.opened).total_seconds()
                waits.append(group.create_task(_slept(clock, left), name="mount expires"))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            await _leave(mount, clock)
        elif ended.done():
            finished = await child.wait()
            said = restic.explain(restic.argv, finished)
            raise RestoreError(f"it could not be mounted: {said.message}", said.hint or INSTEAD)
        for task in waits:
            task.cancel()


async def _drained(child: Child) -> bool:
    async for _ in child.lines():
        pass
    return True


async def _slept(clock: Clock, seconds: float) -> bool:
    await clock.sleep(seconds)
    return True


async def _appeared(
    mount: Mount, clock: Clock, ended: asyncio.Task[bool], stopped: asyncio.Task[bool]
) -> bool:
    """Whether it can be seen now; False where restic ended or somebody asked to stop first."""
    deadline = clock.monotonic() + READY_SECONDS
    while not mounted(mount.ids):
        if ended.done() or stopped.done():
            return False
        if clock.monotonic() > deadline:
            raise RestoreError(
                f"restic did not mount within {READY_SECONDS:g} s", "look at the machine's load"
            )
        await clock.sleep(LOOK_SECONDS)
    return True


async def _leave(mount: Mount, clock: Clock) -> None:
    """Unmount; somebody who just looks gets a moment, somebody who stays is not waited for."""
    deadline = clock.monotonic() + 1.0
    while not await detach(mount.ids):
        if clock.monotonic() > deadline:
            await detach(mount.ids, lazy=True)
            return
        await clock.sleep(LOOK_SECONDS)


async def unmount(directory: Path, records: Path, clock: Clock, *, force: bool = False) -> None:
    """End the mount at `directory` and wait until its server has taken everything away.

    Raises:
        NotFound: nothing of ours is mounted there.
        RestoreError: it is in use and `force` is not given.
    """
    await sweep(records)
    record = record_path(records, settled(directory))
    mount = read(record)
    if mount is None:
        raise NotFound(f"nothing is mounted at {directory}", "`pbs mount` alone lists what is")
    if not await detach(mount.ids, lazy=force):
        raise RestoreError(
            f"{mount.directory} is in use", "leave it in every shell and program, or end it by force"
        )
    deadline = clock.monotonic() + GONE_SECONDS
    while record.exists() and clock.monotonic() < deadline:
        lock = lock_of(record)
        if lock.acquire():
            lock.release()
            await sweep(records)
        elif force:
            _stop_server(mount)
        await clock.sleep(LOOK_SECONDS)


def _stop_server(mount: Mount) -> None:
    """Ask the server to end. Its lock is held, so it or its restic lives; a pid that is nobody's is fine."""
    try:
        os.kill(mount.pid, signal.SIGTERM)
    except ProcessLookupError:
        return

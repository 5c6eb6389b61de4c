"""Verbs that look into snapshots and take data out: snapshots, ls, get, restore, mount, umount.

They need neither the service nor a sound configuration: a file is wanted back at three in the morning.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pbs.cli.show import Json, Name, amount, document, note, table, when
from pbs.errors import UsageError
from pbs.home import Home

Snapshot = Annotated[
    str, typer.Option("--snapshot", metavar="ID", help="A snapshot's id, or its first 8 digits or more.")
]
WHOLE = "/"


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("snapshots")(snapshots)
    app.command("ls")(ls)
    app.command("get")(get)
    app.command("restore")(restore)
    app.command("mount")(mount)
    app.command("umount")(umount)


def snapshots(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the snapshots of a source as we received them, oldest first."""
    from pbs.ledger import open_ledger
    from pbs.views import receipt_view

    ledger = open_ledger(context.obj.ledger)
    ledger.require_source(name)
    held, still = _held(context.obj, ledger, name)
    touched = ledger.custody.damaged(name)[1]
    found = [
        receipt_view(each, held.get(each.id, ()), damaged=each.id in touched)
        for each in ledger.receipts(name)
    ]
    if as_json:
        document({"snapshots": found})
        return
    if not found:
        note(f"{name} has no snapshot yet: `pbs pull {name}` makes one")
        return
    lines = []
    for each in found:
        state = (
            each["state"]
            if each["complete"] or each["state"] == "quarantined"
            else f"{each['state']}, incomplete"
        )
        state = f"{state}, damaged" if each["damaged"] else state
        lines.append((each["id"][:16], when(each["time"]), state, each["files"], amount(each["bytes"]),
                      amount(each["added_bytes"]), ", ".join(each["kept_by"]), each["reason"] or each["run"]))  # fmt: skip
    table(
        ("SNAPSHOT", "RECEIVED (UTC)", "STATE", "FILES", "SIZE", "NEW", "KEPT BY", "RUN"),
        lines,
        right=frozenset({3, 4, 5}),
    )
    if still:
        note(f"nothing is removed now: {still}")


def _held(home: Home, ledger: Any, name: str) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """The rules that hold each snapshot, and why nothing may go now; nothing of both where no rule can be read."""
    from pbs.clock import SystemClock
    from pbs.config import load
    from pbs.errors import PbsError
    from pbs.retention import plan_now

    try:
        plan = plan_now(ledger, load(home).source(name), SystemClock().now())
    except (
        PbsError
    ):  # a broken configuration, or a source that was removed: the snapshots are there all the same
        return {}, None
    return plan.kept_by, plan.stopped() if plan.goes else plan.frozen


def path_of(text: str) -> bytes:
    """A PATH as it was typed, byte by byte."""
    if not text.startswith("/"):
        raise UsageError(
            f"the path {text!r} does not begin with /",
            "paths are given from the snapshot's root, such as /etc/hosts",
        )
    return os.fsencode(text)


def ls(
    context: typer.Context,
    name: Name,
    words: Annotated[list[str] | None, typer.Argument(metavar="SNAPSHOT|PATH", show_default=False)] = None,
    snapshot: Snapshot = "latest",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Everything below as well.")] = False,
    as_json: Json = False,
) -> None:
    """List what a snapshot holds at PATH (its root unless given)."""
    chosen, path = _words(words or [], snapshot)
    asyncio.run(_ls(context.obj, name, chosen, path, recursive=recursive, as_json=as_json))


def _words(words: list[str], snapshot: str) -> tuple[str, bytes]:
    """The snapshot and the path: a word that does not begin with / is a snapshot."""
    if words and not words[0].startswith("/"):
        snapshot, words = words[0], words[1:]
    if len(words) > 1:
        raise UsageError("one PATH at a time", "for example: pbs ls NAME /etc")
    return snapshot, path_of(words[0]) if words else WHOLE.encode()


async def _ls(home: Home, name: str, chosen: str, path: bytes, *, recursive: bool, as_json: bool) -> None:
    from pbs.lookup import opened, viewed
    from pbs.repository import listing
    from pbs.views import entry_view

    entries: list[dict[str, Any]] = []
    with opened(home, name, chosen) as found, viewed(home, found, [found.receipt.id]) as handle:
        async for entry in listing(handle, found.receipt.id, path, recursive=recursive):
            view = entry_view(entry)
            if as_json:
                entries.append(view)
            else:
                _ls_line(view)
        if as_json:
            document({"snapshot": found.receipt.id, "entries": entries})


def _ls_line(entry: dict[str, Any]) -> None:
    import stat

    from pbs.text import clean_line

    kinds = {"dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK,
             "dev": stat.S_IFBLK, "chardev": stat.S_IFCHR}  # fmt: skip
    mode = stat.filemode((entry["mode"] & 0o7777) | kinds.get(entry["type"], stat.S_IFREG))
    target = f" -> {entry['linktarget']}" if entry["linktarget"] else ""
    size = entry["size"] if entry["size"] is not None else 0
    line = f"{mode} {entry['uid']:>6} {entry['gid']:>6} {size:>12} {when(entry['mtime'])} "
    print(line + clean_line(f"{entry['path']}{target}", 8192))


def get(
    context: typer.Context,
    name: Name,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="From the snapshot's root.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; else the file's own name here.")
    ] = None,
    snapshot: Snapshot = "latest",
) -> None:
    """Take one file out (a folder comes as a tar); `-o -` writes to standard output."""
    wanted = path_of(path)
    own = os.fsdecode(os.path.basename(wanted.rstrip(b"/")) or b"snapshot")  # noqa: PTH119 - bytes
    asyncio.run(_get(context.obj, name, snapshot, wanted, output or Path(own)))


async def _get(home: Home, name: str, chosen: str, path: bytes, output: Path) -> None:
    from pbs.files import appearing
    from pbs.lookup import opened, viewed
    from pbs.repository import dump

    with opened(home, name, chosen) as found, viewed(home, found, [found.receipt.id]) as handle:
        if str(output) == "-":
            await dump(handle, found.receipt.id, path, sys.stdout.fileno())
            return
        with appearing(output) as descriptor:
            await dump(handle, found.receipt.id, path, descriptor)
    note(f"{output}: from the snapshot received {when(str(found.receipt.time.isoformat()))} UTC")


def restore(
    context: typer.Context,
    name: Name,
    words: Annotated[list[str] | None, typer.Argument(metavar="SNAPSHOT|PATH", show_default=False)] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="The folder to restore into.", show_default=False),
    ] = None,
    snapshot: Snapshot = "latest",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="DIR may hold files; different ones are replaced.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete in DIR what the snapshot does not hold.")
    ] = False,
    special: Annotated[bool, typer.Option("--special", help="Make device files too (root only).")] = False,
    as_json: Json = False,
) -> int:
    """Restore a snapshot, or some PATHs of it, into DIR. For whole trees; `pbs mount` is for a few files."""
    if to is None:
        raise UsageError(
            "where to restore must be said", "give --to DIR, a folder that is empty or does not exist"
        )
    if str(to) == "source":
        raise UsageError(
            "restoring in place on the source is not offered yet",
            "restore with --to DIR, or write --to ./source",
        )
    if delete and not overwrite:
        raise UsageError("--delete needs --overwrite", "say both to make DIR exactly the snapshot")
    words = words or []
    if words and not words[0].startswith("/"):
        snapshot, words = words[0], words[1:]
    paths = [path_of(word) for word in words]
    return asyncio.run(
        _restore(
            context.obj,
            name,
            snapshot,
            to,
            paths,
            overwrite=overwrite,
            delete=delete,
            special=special,
            as_json=as_json,
        )
    )


async def _restore(
    home: Home, name: str, chosen: str, to: Path, paths: list[bytes],
    *, overwrite: bool, delete: bool, special: bool, as_json: bool,
) -> int:  # fmt: skip
    from functools import partial

    from pbs import restore as room
    from pbs.cli.follow import painter
    from pbs.lookup import opened, viewed
    from pbs.repository import listing

    with (
        opened(home, name, chosen) as found,
        viewed(home, found, [found.receipt.id]) as handle,
        painter(name) as paint,
    ):
        done = await room.restore(
            handle.program(),
            found.receipt.id,
            to,
            partial(listing, handle, found.receipt.id, recursive=True),
            paths=paths,
            overwrite="if-changed" if overwrite else None,
            delete=delete,
            special=special,
            root=found.receipt.root,
            progress=lambda far: paint.show(_progress(far)),
        )
    receipt = found.receipt
    if as_json:
        document({"snapshot": receipt.id, "to": str(to), "complete": receipt.outcome == "ok", "files": done.files,
                  "bytes": done.bytes, "unchanged": done.unchanged, "deleted": done.deleted,
                  "devices_left_out": done.specials, "failed": done.failed, "warnings": list(done.warnings)})  # fmt: skip
    else:
        print(f"{to}: {done.files} names, {amount(done.bytes)} from snapshot {receipt.id[:16]}")
    for warning in done.warnings:
        note(f"  {warning}")
    if done.specials:
        note(f"  {done.specials} device file(s) were left out; --special makes them")
    if receipt.outcome != "ok":
        note("  this snapshot is incomplete: its run could not read everything (see its log)")
    return 3 if done.failed else 0


def _progress(far: Any) -> dict[str, Any]:
    """How far a restore is, in the shape of a run's event."""
    percent = 100 * far.bytes / far.total_bytes if far.total_bytes else None
    return {
        "event": "progress",
        "percent": percent,
        "files": far.files,
        "bytes": far.bytes,
        "total_bytes": far.total_bytes,
    }


def mount(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", show_default=False)] = None,
    time: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Unmount by itself after this, such as 2h.")
    ] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Mount every snapshot of a source: DIR/latest, DIR/received/TIME, DIR/ids/ID. Alone: list what is mounted."""
    from pbs.background import in_background
    from pbs.text import parse_duration

    home: Home = context.obj
    if name is None:
        _mounts(home, as_json=as_json)
        return
    try:
        seconds = parse_duration(time) if time is not None else None
    except ValueError as error:
        raise UsageError(f"--for {time}: {error}", "for example --for 2h") from error
    place = (directory or home.mountpoint(name)).absolute()

    def serve(ready: Any) -> int:
        asyncio.run(_mount(home, name, place, seconds, ready))
        return 0

    def tell() -> None:
        if as_json:
            document({"source": name, "directory": str(place), "latest": str(place / "latest")})
        else:
            print(
                f"mounted at {place}: latest/, received/TIME/, ids/ID/; `pbs umount {name}` ends it",
                flush=True,
            )

    if foreground:
        serve(tell)
    else:
        in_background(serve, home.log / "mount.log")
        tell()


async def _mount(home: Home, name: str, place: Path, seconds: float | None, ready: Any) -> None:
    from pbs.clock import SystemClock
    from pbs.lookup import opened, viewed
    from pbs.restore import serve_mount

    with (
        opened(home, name, "latest") as found,
        viewed(home, found, [each.id for each in found.usable]) as handle,
    ):
        await serve_mount(
            handle.program(),
            place,
            home.mounts,
            SystemClock(),
            source=name,
            snapshots={each.id: each.time for each in found.usable},
            latest=found.receipt.id,
            seconds=seconds,
            ready=lambda _: ready(),
        )


def _mounts(home: Home, *, as_json: bool) -> None:
    from pbs.clock import stamp
    from pbs.restore import mounts

    found: list[dict[str, Any]] = [
        {"source": each.source, "directory": str(each.directory), "opened": stamp(each.opened),
         "expires": stamp(each.expires), "snapshots": each.snapshots}
        for each in asyncio.run(mounts(home.mounts))
    ]  # fmt: skip
    if as_json:
        document({"mounts": found})
    elif found:
        lines = [
            (each["source"], each["directory"], when(each["opened"]), when(each["expires"])) for each in found
        ]
        table(("SOURCE", "DIRECTORY", "OPENED (UTC)", "UNTIL (UTC)"), lines)
    else:
        note("nothing is mounted")


def umount(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A source, or the folder of a mount.", show_default=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Also where somebody still looks.")] = False,
) -> None:
    """End the mounts of a source."""
    from pbs.clock import SystemClock
    from pbs.errors import NotFound
    from pbs.restore import mounts, unmount

    home: Home = context.obj
    here = [
        each.directory
        for each in asyncio.run(mounts(home.mounts))
        if name in (each.source, str(each.directory))
    ]
    if not here:
        raise NotFound(f"nothing of {name} is mounted", "`pbs mount` alone lists what is")
    for directory in here:
        asyncio.run(unmount(directory, home.mounts, SystemClock(), force=force))
        note(f"unmounted {directory}")

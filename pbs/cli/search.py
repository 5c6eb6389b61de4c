"""Verbs that look for something in many snapshots: find, versions, diff. They need neither the service nor a configuration."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from pbs.cli.look import path_of
from pbs.cli.show import Json, Name, amount, document, note, table, when
from pbs.text import clean_line

# Whoever waits at a terminal ends it with Ctrl-C.
PATIENCE_SECONDS = 86400.0
LETTERS = {"added": "+", "removed": "-", "changed": "M", "replaced": "T", "metadata": "U"}
Before = Annotated[
    str | None, typer.Option("--before", metavar="ID", help="Only in snapshots older than this one.")
]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("find")(find)
    app.command("versions")(versions)
    app.command("diff")(diff)


def find(
    context: typer.Context,
    name: Name,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="Part of a name; * and ? stand for anything, a / begins a path.",
            show_default=False,
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many names at most.")] = 1000,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """Look for a name in every snapshot of a source, from the newest back."""
    from pbs.browse import found_view, search
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger

    ledger = open_ledger(context.obj.ledger)
    before = ledger.find_receipt(name, before).id if before is not None else None
    found = found_view(
        asyncio.run(
            search(
                context.obj,
                ledger,
                SystemClock(),
                name,
                text,
                before=before,
                limit=limit,
                seconds=PATIENCE_SECONDS,
            )
        )
    )
    if as_json:
        document(found)
        return
    table(
        ("NEWEST IN", "RECEIVED (UTC)", "SNAPSHOTS", "SIZE", "CHANGED (UTC)", "PATH"),
        [
            (each["snapshot"][:16], when(each["time"]), each["snapshots"], amount(each["size"]), when(each["mtime"]),
             each["path"])
            for each in found["matches"]
        ],
        right=frozenset({2, 3}),
    )  # fmt: skip
    if found["cut"]:
        note(f"there is more than these {len(found['matches'])}: give more of the name, or a greater --limit")
    _looked(found)


def _looked(found: dict[str, Any]) -> None:
    note(f"looked through {found['looked']} snapshot(s), back to {when(found['oldest'])} UTC")
    if found["next"]:
        note(f"there are older ones: --before {found['next'][:16]}")


def versions(
    context: typer.Context,
    name: Name,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="From the snapshot's root.", show_default=False)
    ],
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List every version of a file that some snapshot holds. `pbs get NAME PATH --snapshot ID` takes one out."""
    from pbs import browse
    from pbs.clock import SystemClock
    from pbs.ledger import open_ledger

    ledger = open_ledger(context.obj.ledger)
    before = ledger.find_receipt(name, before).id if before is not None else None
    found = browse.versions_view(
        asyncio.run(
            browse.versions(
                context.obj,
                ledger,
                SystemClock(),
                name,
                path_of(path),
                before=before,
                seconds=PATIENCE_SECONDS,
            )
        )
    )
    if as_json:
        document(found)
        return
    if not found["versions"]:
        note(f"no snapshot of {name} holds {clean_line(path)}: `pbs find {name} TEXT` looks for names")
    else:
        table(
            ("SNAPSHOT", "LAST RECEIVED (UTC)", "FIRST RECEIVED (UTC)", "SNAPSHOTS", "SIZE", "CHANGED (UTC)"),
            [
                (each["snapshots"][0]["id"][:16], when(each["snapshots"][0]["time"]), when(each["snapshots"][-1]["time"]),
                 len(each["snapshots"]), amount(each["size"]), when(each["mtime"]))
                for each in found["versions"]
            ],
            right=frozenset({3, 4}),
        )  # fmt: skip
    _looked(found)


def diff(
    context: typer.Context,
    name: Name,
    older: Annotated[str, typer.Argument(metavar="A", help="The older snapshot.", show_default=False)],
    newer: Annotated[
        str, typer.Argument(metavar="B", help="The newer one, or `latest`.", show_default=False)
    ],
    limit: Annotated[int, typer.Option(min=1, help="How many changes are listed at most.")] = 1_000_000,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Also where only owner, mode or time changed: U.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell what is different between two snapshots: + new, - gone, M changed, T another kind of thing."""
    from pbs.browse import differences, differences_view
    from pbs.ledger import open_ledger

    ledger = open_ledger(context.obj.ledger)
    found = differences_view(
        asyncio.run(
            differences(
                context.obj,
                ledger,
                name,
                older,
                newer,
                metadata=metadata,
                limit=limit,
                seconds=PATIENCE_SECONDS,
            )
        )
    )
    if as_json:
        document(found)
        return
    for each in found["changes"]:
        print(f"{LETTERS[each['change']]} {clean_line(each['path'], 8192)}{'/' if each['folder'] else ''}")
    counted = (
        ", ".join(f"{count} {word}" for word, count in found["counts"].items() if count) or "no difference"
    )
    note(f"{counted}; {amount(found['added_bytes'])} of data came, {amount(found['removed_bytes'])} went")
    if found["next"] is not None:
        note(f"the first {len(found['changes'])} are listed: a greater --limit lists more")

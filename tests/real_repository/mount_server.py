"""A process of its own that serves one mount; its request comes on standard input as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path

from pbs.clock import SystemClock
from pbs.errors import PbsError
from pbs.repository import Handle, view
from pbs.restore import Mount, serve_mount


def ready(_: Mount) -> None:
    """Say so."""
    print("ready", flush=True)


async def main() -> None:
    """Serve until told to stop."""
    ask = json.load(sys.stdin)
    snapshots = {
        identity: datetime.fromisoformat(received) for identity, received in ask["snapshots"].items()
    }
    repository = Path(ask["repository"])
    with view(repository, Path(ask["work"]), snapshots, ask["key"]) as shown:
        handle = Handle(shown.path, ask["password"], Path(ask["cache"]), ask["key"], (shown.descriptor,))
        await serve_mount(
            handle.program(), Path(ask["directory"]), Path(ask["records"]), SystemClock(), source="web1",
            snapshots=snapshots, latest=ask.get("latest"), seconds=ask.get("seconds"), ready=ready,
        )  # fmt: skip


try:
    asyncio.run(main())
except PbsError as error:
    sys.exit(f"{error.message}; {error.hint}")

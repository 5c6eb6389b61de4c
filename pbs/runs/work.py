"""Everything that one run may touch, in one value. It does nothing by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pbs.clock import Clock
from pbs.errors import LeaseHeld
from pbs.model import Run, Source
from pbs.runs.halt import Halt
from pbs.runs.ports import Desk, Endpoint, Journal, Legacy, Line, Records
from pbs.runs.report import Report
from pbs.runs.stages import Stages
from pbs.runs.store import Repository


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is about, the tools it is handed, and the report that it fills.

    `alone` gives a block in which nobody else uses the repository, if it gives True; readers may go on where not.
    """

    run: Run
    source: Source
    clock: Clock
    journal: Journal
    stages: Stages
    report: Report
    records: Records
    repository: Repository
    desk: Desk
    endpoint: Endpoint
    legacy: Legacy
    connect: Callable[[], AbstractAsyncContextManager[Line]]
    alone: Callable[[], AbstractContextManager[bool]]
    halt: Halt = field(default_factory=Halt)

    @contextmanager
    def to_itself(self) -> Iterator[None]:
        """A block in which nobody else uses the repository.

        Raises:
            LeaseHeld: somebody reads in it just now.
        """
        with self.alone() as alone:
            if not alone:
                raise LeaseHeld(
                    f"the repository of {self.source.name} is in use",
                    "a restore or a mount goes on; `pbs mount` lists the mounts",
                )
            yield

    @property
    def options(self) -> dict[str, Any]:
        """What else the run was asked for with."""
        found = json.loads(self.run.options) if self.run.options else {}
        return found if isinstance(found, dict) else {}

"""A program with all that is the same for each call of it: a value that one room makes and another is handed.

So a room can use restic on a repository whose password, key and locks it knows nothing of. It starts nothing that
`pbs.process` does not start for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from pbs.bounds import UNBOUNDED, Bounds
from pbs.errors import PbsError, ToolError
from pbs.process import Child, Finished, child, run


def tool_failed(argv: Sequence[str | bytes | os.PathLike[str]], finished: Finished) -> PbsError:
    """What to say of a program whose failures nobody explains better."""
    last = finished.stderr.strip().rpartition("\n")[2]
    return ToolError(
        f"{Path(os.fsdecode(argv[0])).name} failed: {last or f'exit code {finished.code}'}",
        "`pbs doctor` looks at tools, disk and repository",
    )


@dataclass(frozen=True, slots=True)
class Program:
    """A program with all that is the same for each call of it, so that a room can be handed one to use.

    Attributes:
        argv: The program and its first arguments.
        env: Its whole environment.
        secret: Its password, for the place `{secret}` in argv.
        inherit: Lock descriptors that each child keeps open.
        bounds: What each child may use.
        explain: Turns a bad end into the error to raise.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    secret: str | None = field(default=None, repr=False)
    inherit: tuple[int, ...] = ()
    bounds: Bounds = UNBOUNDED
    explain: Callable[[Sequence[str | bytes | os.PathLike[str]], Finished], PbsError] = tool_failed

    async def run(
        self,
        *arguments: str | bytes,
        allow: frozenset[int] = frozenset({0}),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the deadline belongs to the child
        stdout: int | None = None,
        on_line: Callable[[bytes], Awaitable[None] | None] | None = None,
        on_complaint: Callable[[bytes], None] | None = None,
        most: int | None = None,
    ) -> Finished:
        """Run it to its end; `env` is added to its environment, an exit code outside `allow` is an error."""
        command = [*self.argv, *arguments]
        finished = await run(
            command, cwd=cwd, env={**self.env, **(env or {})}, stdin=stdin, secret=self.secret,
            inherit=self.inherit, timeout=timeout, stdout=stdout, on_line=on_line,
            on_complaint=on_complaint, bounds=self.bounds, most=most,
        )  # fmt: skip
        if finished.code not in allow:
            raise self.explain(command, finished)
        return finished

    def child(
        self,
        *arguments: str | bytes,
        env: Mapping[str, str] | None = None,
        death_signal: int = signal.SIGKILL,
    ) -> AbstractAsyncContextManager[Child]:
        """Start it; it ends with the block."""
        return child(
            [*self.argv, *arguments], env={**self.env, **(env or {})}, secret=self.secret,
            inherit=self.inherit, bounds=self.bounds, death_signal=death_signal,
        )  # fmt: skip

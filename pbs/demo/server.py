"""The server of the demo, reached as everybody else reaches it: through the `pbs` executable.

It imports nothing of the service: what cannot be done through a verb is a missing verb.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pbs import files
from pbs.errors import ToolError
from pbs.process import Finished, run

VERB_SECONDS = 120.0
RUN_SECONDS = 600.0
TOKEN_FILE = "etc/keys/admin.token"  # noqa: S105 - a path


def executable(name: str, module: str) -> list[str]:
    """How an executable of ours is started: the one beside this Python, or this Python with its module."""
    beside = Path(sys.executable).with_name(name)
    return [str(beside)] if os.access(beside, os.X_OK) else [sys.executable, "-m", module]


class Server:
    """One home, by its verbs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = ""
        self._pbs = [*executable("pbs", "pbs.cli.main"), "--home", str(home)]
        self._env = {name: value for name, value in os.environ.items() if name != "PBS_HOME"}

    async def ask(
        self,
        *words: str | bytes | Path,
        allow: Sequence[int] = (0,),
        timeout: float = VERB_SECONDS,  # noqa: ASYNC109 - the deadline belongs to the child
    ) -> Finished:
        """Carry out one verb.

        Raises:
            ToolError: it ended with another code than the allowed ones; with its own words.
        """
        finished = await run([*self._pbs, *words], env=self._env, timeout=timeout)
        if finished.code not in allow:
            verb = " ".join(os.fsdecode(word) for word in words)
            raise ToolError(f"`pbs {verb}` ended with {finished.code}: {_last_words(finished)}")
        return finished

    async def document(
        self,
        *words: str | bytes | Path,
        allow: Sequence[int] = (0,),
        timeout: float = VERB_SECONDS,  # noqa: ASYNC109 - as above
    ) -> Any:
        """What a verb says with `--json`.

        Raises:
            ToolError: it failed, or that is no JSON.
        """
        finished = await self.ask(*words, "--json", allow=allow, timeout=timeout)
        try:
            return json.loads(finished.stdout)
        except ValueError as error:
            raise ToolError(
                f"`pbs {os.fsdecode(words[0])} --json` prints no JSON: {_last_words(finished)}"
            ) from error

    async def make(self, port: int) -> None:
        """Make the home and have it listen on a port of its own."""
        await self.ask("init", self.home)
        path = self.home / "pbs.toml"
        files.write(path, with_address(path.read_text(), port).encode(), mode=0o644)
        self.url = f"http://127.0.0.1:{port}"
        await self.ask("config", "check")

    async def pull(self) -> dict[str, Any]:
        """Pull, and return the run as it ended; any outcome is an answer."""
        run_view: dict[str, Any] = await self.document(
            "pull", "demo", allow=(0, 1, 3, 4, 5), timeout=RUN_SECONDS
        )
        return run_view

    async def runs(self) -> list[dict[str, Any]]:
        """The source's runs in the order in which they ended: an import is queued after the pull that it precedes."""
        answer = await self.document("runs", "demo")
        return sorted(answer["runs"], key=lambda run: run["ended"] or "~")

    @property
    def token(self) -> str:
        """The operator's token, which the TCP listener wants."""
        return (self.home / TOKEN_FILE).read_text().strip()


def with_address(text: str, port: int) -> str:
    """A pbs.toml in which the server listens on this port; what was set or commented there stays as it is."""
    lines = f'listen = "127.0.0.1:{port}"\nbase_url = "http://127.0.0.1:{port}"\n'
    head = re.search(r"(?m)^\[server\][^\n]*\n", text)
    if head is None:
        return f"{text}\n[server]\n{lines}"
    return text[: head.end()] + lines + text[head.end() :]


def _last_words(finished: Finished) -> str:
    said = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    return " · ".join(said[-3:]) or "it said nothing"

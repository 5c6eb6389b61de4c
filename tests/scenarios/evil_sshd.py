"""An sshd whose owner is not our friend: speaks the agent's words, then opens every channel it can think of towards us.

Arguments: PORT HOST_KEY ANSWER TCP_PORT SOCKET… It writes to ANSWER what came of each attempt, and goes on serving.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncssh


class Evil(asyncssh.SSHServer):
    """Lets everybody in."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return True

    def unix_server_requested(self, listen_path: str) -> bool:
        return True


async def attempt(opening: Any) -> str:
    """What came of opening a channel."""
    try:
        async with asyncio.timeout(10):
            await opening
    except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
        return f"refused: {type(error).__name__}: {error}"
    return "open"


async def ask(connection: asyncssh.SSHServerConnection, path: str) -> str:
    """The first line that comes back through a forwarded socket."""
    reader, writer = await connection.open_unix_connection(path)
    writer.write(b"GET /config HTTP/1.0\r\nHost: localhost\r\n\r\n")
    line: bytes = await reader.readline()
    writer.close()
    return line.decode()


async def attack(
    connection: asyncssh.SSHServerConnection, lent: str, port: int, sockets: list[str]
) -> dict[str, str]:
    """Try everything."""
    told = {"lent": await ask(connection, lent)}
    for path in (*sockets, "", "/", lent + "x", lent[:-1], lent + "\0", "/nonexistent"):
        told[f"unix {path!r}"] = await attempt(connection.open_unix_connection(path))
    for host in ("localhost", "127.0.0.1", "", "controller"):
        told[f"tcp {host}"] = await attempt(connection.open_connection(host, port))
    told["agent"] = await attempt(connection.open_agent_connection())
    told["x11"] = await attempt(connection.create_x11_connection(asyncssh.SSHTCPSession))
    return told


async def main(port: int, key: str, answer: Path, tcp: int, sockets: list[str]) -> None:
    """Serve until killed."""

    async def word(process: asyncssh.SSHServerProcess[str]) -> None:
        def say(**event: Any) -> None:
            process.stdout.write(json.dumps(event) + "\n")

        say(event="hello", protocol=1, agent="x", restic="0.19.1", profile="x", socket_folder="/tmp")
        if process.command == "backup":
            wish = json.loads(await process.stdin.readline())
            connection = process.get_extra_info("connection")
            try:
                told = await attack(connection, wish["socket"], tcp, sockets)
            except (asyncssh.Error, OSError, AttributeError, TypeError) as error:
                told = {"fault": repr(error)}
            new = answer.with_suffix(".new")
            new.write_text(json.dumps(told))
            new.replace(answer)
        say(event="end", outcome="ok", message="", snapshot=None, exit=0)
        process.exit(0)

    await asyncssh.listen(
        "127.0.0.1", port, server_factory=Evil, server_host_keys=[key], process_factory=word
    )
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))

"""Ask supervisord to run exactly what is wanted. It knows programs and their states, not what they are for."""

from __future__ import annotations

import asyncio
import http.client
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults, SupervisorTransport

from pbs.errors import EndpointError, ServiceDown
from pbs.files import write

UP = frozenset({ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.BACKOFF})


class Supervisor:
    """One supervisord, by its socket. Every call is short; each opens a connection of its own."""

    def __init__(self, socket: Path, include: Path) -> None:
        self._socket = socket
        self._include = include

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await asyncio.to_thread(self.ask, method, *arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call one method of supervisord's interface.

        Raises:
            ServiceDown: supervisord does not answer.
            xmlrpc.client.Fault: it says no.
        """
        # The address is a form that the transport replaces by the socket.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            namespace, _, name = method.rpartition(".")
            return getattr(getattr(proxy, namespace or "supervisor"), name)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise ServiceDown(
                "the service is not running in this home", "start it with `pbs serve`"
            ) from error
        finally:
            transport.close()

    async def start(self, program: str) -> None:
        """Have a program run; one that runs already is fine.

        Raises:
            EndpointError: supervisord cannot start it.
        """
        await self._change("startProcess", program, fine=(Faults.ALREADY_STARTED,))

    async def stop(self, program: str) -> None:
        """Have a program not run; returns when it has ended. One that is not known does not run."""
        await self._change("stopProcess", program, fine=(Faults.NOT_RUNNING, Faults.BAD_NAME))

    async def _change(self, method: str, program: str, fine: tuple[int, ...]) -> None:
        try:
            # wait=True for a stop: nobody but us may touch the repository afterwards.
            await self._ask(method, program, method == "stopProcess")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in fine:
                raise EndpointError(
                    f"supervisord cannot {method.removesuffix('Process')} {program}: {fault.faultString}",
                    "see `pbs status` and the log of that program in var/log",
                ) from fault

    async def state(self, program: str) -> int | None:
        """Supervisord's state of a program; None where it does not know it."""
        try:
            info = await self._ask("getProcessInfo", program)
        except xmlrpc.client.Fault:
            return None
        return int(info["state"])

    def all(self) -> list[dict[str, Any]]:
        """What supervisord knows of every program."""
        return list(self.ask("getAllProcessInfo"))

    async def register(self, program: str, text: str) -> bool:
        """Make a program known, or known anew where its text changed; others keep running.

        True where something had to be done.
        """
        path = self._include / f"{program}.conf"
        known = await self.state(program) is not None
        if known and path.exists() and path.read_text() == text:
            return False
        write(path, text.encode())
        if known:
            await self._drop(program)
        await self._reread()
        try:
            await self._ask("addProcessGroup", program)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_ADDED:
                raise EndpointError(f"supervisord does not take {program}: {fault.faultString}") from fault
        return True

    async def forget(self, program: str) -> None:
        """End a program and make it unknown."""
        (self._include / f"{program}.conf").unlink(missing_ok=True)
        await self._drop(program)

    async def _drop(self, program: str) -> None:
        await self.stop(program)
        try:
            await self._ask("removeProcessGroup", program)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (Faults.BAD_NAME, Faults.STILL_RUNNING):
                raise EndpointError(
                    f"supervisord does not let go of {program}: {fault.faultString}"
                ) from fault

    async def _reread(self) -> None:
        try:
            await self._ask("reloadConfig")
        except xmlrpc.client.Fault as fault:
            raise EndpointError(f"supervisord cannot read its configuration: {fault.faultString}") from fault

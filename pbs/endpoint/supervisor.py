"""Ask supervisord to run exactly what is wanted. It knows programs and their states, not what they are for."""

from __future__ import annotations

import http.client
import xmlrpc.client
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults, SupervisorTransport, UnixStreamHTTPConnection

from pbs.clock import SystemClock
from pbs.errors import EndpointError, ServiceDown, ServiceStopping
from pbs.files import write
from pbs.threads import in_thread

# More than a program is given (stopwaitsecs) before it is killed.
STOPPING_SECONDS = 20.0
# Its longest answer is the end of a program; a supervisord that is stuck must not hold a run for ever.
ANSWER_SECONDS = 60.0
NOTHING_TO_DO = {
    "startProcess": (Faults.ALREADY_STARTED,),
    "stopProcess": (Faults.NOT_RUNNING, Faults.BAD_NAME),
}


class _Connection(UnixStreamHTTPConnection):  # type: ignore[misc]  # the library has no types
    """One that does not wait for ever."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(ANSWER_SECONDS)


def _transport(path: Path) -> SupervisorTransport:
    # The address is a form that is replaced by the socket.
    transport = SupervisorTransport(None, None, f"unix://{path}")

    def connection() -> _Connection:
        made = _Connection("localhost")
        made.socketfile = str(path)
        return made

    transport._get_connection = connection  # noqa: SLF001 - its only door to the connection
    return transport


class Supervisor:
    """One supervisord, by its socket. Every call is short; each opens a connection of its own."""

    def __init__(self, socket: Path, include: Path) -> None:
        self._socket = socket
        self._include = include

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await in_thread(self.ask, method, *arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call one method of supervisord's interface.

        Raises:
            ServiceDown: supervisord does not answer.
            ServiceStopping: it is ending, and takes no orders any more.
            xmlrpc.client.Fault: it says no.
        """
        transport = _transport(self._socket)
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            namespace, _, name = method.rpartition(".")
            return getattr(getattr(proxy, namespace or "supervisor"), name)(*arguments)
        except TimeoutError as error:
            raise EndpointError(
                f"supervisord gave no answer to {method} within {ANSWER_SECONDS:g} s",
                "see whether this machine is overloaded; look at var/log/supervisord.log",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ServiceDown(
                "the service is not running in this home", "start it with `pbs serve`"
            ) from error
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.SHUTDOWN_STATE:
                raise
            raise ServiceStopping(
                "the service is just being stopped", "start it again with `pbs serve`"
            ) from fault
        except (xmlrpc.client.ProtocolError, xmlrpc.client.ResponseError, ExpatError) as error:
            raise EndpointError(
                f"supervisord fails to do {method}: {error}", "look at var/log/supervisord.log"
            ) from error
        finally:
            transport.close()

    def stopping(self) -> bool:
        """Whether it is ending. Asks at once, in some milliseconds, and does not yield.

        Raises:
            ServiceDown: it is gone.
        """
        try:
            self.ask("getState")
        except ServiceStopping:
            return True
        return False

    async def start(self, program: str, *, at_once: bool = False) -> None:
        """Have a program run; one that runs already is fine.

        Args:
            program: Its name.
            at_once: One that failed and waits for its next try is tried now.

        Raises:
            EndpointError: supervisord cannot start it.
        """
        try:
            fault = await self._change("startProcess", program)
        except EndpointError:
            # One that is just being stopped cannot be started: that fails without a name for it.
            if await self.state(program) != ProcessStates.STOPPING:
                raise
            await self._stopped(program)
            fault = await self._change("startProcess", program)
        if at_once and fault is not None and await self.state(program) == ProcessStates.BACKOFF:
            await self._change("stopProcess", program)
            await self._change("startProcess", program)

    async def stop(self, program: str) -> None:
        """Have a program not run; returns when it has ended. One that is not known does not run.

        Raises:
            EndpointError: it does not end.
        """
        if await self._change("stopProcess", program) == Faults.NOT_RUNNING:
            await self._stopped(program)

    async def _change(self, method: str, program: str) -> int | None:
        """Ask for a change; the fault where nothing had to be changed."""
        try:
            # wait=True for a stop: nobody but us may touch the repository afterwards.
            await self._ask(method, program, method == "stopProcess")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in NOTHING_TO_DO[method]:
                return int(fault.faultCode)
            raise EndpointError(
                f"supervisord cannot {method.removesuffix('Process')} {program}: {fault.faultString}",
                "see `pbs status` and the log of that program in var/log",
            ) from fault
        return None

    async def _stopped(self, program: str) -> None:
        """Wait for a program that somebody else is just stopping: it still runs, and cannot be started."""
        clock = SystemClock()
        deadline = clock.monotonic() + STOPPING_SECONDS
        while await self.state(program) == ProcessStates.STOPPING:
            if clock.monotonic() > deadline:
                raise EndpointError(
                    f"{program} does not end within {STOPPING_SECONDS:g} s", "see `pbs status`"
                )
            await clock.sleep(0.05)

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
                raise EndpointError(
                    f"supervisord does not take {program}: {fault.faultString}",
                    "look at var/log/supervisord.log",
                ) from fault
        return True

    async def forget(self, program: str) -> None:
        """End a program and make it unknown."""
        # Its file goes last: as long as it is there, whoever comes after a death knows that there is something to end.
        await self._drop(program)
        (self._include / f"{program}.conf").unlink(missing_ok=True)

    def registered(self, program: str) -> bool:
        """Whether a program was made known here and not forgotten; asks nobody."""
        return (self._include / f"{program}.conf").exists()

    async def _drop(self, program: str) -> None:
        await self.stop(program)
        try:
            await self._ask("removeProcessGroup", program)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (Faults.BAD_NAME, Faults.STILL_RUNNING):
                raise EndpointError(
                    f"supervisord does not let go of {program}: {fault.faultString}",
                    "look at var/log/supervisord.log",
                ) from fault

    async def _reread(self) -> None:
        try:
            await self._ask("reloadConfig")
        except xmlrpc.client.Fault as fault:
            raise EndpointError(
                f"supervisord cannot read its configuration: {fault.faultString}",
                "look at var/log/supervisord.log",
            ) from fault

"""The end of the service: no run begins any more, those that go on get a time of grace, then everything is ended.

That no run begins is a kernel lock, held by whoever stops the service: should that one be killed, the service goes on
as if nobody had asked. It ends no run itself: workers do, when supervisord ends them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from pbs.clock import SystemClock, pause
from pbs.endpoint import Supervisor
from pbs.errors import LedgerError, PbsError, ServiceDown, ServiceStopping
from pbs.files import FileLock
from pbs.home import Home
from pbs.model import Run, RunState
from pbs.text import duration

if TYPE_CHECKING:
    from pbs.ledger import Ledger

LOOK_SECONDS = 0.1
LOOKING_SECONDS = 1.0
# More than supervisord gives all its programs.
STOP_SECONDS = 60.0
NAMED = 5


def served(home: Home) -> bool:
    """Whether somebody serves this home."""
    lock = FileLock(home.locks / "serve.lock")
    free = lock.acquire()
    lock.release()
    return not free


def draining(home: Home) -> bool:
    """Whether somebody is just stopping the service."""
    lock = FileLock(home.locks / "stop.lock")
    free = lock.acquire(shared=True)
    lock.release()
    return not free


def stop(home: Home, grace: float, say: Callable[[str], None]) -> list[Run]:
    """End the service and wait until it is gone; returns the runs that were still going on then, as they ended.

    Args:
        home: The home that is served.
        grace: Seconds that runs may take to come to their end by themselves.
        say: Tells a person what is waited for.

    Raises:
        ServiceDown: nobody serves it.
    """
    from pbs.ledger import open_ledger  # noqa: PLC0415 - others only ask whether anybody stops it

    if not served(home):
        raise ServiceDown("the service is not running in this home", "start it with `pbs serve`")
    lock = FileLock(home.locks / "stop.lock")
    try:
        with closing(open_ledger(home.ledger)) as ledger:
            if grace > 0:
                _close_the_way_in(lock)
                _let_them_end(home, ledger, grace, say)
            live = ledger.queue.running()
            _shut_down(home)
            # Who was killed before it could write its run's end is found by the next start.
            return [
                each for each in map(ledger.run, (run.id for run in live)) if each.state is RunState.ENDED
            ]
    except LedgerError as error:
        say(f"the runs cannot be looked at: {error.message}")
        _shut_down(home)
        return []
    finally:
        lock.release()


def _close_the_way_in(lock: FileLock) -> None:
    """Have no run begin. Another one that stops the service just now has seen to it as well."""
    clock = SystemClock()
    deadline = clock.monotonic() + LOOKING_SECONDS
    # A worker that looks holds it for a moment.
    while not lock.acquire() and clock.monotonic() < deadline:
        pause(LOOK_SECONDS / 10)


def _let_them_end(home: Home, ledger: Ledger, grace: float, say: Callable[[str], None]) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + grace
    told: frozenset[str] = frozenset()
    while (running := ledger.queue.running()) and served(home):
        left = deadline - clock.monotonic()
        if left <= 0:
            say(f"the time is over: {_named(running)} {'is' if len(running) == 1 else 'are'} interrupted")
            return
        names = frozenset(run.id for run in running)
        if names != told:
            say(f"waiting {duration(left)} at most for {_named(running)}; `pbs stop --now` does not wait")
            told = names
        pause(LOOK_SECONDS)


def _named(running: list[Run]) -> str:
    names = ", ".join(sorted(run.id for run in running)[:NAMED])
    return names if len(running) <= NAMED else f"{names} and {len(running) - NAMED} more"


def _shut_down(home: Home) -> None:
    # Somebody else may have asked for it already; then its end is waited for all the same.
    try:
        with suppress(ServiceStopping):
            Supervisor(home.supervisor_socket, home.etc / "supervisord.d").ask("shutdown")
    except ServiceDown:
        if served(home):
            raise
    clock = SystemClock()
    deadline = clock.monotonic() + STOP_SECONDS
    while served(home):
        if clock.monotonic() > deadline:
            raise PbsError("the service does not end", f"look at {home.log}/supervisord.log")
        pause(LOOK_SECONDS / 2)

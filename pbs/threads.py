"""Work in a thread that is never left behind: whoever is cancelled waits for it, and only then lets go of its locks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(act: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `act` returns. Cancelling waits for its end first, and is then passed on; cancelling twice does not wait."""
    return await in_thread_until(lambda _: act(*arguments, **named))


async def in_thread_until(act: Callable[[Callable[[], bool]], T]) -> T:
    """The same for what takes long: `act` is handed what says that nobody waits for it any more, and looks at it often."""
    given_up = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(act, given_up.is_set))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        given_up.set()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains that it was not
        raise

"""Leaves a piece of work running after this process has ended, and says how starting it went. It never restarts anything."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from pbs.errors import PbsError
from pbs.files import rotate

READY = "ready"
# A log that has grown to this is set aside when something begins anew; one older one is kept.
MOST_BYTES = 1_000_000


def in_background(act: Callable[[Callable[[], None]], int], log: Path) -> None:
    """Run `act` in a process of its own, without terminal, its output going to `log`.

    `act` is handed a function that it calls once it has started well; this returns then.

    Raises:
        PbsError: it ended or failed before that, with what it said.
    """
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(reading)
        os.setsid()
        if os.fork() == 0:
            _live_on(act, writing, log)
        os._exit(0)
    os.close(writing)
    os.waitpid(first, 0)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as word:
        said = word.read()
    if said != READY:
        raise _failure(said, log)


def _failure(said: str, log: Path) -> PbsError:
    code, message, hint = [*said.split("\n", 2), "", ""][:3]
    error = PbsError(message or "it ended at once", hint or f"look at {log}")
    error.exit_code = int(code) if code.isdigit() else PbsError.exit_code
    return error


def _live_on(act: Callable[[Callable[[], None]], int], writing: int, log: Path) -> None:
    """The grandchild: it has no parent that waits for it."""
    code = 1
    try:
        rotate(log, MOST_BYTES, 1)
        _let_go_of_the_terminal(log)

        code = act(lambda: _say(writing, READY))
    except PbsError as error:
        code = error.exit_code
        _say(writing, f"{code}\n{error.message}\n{error.hint or ''}")
    except OSError as error:
        _say(writing, f"2\ncannot go on: {error.filename}: {error.strerror}")
    except Exception as error:  # noqa: BLE001 - the border of this process: its log keeps the trace
        traceback.print_exception(error)
        _say(writing, f"1\na fault of pbs itself: {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def _say(writing: int, text: str) -> None:
    """The one word for whoever started us; what comes after it goes to the log alone.

    The pipe is moved onto /dev/null, not closed: its number must not come to mean another file.
    """
    with contextlib.suppress(OSError):
        os.write(writing, text.encode("utf-8", "replace"))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, writing, inheritable=False)
    os.close(nothing)
    if text != READY:
        with contextlib.suppress(OSError):
            os.write(2, f"{text}\n".encode("utf-8", "replace"))


def _let_go_of_the_terminal(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, target in ((0, nothing), (1, output), (2, output)):
        os.dup2(target, number)

"""What every program here does around its measuring: says what is missing, takes a box, leaves nothing behind."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from box import Box, Broken


def in_box(folder: Path, lacking: Iterable[str], work: Callable[[Box], None]) -> int:
    """Work in a box below `folder`, unless programs are lacking; returns the exit code."""
    if packages := ", ".join(dict.fromkeys(lacking)):
        return complain(f"install first: {packages}", 2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        box = Box(folder)
    except (Broken, OSError) as error:
        return complain(str(error), 2)
    try:
        work(box)
    except Broken as error:
        return complain(str(error), 1)
    except KeyboardInterrupt:
        return complain("stopped; cleaning up", 130)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        box.close()
    return 0


def say(words: str) -> None:
    """Progress, apart from the result."""
    print(words, file=sys.stderr, flush=True)


def complain(words: str, code: int) -> int:
    """Say what is wrong; returns the exit code."""
    say(f"bench: {words}")
    return code

"""Starts the command that follows it under another clock: faketime in all its processes, but with a sleep of our own here.

faketime 0.9.10 breaks Python's sleep where the monotonic clock is left alone; `pbs serve` sleeps, what it starts does not.
"""

from __future__ import annotations

import runpy
import select
import sys
import time

if __name__ == "__main__":
    time.sleep = lambda seconds: select.select((), (), (), seconds) and None
    # PYTHON -m MODULE ARGUMENT…
    module, sys.argv[:] = sys.argv[3], sys.argv[3:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)

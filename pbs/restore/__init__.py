"""Getting data back: whole trees, single paths, and mounts; and the proof that what came back is what was there.

It is handed a restic that is bound to one view, and never chooses a snapshot by itself.
"""

from pbs.restore.compare import Difference, Differences, compare
from pbs.restore.landing import clear_halves, halves, landing
from pbs.restore.mount import serve_mount, unmount
from pbs.restore.points import mounted
from pbs.restore.records import Mount, mounts, sweep
from pbs.restore.tree import Progress, Restored, restore

__all__ = [
    "Difference",
    "Differences",
    "Mount",
    "Progress",
    "Restored",
    "clear_halves",
    "compare",
    "halves",
    "landing",
    "mounted",
    "mounts",
    "restore",
    "serve_mount",
    "sweep",
    "unmount",
]

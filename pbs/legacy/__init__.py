"""The only door to rdiff-backup: find a legacy tree and import its newest state. It never opens a remote connection."""

from pbs.legacy.importing import import_newest
from pbs.legacy.removing import half_gone, obstacle, remove, set_aside, size_of
from pbs.legacy.trees import LegacyTree, State, examine, find, newest_increment, root_meta

__all__ = [
    "LegacyTree",
    "State",
    "examine",
    "find",
    "half_gone",
    "import_newest",
    "newest_increment",
    "obstacle",
    "remove",
    "root_meta",
    "set_aside",
    "size_of",
]

"""The only door to restic on the server: it makes repositories and reads them, and never decides what counts."""

from pbs.repository.comparing import Comparison, compared
from pbs.repository.contents import Inventory, clear_uploads, index_bytes, inventory, packs
from pbs.repository.entries import entry_at, folder, listing, normal
from pbs.repository.finding import Change, Hit, below, changes, find, head
from pbs.repository.indexes import Arrived
from pbs.repository.inspection import Inspected, Inspector, together
from pbs.repository.keeping import Kept, fetch, forget, kept, store
from pbs.repository.keyfile import open_key, seal_key
from pbs.repository.making import create, own_key
from pbs.repository.messages import DEVICES, Entry, lossy
from pbs.repository.reading import Reading, read_again
from pbs.repository.repairing import (
    Touched,
    present_blobs,
    prune,
    rebuild_index,
    salvage,
    touched,
    tree_blobs,
)
from pbs.repository.restic import (
    Handle,
    check,
    clear_locks,
    drop,
    dump,
    explain,
    identity,
    require,
    snapshot,
    tool,
    version,
)
from pbs.repository.sealed import junk, own_id
from pbs.repository.survey import Survey, config_digest, everything, new_packs, size_of, steady, survey
from pbs.repository.trees import Tree, UnsoundTree, patience, sound
from pbs.repository.views import View, view

__all__ = [
    "DEVICES",
    "Arrived",
    "Change",
    "Comparison",
    "Entry",
    "Handle",
    "Hit",
    "Inspected",
    "Inspector",
    "Inventory",
    "Kept",
    "Reading",
    "Survey",
    "Touched",
    "Tree",
    "UnsoundTree",
    "View",
    "below",
    "changes",
    "check",
    "clear_locks",
    "clear_uploads",
    "compared",
    "config_digest",
    "create",
    "drop",
    "dump",
    "entry_at",
    "everything",
    "explain",
    "fetch",
    "find",
    "folder",
    "forget",
    "head",
    "identity",
    "index_bytes",
    "inventory",
    "junk",
    "kept",
    "listing",
    "lossy",
    "new_packs",
    "normal",
    "open_key",
    "own_id",
    "own_key",
    "packs",
    "patience",
    "present_blobs",
    "prune",
    "read_again",
    "rebuild_index",
    "require",
    "salvage",
    "seal_key",
    "size_of",
    "snapshot",
    "sound",
    "steady",
    "store",
    "survey",
    "together",
    "tool",
    "touched",
    "tree_blobs",
    "version",
    "view",
]

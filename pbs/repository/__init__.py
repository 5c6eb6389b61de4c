"""The only door to restic on the server: it makes repositories and reads them, and never decides what counts."""

from pbs.repository.contents import Inventory, clear_uploads, inventory, packs
from pbs.repository.entries import entry_at, listing
from pbs.repository.keeping import Kept, fetch, forget, kept, store
from pbs.repository.keyfile import open_key, wrap_key
from pbs.repository.making import create, own_key
from pbs.repository.messages import DEVICES, Entry
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
from pbs.repository.sealed import clear_junk
from pbs.repository.views import View, view

__all__ = [
    "DEVICES",
    "Entry",
    "Handle",
    "Inventory",
    "Kept",
    "View",
    "check",
    "clear_junk",
    "clear_locks",
    "clear_uploads",
    "create",
    "drop",
    "dump",
    "entry_at",
    "explain",
    "fetch",
    "forget",
    "identity",
    "inventory",
    "kept",
    "listing",
    "open_key",
    "own_key",
    "packs",
    "require",
    "snapshot",
    "store",
    "tool",
    "version",
    "view",
    "wrap_key",
]

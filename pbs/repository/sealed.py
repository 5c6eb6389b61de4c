"""What is sealed with the repository's own key: its config, which names it; and which files a source uploaded that restic
never made: they would stop every restic that meets them, ours and theirs.

Each file of index/ and snapshots/ is sealed with the repository's own key. What is not cannot ever be read, so nothing
is lost with it. This module judges by that seal alone: it takes nothing apart and believes no content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

from pbs.errors import PbsError
from pbs.model import SNAPSHOT_ID
from pbs.repository import messages
from pbs.repository.contents import inventory
from pbs.repository.keyfile import BLOCK, keys_of, open_key, tag_key, unsealed
from pbs.repository.restic import Handle

CHUNK = 1 << 20
# As restic does: opening one may take a second.
MOST_TRIED = 20


def junk(handle: Handle, kind: str, names: Iterable[str]) -> frozenset[str]:
    """Which of these files of index/ or snapshots/ are not sealed with the repository's key, so that no restic made them."""
    keys = keys_in(handle)
    found = set()
    for name in names if keys is not None else ():
        with suppress(OSError):
            if _is_junk(handle.path / kind / name, keys or b""):
                found.add(name)
    return frozenset(found)


def own_id(handle: Handle) -> str | None:
    """The repository's own id, from its config, as `identity` tells it: without a start of restic.

    None where our key does not open it, or it is anything but plain: restic says best what is wrong then.
    """
    keys = keys_in(handle) if handle.key is not None else None
    try:
        config = unsealed(keys, (handle.path / "config").read_bytes()) if keys is not None else None
    except OSError:
        return None
    found = (messages.record(config) or {}).get("id") if config is not None else None
    return found if isinstance(found, str) and SNAPSHOT_ID.fullmatch(found) else None


def keys_in(handle: Handle) -> bytes | None:
    """The keys in the master key, as `keys_of` lays them out; None where no key file tells them."""
    names = [handle.key] if handle.key is not None else sorted(inventory(handle.path).keys)
    for name in names[:MOST_TRIED]:
        with suppress(OSError, PbsError):
            return keys_of(open_key((handle.path / "keys" / name).read_bytes(), handle.password or ""))
    return None


def _is_junk(path: Path, keys: bytes) -> bool:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        nonce = file.read(BLOCK)
        digest = hashlib.sha256(nonce)
        sealed = size > 2 * BLOCK
        seal = Poly1305(tag_key(keys, nonce)) if sealed else None
        left = size - 2 * BLOCK
        while seal is not None and left > 0 and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            seal.update(chunk)
            left -= len(chunk)
        tag = file.read(BLOCK + 1)
        digest.update(tag)
    if seal is not None:
        try:
            seal.verify(tag)
        except (InvalidSignature, ValueError):
            sealed = False
    return not sealed and digest.hexdigest() == path.name

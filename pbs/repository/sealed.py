"""Which files a source uploaded that restic never made: they would stop every restic that meets them, ours and theirs.

Each file of index/ and snapshots/ is sealed with the repository's own key. What is not cannot ever be read, so nothing
is lost with it. This module judges by that seal alone: it takes nothing apart and believes no content.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

from pbs import files
from pbs.errors import PbsError
from pbs.repository.contents import inventory
from pbs.repository.keyfile import BLOCK, open_key, tag_key
from pbs.repository.restic import Handle

CHUNK = 1 << 20


def clear_junk(handle: Handle, since: float) -> int:
    """Remove what was uploaded after `since` (seconds of the epoch) and is not sealed; says how many files.

    Only while no source can reach the repository. A file whose bytes changed on our disk (its name is its hash) stays
    where it is: that is damage, which other means must find and repair.
    """
    keys = _mac_keys(handle)
    if keys is None:
        return 0
    removed = 0
    for path in _uploaded(handle.path, since):
        with suppress(OSError):
            if _is_junk(path, keys):
                removed += files.remove_file(path)
    return removed


def _uploaded(repository: Path, since: float) -> Iterator[Path]:
    have = inventory(repository)
    for folder, names in (("index", have.index), ("snapshots", have.snapshots)):
        for name in names:
            path = repository / folder / name
            with suppress(OSError):
                if path.lstat().st_mtime >= since:
                    yield path


def _mac_keys(handle: Handle) -> bytes | None:
    """The part of the master key that seals, laid out as a derived key; None where our key file does not tell it."""
    if handle.key is None:
        return None
    try:
        master = json.loads(open_key((handle.path / "keys" / handle.key).read_bytes(), handle.password or ""))
        parts = [base64.b64decode(master["mac"][name], validate=True) for name in ("k", "r")]
    except (OSError, PbsError, ValueError, KeyError, TypeError):
        return None
    return bytes(2 * BLOCK) + b"".join(parts) if [len(part) for part in parts] == [BLOCK, BLOCK] else None


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

"""Whether each blob is as long as its pack says, and how well content packs that came unpacked: blobs are opened to see.

restic hashes what it unpacks and never compares its length with what a pack says of it, though it restores by that length: a
pack whose blobs are all what their names say can still bend every file that is read from it, also of older snapshots, which
may be read from the newest place of a blob. So this is looked at here, of packs that restic found no fault in: that it
could read them within its bounds bounds this too.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pbs.errors import ResticError
from pbs.repository.indexes import Arrived, Blob
from pbs.repository.indexes import told as each_told
from pbs.repository.keyfile import BLOCK, content_key
from pbs.repository.restic import Handle
from pbs.repository.sealed import keys_in

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK = 1 << 20
# restic packs with a window of half a megabyte; beyond this nobody's memory is used.
LARGEST_WINDOW = zstd.DecompressionParameter.window_log_max, 27
# Of content that came unpacked, so much is tried, at a place that nobody can foretell.
SAMPLE_BYTES, SAMPLE_LEVEL = 64 << 10, 1


@dataclass(slots=True)
class _Open:
    """The pack that is being looked at."""

    name: str
    file: int


def unpacked(
    handle: Handle, view: Path, told: IO[bytes], packs: Collection[str], arrived: Arrived, *, full: bool
) -> set[str]:
    """The packs with a blob that is longer or shorter than they say; what came unpacked is added to `arrived`.

    Args:
        handle: The repository, for its key.
        view: Where the packs lie.
        told: What the index of them says, in JSON.
        packs: Those that are sound otherwise; others are passed over.
        arrived: What they brought.
        full: Whether each blob is opened; else those that came unpacked alone, and a piece of each.

    Raises:
        ResticError: our key does not open, so that nothing can be said.
    """
    keys = keys_in(handle)
    if keys is None:
        raise ResticError("the repository's key cannot be opened to look into packs", "see `pbs doctor`")
    key, lying = content_key(keys), set[str]()
    with ExitStack() as stack:
        now: _Open | None = None
        for pack, blob in each_told(told):
            if blob is None or pack not in packs or pack in lying:
                continue
            if now is None or now.name != pack:
                stack.close()
                descriptor = os.open(view / "data" / pack[:2] / pack, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                now = _Open(pack, descriptor)
            if blob.plain is None:
                _try(key, now.file, blob, arrived)
            elif full and _length(key, now.file, blob) != blob.plain:
                lying.add(pack)
    return lying


def _opened(key: bytes, file: int, blob: Blob) -> Iterator[bytes]:
    """What is sealed in a blob; the seal itself restic has looked at."""
    left, place = blob.packed, blob.offset + BLOCK
    cipher = Cipher(algorithms.AES(key), modes.CTR(os.pread(file, BLOCK, blob.offset))).decryptor()
    while left > 0 and (sealed := os.pread(file, min(CHUNK, left), place)):
        left -= len(sealed)
        place += len(sealed)
        yield cipher.update(sealed)


def _length(key: bytes, file: int, blob: Blob) -> int | None:
    """How long a packed blob is; None where it is packed as no restic does, or is longer than its pack says."""
    most = blob.plain or 0
    unpacker = zstd.ZstdDecompressor(options=dict([LARGEST_WINDOW]))
    total = 0
    try:
        for piece in _opened(key, file, blob):
            if unpacker.eof:
                return None
            total += len(unpacker.decompress(piece, min(CHUNK, most + 1)))
            while total <= most and not (unpacker.eof or unpacker.needs_input):
                total += len(unpacker.decompress(b"", CHUNK))
            if total > most:
                return None
    except zstd.ZstdError:
        return None
    return total if unpacker.eof and not unpacker.unused_data else None


def _try(key: bytes, file: int, blob: Blob, arrived: Arrived) -> None:
    """Count content that came unpacked, by how well a piece of it packs."""
    if blob.kind != b"data" or not blob.packed:
        return
    # A seal covers whole blocks of the cipher: where one begins, it can be opened alone.
    first = secrets.randbelow(max(1, blob.packed - SAMPLE_BYTES)) // BLOCK
    number = int.from_bytes(os.pread(file, BLOCK, blob.offset)) + first
    cipher = Cipher(algorithms.AES(key), modes.CTR((number % (1 << 8 * BLOCK)).to_bytes(BLOCK))).decryptor()
    start = first * BLOCK
    sealed = os.pread(file, min(SAMPLE_BYTES, blob.packed - start), blob.offset + BLOCK + start)
    packed = blob.packed * len(zstd.compress(cipher.update(sealed), SAMPLE_LEVEL)) // max(1, len(sealed))
    arrived.content(blob.packed, min(blob.packed, packed))

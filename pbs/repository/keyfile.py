"""The key file of a restic repository: open it with its password, and wrap a master key so that it opens fast.

restic spends half a second of CPU on each start because it expects passwords that people chose. For a random one
that buys nothing. This module turns bytes into bytes: it never reads or writes a file and never prints a key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.poly1305 import Poly1305

from pbs.errors import ResticError, WrongPassword

CHEAP_N = 1024
CHEAP_R = 8
CHEAP_P = 1
SALT_BYTES = 64
BLOCK = 16
# What restic itself would ever choose fits well below; more is an attempt to use up our memory.
MOST_SCRYPT_BYTES = 256 << 20
MOST_P = 64


def open_key(content: bytes, password: str) -> bytes:
    """The master key (restic's JSON, as bytes) that this key file holds.

    Raises:
        WrongPassword: it does not open with this password, or somebody changed it.
        ResticError: it is no key file that we understand.
    """
    record = _record(content)
    try:
        salt, data = (base64.b64decode(record[field], validate=True) for field in ("salt", "data"))
        n, r, p = (int(record[field]) for field in ("N", "r", "p"))
        if (
            record["kdf"] != "scrypt"
            or 128 * n * r > MOST_SCRYPT_BYTES
            or p > MOST_P
            or len(data) < 2 * BLOCK
        ):
            raise _strange("its parameters are out of bounds")
        keys = _derive(password, salt, n, r, p)
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise _strange(str(error)) from error
    master = unsealed(keys, data)
    if master is None:
        raise WrongPassword(
            "the password does not open the repository's key file",
            "compare etc/keys with the recovery sheet made by `pbs key export`",
        )
    return master


def key_cost(content: bytes) -> int:
    """How much work it is to open this key file, to compare it with others."""
    values = _record(content)
    costs = [values.get(field) for field in ("N", "r", "p")]
    return math.prod(cost for cost in costs if isinstance(cost, int))


def seal_key(master: bytes, password: str, created: str) -> tuple[str, bytes]:
    """Name and content of a key file that holds this master key and opens in no time; `created` as restic writes it."""
    salt = os.urandom(SALT_BYTES)
    keys = _derive(password, salt, CHEAP_N, CHEAP_R, CHEAP_P)
    made = {
        "created": created,
        "username": "pbs",
        "hostname": "pbs",
        "kdf": "scrypt",
        "N": CHEAP_N,
        "r": CHEAP_R,
        "p": CHEAP_P,
        "salt": base64.b64encode(salt).decode(),
        "data": base64.b64encode(sealed(keys, master)).decode(),
    }
    written = json.dumps(made, separators=(",", ":")).encode()
    return hashlib.sha256(written).hexdigest(), written


def sealed(keys: bytes, data: bytes) -> bytes:
    """Data as restic seals it: nonce, ciphertext, tag; `keys` as `keys_of` lays them out."""
    nonce = os.urandom(BLOCK)
    hidden = _mask(keys, nonce, data)
    return nonce + hidden + Poly1305.generate_tag(tag_key(keys, nonce), hidden)


def unsealed(keys: bytes, data: bytes) -> bytes | None:
    """What was sealed with these keys; None where it was not."""
    nonce, hidden, tag = data[:BLOCK], data[BLOCK:-BLOCK], data[-BLOCK:]
    try:
        Poly1305.verify_tag(tag_key(keys, nonce), hidden, tag)
    except (InvalidSignature, ValueError):  # or too short to be sealed at all
        return None
    return _mask(keys, nonce, hidden)


def keys_of(master: bytes) -> bytes:
    """The keys in a master key, 64 bytes: 32 for AES-256, 16 for the AES of Poly1305-AES, 16 for its r.

    Raises:
        ResticError: it holds something else.
    """
    try:
        told = json.loads(master)
        parts = [
            base64.b64decode(part, validate=True)
            for part in (told["encrypt"], told["mac"]["k"], told["mac"]["r"])
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise _strange("the master key in it") from error
    if [len(part) for part in parts] != [2 * BLOCK, BLOCK, BLOCK]:
        raise _strange("the master key in it has another length")
    return b"".join(parts)


def content_key(keys: bytes) -> bytes:
    """The key that hides content, of those that `keys_of` lays out."""
    return keys[: 2 * BLOCK]


def _record(content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _strange("it is not JSON") from error
    if not isinstance(record, dict):
        raise _strange("it is not a JSON object")
    return record


def _strange(reason: str) -> ResticError:
    return ResticError(
        f"the repository's key file cannot be read: {reason[:200]}",
        "compare it with a copy of the repository, then try again",
    )


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    """The keys that a password stands for, laid out as those of a master key."""
    return Scrypt(salt=salt, length=64, n=n, r=r, p=p).derive(password.encode())


def tag_key(keys: bytes, nonce: bytes) -> bytes:
    """What Poly1305 seals with for this nonce; `keys` as `keys_of` lays them out."""
    block = Cipher(algorithms.AES(keys[32:48]), modes.ECB()).encryptor()  # noqa: S305 - one block, as Poly1305-AES is defined
    return keys[48:64] + block.update(nonce)


def _mask(keys: bytes, nonce: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(content_key(keys)), modes.CTR(nonce)).encryptor().update(data)

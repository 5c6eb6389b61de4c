"""restic's seal: AES-256-CTR with Poly1305-AES, and key files that hold the master key under scrypt."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.poly1305 import Poly1305

OVERHEAD = 32  # nonce before, tag behind


@dataclass(frozen=True)
class Master:
    """The three keys that seal everything in a repository."""

    encrypt: bytes
    k: bytes
    r: bytes

    def seal(self, data: bytes) -> bytes:
        """nonce, ciphertext, tag."""
        nonce = os.urandom(16)
        hidden = self._mask(nonce, data)
        return nonce + hidden + Poly1305.generate_tag(self._once(nonce), hidden)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed; fails where it was not sealed with this key."""
        nonce, hidden, tag = sealed[:16], sealed[16:-16], sealed[-16:]
        Poly1305.verify_tag(self._once(nonce), hidden, tag)
        return self._mask(nonce, hidden)

    def _once(self, nonce: bytes) -> bytes:
        return self.r + Cipher(algorithms.AES(self.k), modes.ECB()).encryptor().update(nonce)

    def _mask(self, nonce: bytes, data: bytes) -> bytes:
        return Cipher(algorithms.AES(self.encrypt), modes.CTR(nonce)).encryptor().update(data)

    def written(self) -> bytes:
        """As a key file holds it."""
        parts = {name: base64.b64encode(value).decode() for name, value in vars(self).items()}
        return json.dumps({"mac": {"k": parts["k"], "r": parts["r"]}, "encrypt": parts["encrypt"]}).encode()


def _derived(password: str, salt: bytes, n: int, r: int, p: int) -> Master:
    keys = Scrypt(salt=salt, length=64, n=n, r=r, p=p).derive(password.encode())
    return Master(keys[:32], keys[32:48], keys[48:])


def open_key(content: bytes, password: str) -> Master:
    """The master key that a key file holds."""
    record = json.loads(content)
    user = _derived(password, base64.b64decode(record["salt"]), record["N"], record["r"], record["p"])
    told = json.loads(user.open(base64.b64decode(record["data"])))
    mac = told["mac"]
    return Master(*(base64.b64decode(value) for value in (told["encrypt"], mac["k"], mac["r"])))


def key_file(master: Master, password: str, **fields: Any) -> bytes:
    """A key file that any restic takes for good; `fields` replace what it says."""
    salt = os.urandom(64)
    sealed = _derived(password, salt, 1024, 8, 1).seal(master.written())
    record = {"created": "2020-01-01T00:00:00Z", "username": "root", "hostname": "x", "kdf": "scrypt",
              "N": 1024, "r": 8, "p": 1, "salt": base64.b64encode(salt).decode(),
              "data": base64.b64encode(sealed).decode(), **fields}  # fmt: skip
    return json.dumps(record).encode()

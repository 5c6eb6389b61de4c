"""What an empty restic repository consists of: a master key, and a config that is sealed with it.

restic's own `init` spends three seconds of CPU on finding out how slow a key for a chosen password has to be; ours are
random. This module makes bytes: it never writes a file, and no repository counts before restic itself has opened it.

Source: restic's design document (repository format 2).
"""

from __future__ import annotations

import base64
import json
import secrets

from pbs.repository.keyfile import BLOCK, keys_of, sealed

VERSION = 2
ID_BYTES = 32
# The degree of the polynomial that cuts files into chunks: a prime.
DEGREE = 53


def master_key() -> bytes:
    """A new master key, as restic's JSON: the AES-256 key, and both halves of the Poly1305-AES key."""
    encrypt, k, r = (
        base64.b64encode(secrets.token_bytes(size)).decode() for size in (2 * BLOCK, BLOCK, BLOCK)
    )
    return json.dumps({"mac": {"k": k, "r": r}, "encrypt": encrypt}, separators=(",", ":")).encode()


def config(master: bytes) -> tuple[str, bytes]:
    """A new repository's id (64 hex digits), and the content of its config file."""
    made = secrets.token_hex(ID_BYTES)
    told = {"version": VERSION, "id": made, "chunker_polynomial": f"{polynomial():x}"}
    return made, sealed(keys_of(master), json.dumps(told, separators=(",", ":")).encode())


def polynomial() -> int:
    """A random irreducible polynomial over GF(2); bit n is the coefficient of x^n. One in thirteen tries is one."""
    while not irreducible(made := 1 << DEGREE | secrets.randbits(DEGREE) | 1):
        pass
    return made


def irreducible(wanted: int) -> bool:
    """Whether a polynomial of a degree that is a prime, with a constant term, is irreducible.

    x^(2^n) = x holds modulo a polynomial of degree n if and only if all its factors differ and have degrees that divide
    n: 1 or n itself, where n is a prime. Those of degree 1 are ruled out by its values at 0 (the constant term) and 1.
    """
    if wanted.bit_count() % 2 == 0:
        return False
    power = 2
    for _ in range(wanted.bit_length() - 1):
        power = _squared(power, wanted)
    return power == 2


def _squared(value: int, modulus: int) -> int:
    """The square modulo a polynomial: over GF(2) it has the same coefficients, with a zero after each."""
    square = int(f"{value:b}", 4)
    while (excess := square.bit_length() - modulus.bit_length()) >= 0:
        square ^= modulus << excess
    return square

"""The host key of a source, as OpenSSH writes public keys. It judges the form of a key, never whose key it is."""

from __future__ import annotations

import base64
import binascii

from pbs.text import clean_line

_GET_IT = "get it on the source: cat /etc/ssh/ssh_host_ed25519_key.pub"
# How many strings follow the type inside the key.
_PARTS = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
}


def check_host_key(value: object) -> str:
    """`TYPE BASE64` of an OpenSSH public key; a comment behind it is dropped.

    Raises:
        ValueError: what it is instead, and how to get it.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'a host key is text such as "ssh-ed25519 AAAAC3…"; {_GET_IT}')
    words = value.split()
    if len(value.strip().splitlines()) > 1:
        raise ValueError(f"several lines: one host key is one line; {_GET_IT}")
    if words[0] not in _PARTS:
        if len(words) > 2 and words[1] in _PARTS:
            raise ValueError(
                f'this is a line of known_hosts; leave out its first word, so that it begins with "{words[1]}"'
            )
        known = ", ".join(_PARTS)
        raise ValueError(f'"{clean_line(words[0], 40)}" is no type of host key ({known}); {_GET_IT}')
    if len(words) < 2:
        raise ValueError(f"the key behind {words[0]} is missing; {_GET_IT}")
    parts = _strings(words[1])
    if parts is None:
        raise ValueError(f"the key behind {words[0]} is damaged or cut short; {_GET_IT}")
    if parts[0] != words[0].encode():
        inside = clean_line(parts[0].decode("ascii", "replace"), 40)
        raise ValueError(f'it says {words[0]} and holds a key of type "{inside}"; {_GET_IT}')
    if not _plausible(words[0], parts[1:]):
        raise ValueError(f"the key behind {words[0]} is damaged or too weak; {_GET_IT}")
    return f"{words[0]} {words[1]}"


def _strings(encoded: str) -> list[bytes] | None:
    """The length-prefixed strings of a key; None where they do not fill it exactly."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    parts = []
    while data:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length:
            return None
        parts.append(data[4 : 4 + length])
        data = data[4 + length :]
    return parts or None


def _plausible(kind: str, parts: list[bytes]) -> bool:
    if len(parts) != _PARTS[kind]:
        return False
    if kind == "ssh-ed25519":
        return len(parts[0]) == 32
    if kind == "ssh-rsa":
        return int.from_bytes(parts[1], "big").bit_length() >= 2048
    curve = kind.removeprefix("ecdsa-sha2-")
    size = (int(curve.removeprefix("nistp")) + 7) // 8
    return parts[0] == curve.encode() and len(parts[1]) == 1 + 2 * size and parts[1][0] == 4

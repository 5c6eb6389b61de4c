"""The files of the keys folder, as they are or sealed with a passphrase: the only way to read and write them.

A sealed folder holds ciphertext alone: each file is sealed with one random key, which `sealed.json` holds wrapped by the
passphrase and by the recovery key of the server. Each file says itself whether it is sealed, so a folder that is half
converted works. Whoever serves the home holds that key in memory, for the processes of the same user and for nobody
else; it is in no argument, no environment and no file of a disk.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from base64 import b64decode, b64encode
from contextlib import suppress
from getpass import getpass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pbs import files
from pbs.errors import HomeError, KeysLocked, UsageError
from pbs.home import Home

MAGIC = b"pbs-sealed-1\n"
COVER = "sealed.json"
KEY_BYTES, NONCE_BYTES, SALT_BYTES = 32, 12, 32
# A quarter of a second and 64 MB: people choose passphrases. More than what we write is no file of ours.
N, R, P = 1 << 16, 8, 1
LEAST_PASSPHRASE = 12
# Over TCP nothing but its length keeps others from finding it by trying.
LEAST_TOKEN = 32
# What a service is given at its start by systemd: LoadCredential=pbs-keys:…
CREDENTIAL = "pbs-keys"
# The name of a file, never what it holds.
KEYS_FILE = "PBS_KEYS_FILE"

_open: dict[Path, bytes] = {}


def read(path: Path) -> bytes:
    """What a file of the keys folder says.

    Raises:
        OSError: it is not there, or cannot be read.
        KeysLocked: it is sealed, and nobody has opened the folder.
        HomeError: it is sealed and damaged.
    """
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        return data
    try:
        return _unsealed(_folder_key(path.parent), data.removeprefix(MAGIC), path.name)
    except InvalidTag as error:
        raise HomeError(
            f"{path} is damaged, or another file had this name: it does not open with the key of its folder",
            "put it back from a copy of the server, or from the recovery sheet made by `pbs key export`",
        ) from error


def write(path: Path, data: bytes) -> None:
    """Replace a file of the keys folder, sealed where the folder is.

    Raises:
        KeysLocked: nobody has opened the folder.
        HomeError: disk full, no permission; the old file is then untouched.
    """
    if is_sealed(path.parent):
        data = MAGIC + _sealed(_folder_key(path.parent), data, path.name)
    files.write(path, data)


def is_sealed(folder: Path) -> bool:
    """Whether what is written into this folder is sealed."""
    return (folder / COVER).exists()


def plain(folder: Path) -> list[Path]:
    """The secrets that lie there as they are."""
    return [path for path in _secrets(folder) if not _is_sealed(path)]


def unlock(folder: Path, secret: str) -> None:
    """Open a sealed folder for this process.

    Raises:
        KeysLocked: neither the passphrase nor the recovery key.
    """
    cover = _cover(folder)
    for wrapped in cover["wraps"].values():
        with suppress(InvalidTag):
            _open[folder] = _unsealed(_derived(secret, wrapped), b64decode(wrapped["sealed"]), COVER)
            return
    raise KeysLocked(
        f"this passphrase does not open the keys folder {folder}",
        "type the one that was given to `pbs key lock`; the recovery key of the server opens it as well",
    )


def lock(folder: Path, passphrase: str, recovery_key: str) -> None:
    """Seal a folder; of one that is sealed, change the passphrase. May be killed at any moment, and called again.

    Raises:
        UsageError: the passphrase is too short.
        KeysLocked: it is sealed and nobody has opened it.
    """
    if len(passphrase) < LEAST_PASSPHRASE:
        raise UsageError(
            f"the passphrase has {len(passphrase)} characters",
            f"at least {LEAST_PASSPHRASE}: five words, say",
        )
    key = _folder_key(folder) if is_sealed(folder) else secrets.token_bytes(KEY_BYTES)
    wraps = {"passphrase": _wrapped(passphrase, key), "recovery": _wrapped(recovery_key, key)}
    cover = {"wraps": wraps, "proof": b64encode(_sealed(key, b"", COVER)).decode()}
    files.write(folder / COVER, json.dumps(cover).encode() + b"\n")
    _open[folder] = key
    seal_rest(folder)


def seal_rest(folder: Path) -> None:
    """Seal what still lies there as it is."""
    for path in plain(folder):
        write(path, path.read_bytes())


def unseal(folder: Path) -> None:
    """Have every file as it is again. May be killed at any moment, and called again.

    Raises:
        KeysLocked: nobody has opened it.
    """
    for path in _secrets(folder):
        if _is_sealed(path):
            files.write(path, read(path))
    files.remove_file(folder / COVER)
    _open.pop(folder, None)


def ready(folder: Path) -> None:
    """Have this folder open in this process, where it is sealed.

    Raises:
        KeysLocked: nobody knows how.
    """
    if is_sealed(folder):
        _folder_key(folder)


def hand_out(home: Home) -> None:
    """Let processes of the same user find the key of the folder in the memory of this one, until it ends."""
    held = os.memfd_create("pbs-keys")
    os.write(held, _folder_key(home.keys))
    # The service goes on as another program in this very process.
    os.set_inheritable(held, True)
    files.remove_file(home.held_key)
    files.symbolic_link(f"/proc/{os.getpid()}/fd/{held}", home.held_key)


def operator_token(home: Home) -> str:
    """The operator's token.

    Raises:
        HomeError: there is none, or it is empty or short: that would let everybody in.
    """
    path = home.keys / "admin.token"
    with files.explained("read the operator's token (`pbs init` makes a missing one)", path):
        token = read(path).decode("ascii", "replace").strip()
    if not token:
        raise HomeError(
            f"the operator's token {path} is empty", "remove that file; `pbs init` makes a new one"
        )
    if len(token) < LEAST_TOKEN:
        raise HomeError(
            f"the operator's token {path} has {len(token)} characters: somebody could guess it",
            "remove that file; `pbs init` makes a new one",
        )
    return token


def _secrets(folder: Path) -> list[Path]:
    # Public halves and the cover are no secrets; a torn file was never in force.
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name != COVER and path.suffix not in (".pub", ".tmp")
    )


def _is_sealed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _folder_key(folder: Path) -> bytes:
    known = _open.get(folder)
    if known is None:
        known = _held(folder)
    if known is not None:
        _open[folder] = known
        return known
    secret = given(f"Passphrase of the keys folder {folder}")
    if secret is None:
        raise KeysLocked(
            f"the keys folder {folder} is sealed, and nobody has opened it",
            "start the service with its passphrase, or name a file that holds it with --keys-file",
        )
    unlock(folder, secret)
    return _open[folder]


def given(what: str) -> str | None:
    """The passphrase from the file that was named for it, as systemd's credential, or from a person; None from nowhere.

    Raises:
        HomeError: the file cannot be read.
    """
    named, credentials = os.environ.get(KEYS_FILE), os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(named) if named else Path(credentials, CREDENTIAL) if credentials else None
    if path is not None and (named or path.exists()):
        with files.explained("read the passphrase", path):
            return path.read_text(encoding="utf-8", errors="replace").strip("\r\n")
    return getpass(f"{what}: ") if sys.stdin.isatty() else None


def _held(folder: Path) -> bytes | None:
    """The key that the service of this home hands out; None where none does."""
    try:
        key = Home.at(folder.parents[1]).held_key.read_bytes()
        cover = _cover(folder)
        # Whoever has that process number by now may be anybody.
        _unsealed(key, b64decode(cover["proof"]), COVER)
    except (OSError, ValueError, InvalidTag):
        return None
    return key


def _cover(folder: Path) -> dict[str, Any]:
    with files.explained("read how the keys folder is sealed", folder / COVER):
        text = (folder / COVER).read_bytes()
    try:
        cover = json.loads(text)
        _ = [b64decode(each["sealed"]) for each in cover["wraps"].values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HomeError(
            f"{folder / COVER} is damaged: without it nothing in that folder opens",
            "put it back from a copy of the server",
        ) from error
    return dict(cover)


def _wrapped(secret: str, key: bytes) -> dict[str, Any]:
    made = {"n": N, "r": R, "p": P, "salt": b64encode(secrets.token_bytes(SALT_BYTES)).decode()}
    return {**made, "sealed": b64encode(_sealed(_derived(secret, made), key, COVER)).decode()}


def _derived(secret: str, how: dict[str, Any]) -> bytes:
    if (how["n"], how["r"], how["p"]) != (N, R, P):
        raise HomeError("the keys folder was sealed by another version of pbs", "open it with that one first")
    return Scrypt(salt=b64decode(how["salt"]), length=KEY_BYTES, n=N, r=R, p=P).derive(secret.encode())


def _sealed(key: bytes, data: bytes, name: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, name.encode())


def _unsealed(key: bytes, data: bytes, name: str) -> bytes:
    return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], name.encode())

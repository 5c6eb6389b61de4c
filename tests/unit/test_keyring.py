"""A sealed keys folder: ciphertext alone, opened by its passphrase or the recovery key, and never half lost."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pbs import files, keyring
from pbs.errors import HomeError, KeysLocked, UsageError
from pbs.home import Home

PHRASE, RECOVERY = "correct horse battery", "ABCD-EFGH"
SECRETS = {"web1.key": b"a password\n", "admin.token": b"t" * 43 + b"\n", "ssh_ed25519": b"-----BEGIN\n" * 30}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keys folder with some secrets and a public half; deriving a key costs little here."""
    monkeypatch.setattr(keyring, "N", 1 << 10)
    monkeypatch.delenv("PBS_KEYS_FILE", raising=False)
    home = Home.at(tmp_path)
    home.make()
    for name, data in SECRETS.items():
        files.write(home.keys / name, data)
    files.write(home.keys / "ssh_ed25519.pub", b"ssh-ed25519 AAAA\n")
    yield home.keys
    forget(home.keys)


def forget(folder: Path) -> None:
    """As if another process looked."""
    keyring._open.pop(folder, None)


def found(folder: Path) -> dict[str, bytes]:
    """Every secret, as it is read."""
    return {name: keyring.read(folder / name) for name in SECRETS}


def test_a_sealed_folder_holds_no_secret(folder: Path) -> None:
    """No file holds a secret any more, all are read as before, new ones are sealed too, and all of it goes back."""
    keyring.lock(folder, PHRASE, RECOVERY)
    forget(folder)
    for path in folder.iterdir():
        assert not [name for name, data in SECRETS.items() if data.strip()[:20] in path.read_bytes()], path
        assert 0o600 == path.stat().st_mode & 0o777
    keyring.unlock(folder, PHRASE)
    assert found(folder) == SECRETS
    keyring.write(folder / "new.key", b"another")
    assert b"another" not in (folder / "new.key").read_bytes()
    assert b"ssh-ed25519" in (folder / "ssh_ed25519.pub").read_bytes()
    keyring.unseal(folder)
    assert {**SECRETS, "new.key": b"another"} == {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".pub"
    }


def test_only_the_passphrase_and_the_recovery_key_open_it(folder: Path) -> None:
    """Anything else is refused with a sentence; a changed passphrase replaces the one before."""
    keyring.lock(folder, PHRASE, RECOVERY)
    forget(folder)
    with pytest.raises(KeysLocked, match="nobody has opened it"):
        keyring.read(folder / "web1.key")
    with pytest.raises(KeysLocked, match="nobody has opened it"):
        keyring.write(folder / "web2.key", b"x")
    for wrong in ("", "correct horse", PHRASE.upper()):
        with pytest.raises(KeysLocked, match="does not open"):
            keyring.unlock(folder, wrong)
    keyring.unlock(folder, RECOVERY)
    keyring.lock(folder, "another phrase of words", RECOVERY)
    forget(folder)
    with pytest.raises(KeysLocked):
        keyring.unlock(folder, PHRASE)
    keyring.unlock(folder, "another phrase of words")
    assert found(folder) == SECRETS
    with pytest.raises(UsageError, match="5 characters"):
        keyring.lock(folder, "short", RECOVERY)


def test_the_passphrase_may_lie_in_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is named, else systemd's credential, is asked when the first secret is wanted."""
    keyring.lock(folder, PHRASE, RECOVERY)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "pbs-keys").write_text(f"{PHRASE}\n")
    forget(folder)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert found(folder) == SECRETS
    forget(folder)
    monkeypatch.setenv("PBS_KEYS_FILE", str(tmp_path / "none"))
    with pytest.raises(HomeError, match="passphrase"):
        found(folder)


def test_what_was_tampered_with_is_not_believed(folder: Path) -> None:
    """A changed byte, a file under another's name and a damaged cover are each a sentence, never a wrong secret."""
    keyring.lock(folder, PHRASE, RECOVERY)
    sealed = (folder / "web1.key").read_bytes()
    (folder / "web2.key").write_bytes(sealed)
    (folder / "web1.key").write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    for name in ("web1.key", "web2.key"):
        with pytest.raises(HomeError, match="damaged, or another"):
            keyring.read(folder / name)
    (folder / keyring.COVER).write_text("{}")
    forget(folder)
    with pytest.raises(HomeError, match="is damaged"):
        keyring.unlock(folder, PHRASE)


def killed_before(step: int, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do it in another process, which ends itself by SIGKILL before the change with this number; whether it did."""
    child = os.fork()
    if child == 0:
        left = itertools.count(step, -1)

        def counting(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any) -> Any:
                if next(left) == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments)

            return counted

        for name in ("write", "remove_file"):
            setattr(files, name, counting(getattr(files, name)))
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_killed_in_a_conversion_nothing_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each change of sealing and of unsealing: every secret can be read, and the same call ends what was begun."""
    steps = 0
    for step in range(1, 20):
        more = killed_before(step, lambda: keyring.lock(folder, PHRASE, RECOVERY), monkeypatch)
        if keyring.is_sealed(folder):
            keyring.unlock(folder, PHRASE)
        assert found(folder) == SECRETS, step
        keyring.lock(folder, PHRASE, RECOVERY)
        assert not keyring.plain(folder)
        more |= killed_before(step, lambda: keyring.unseal(folder), monkeypatch)
        assert found(folder) == SECRETS, step
        keyring.unseal(folder)
        assert not keyring.is_sealed(folder)
        if not more:
            break
        steps += 1
    assert len(SECRETS) + 1 == steps

"""A home whose keys folder is sealed with a passphrase does everything, and its disk holds no secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shared import add, ends, here, http
from stage import Pbs, SourceHost
from test_secrets import Watcher, holders

pytestmark = pytest.mark.slow
PHRASE = "seven words that nobody else has"


@pytest.fixture
def sealed(pbs: Pbs, source: SourceHost, folder: Path) -> tuple[Pbs, dict[str, bytes]]:
    """A home with one source, sealed, not served, and what its keys folder held; the passphrase lies outside of it."""
    (folder / "phrase").write_text(f"{PHRASE}\n")
    add(pbs, "web", source)
    was = {
        path.name: path.read_bytes() for path in (pbs.home / "etc/keys").iterdir() if path.suffix != ".pub"
    }
    pbs("--keys-file", str(folder / "phrase"), "key", "lock")
    return pbs, was


@pytest.mark.timeout(300)
def test_a_sealed_home_serves_pulls_restores_and_is_rebuilt(
    sealed: tuple[Pbs, dict[str, bytes]], source: SourceHost, folder: Path
) -> None:
    """Served with the passphrase, pulled, restored, rebuilt from its copy, unsealed: no secret in any file, argument or
    environment meanwhile; without the passphrase, or with a wrong one, nothing is served.
    """
    pbs, was = sealed
    phrase, wrong, sheet = (("--keys-file", str(folder / name)) for name in ("phrase", "wrong", "recovery"))
    secrets = [was[name].strip() for name in ("web.key", "admin.token", "web.token", "server.recovery")]
    secrets.append(was["ssh_ed25519"].splitlines()[2])
    (folder / "wrong").write_text("seven words that somebody guesses")
    assert "does not open" in pbs(*wrong, "serve", "--detach", code=2).stderr
    assert "nobody has opened it" in pbs("serve", "--detach", code=2).stderr
    assert 6 == here(pbs, "status")[0]

    watcher = Watcher(secrets[0], PHRASE.encode())
    watcher.start()
    pbs(*phrase, "serve", "--detach")
    run = ends(pbs, "web", "ok", 0)
    assert 0 == here(pbs, "restore", "web", "--to", str(folder / "back"))[0]
    assert (source.data / "hard").read_bytes() == (folder / "back/hard").read_bytes()
    token = was["admin.token"].strip().decode()
    assert 200 == http(pbs, "GET", "/api/v1/sources", tcp=True, Authorization=f"Bearer {token}")[0]
    assert was["admin.token"].decode() == pbs("key", "show", "admin.token").stdout
    assert 0 == here(pbs, "key", "rotate", "web")[0]
    ends(pbs, "web", "ok", 0)
    assert 0 == here(pbs, "copy", "make")[0]
    watcher.finish()
    assert not watcher.seen
    assert [] == [each for secret in (*secrets, PHRASE.encode()) for each in holders(pbs.home, secret)]
    assert "and sealed" in here(pbs, "doctor")[1]
    pbs("stop")
    assert not (pbs.home / "var/run/keys").is_symlink()

    # At three in the morning, with the service stopped.
    assert "nobody has opened it" in pbs("get", "web", "/hard", "-o", str(folder / "no"), code=2).stderr
    pbs(*phrase, "get", "web", "/hard", "-o", str(folder / "one"))
    assert (source.data / "hard").read_bytes() == (folder / "one").read_bytes()

    other = folder / "other"
    (other / "srv/backup").mkdir(parents=True)
    os.rename(pbs.home / "srv/backup/pbs", other / "srv/backup/pbs")
    (folder / "recovery").write_bytes(was["server.recovery"])
    pbs.home = other
    pbs("rebuild", "--key-file", str(folder / "recovery"))
    assert str(run["snapshot"]) in here(pbs, "snapshots", "web", "--json")[1]
    assert [] == [each for secret in secrets for each in holders(other, secret)]
    pbs(*sheet, "key", "unlock")
    pbs("get", "web", "/hard", "-o", str(folder / "two"))
    assert was["admin.token"] == (other / "etc/keys/admin.token").read_bytes()

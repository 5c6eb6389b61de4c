"""Repository passwords: changed while the service runs, and printed so that restic alone brings everything back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shared import add, ends, fresh, here, refused_here, snapshots
from stage import Pbs, SourceHost, eventually, find, processes

from pbs.files import locked
from pbs.ledger import open_ledger
from pbs.restore import Mount
from pbs.restore.records import keep, record_path

pytestmark = pytest.mark.slow


def test_a_new_password_changes_nothing_else(home: Pbs, source: SourceHost, tmp_path: Path) -> None:
    """After `key rotate` the next pull is ok, every snapshot is there and can be restored, and the old password opens nothing."""
    name = fresh("web")
    add(home, name, source)
    ends(home, name, "ok", 0)
    key = home.home / f"etc/keys/{name}.key"
    old = tmp_path / "old"
    old.write_bytes(key.read_bytes())
    before = snapshots(home, name)
    open_now, records = (
        Mount(name, tmp_path / "mnt", 1, datetime.now(UTC), None, 1),
        home.home / "var/run/mounts",
    )
    records.mkdir(mode=0o700, exist_ok=True)
    keep(records, open_now)
    with locked(record_path(records, open_now.directory).with_suffix(".lock")):
        told = refused_here(home, "key", "rotate", name, code=4)
        assert f"are mounted at {tmp_path / 'mnt'}" in told
        assert f"`pbs umount {name}`" in told
    assert key.read_bytes() == old.read_bytes()
    code, said, told = here(home, "key", "rotate", name)
    assert 0 == code, told
    assert key.read_bytes() != old.read_bytes()
    assert key.read_text().strip() not in said + told
    eventually(lambda: processes(f"{name}.sock"), what="the endpoint's return")
    (source.data / "after").write_text("the rotation")
    ends(home, name, "ok", 0, "every file was read")
    assert [each["id"] for each in before] == [each["id"] for each in snapshots(home, name)][: len(before)]
    assert 0 == here(home, "restore", name, before[0]["id"], "--to", str(tmp_path / "back"))[0]
    assert (source.data / "hard").read_bytes() == (tmp_path / "back/hard").read_bytes()
    tried = subprocess.run(
        [find("restic") or "restic", "-r", home.repository(name), "--no-cache", "--password-file", old, "snapshots"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 12 == tried.returncode, tried.stderr
    assert "no source" in refused_here(home, "key", "rotate", "nobody", code=7)


def followed(sheet: str, folder: Path, repository: Path, *heads: str) -> str:
    """Type the commands of a sheet that begin like this, in an empty folder with no variables set; what they print."""
    commands = [line.strip() for line in sheet.splitlines() if line.strip().startswith(heads)]
    assert len(heads) == len(commands), sheet
    tools = f"{(find('restic') or Path('/')).parent}:/usr/bin:/bin"
    script = "\n".join(commands).replace("FOLDER", str(repository)).replace("DIR", "back")
    done = subprocess.run(["sh", "-euc", script], cwd=folder, env={"PATH": tools, "HOME": str(folder)}, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_the_sheet_is_enough_with_restic_alone(
    home: Pbs, source: SourceHost, tmp_path: Path, camera: Callable[[str], str]
) -> None:
    """Whoever has the sheet and a copy of the repository gets every file back; a camera reads the password from it.

    The ledger knows that the sheet was printed, until the password is another one.
    """
    name = fresh("web")
    add(home, name, source)
    run = ends(home, name, "ok", 0)
    ledger = open_ledger(home.home / "var/lib/ledger.sqlite")
    assert ledger.custody.exported(name) is None
    picture = tmp_path / "qr.svg"
    code, sheet, told = here(home, "key", "export", name, "--qr", str(picture))
    assert 0 == code, told
    assert 0o600 == picture.stat().st_mode & 0o777
    assert ledger.custody.exported(name) is not None
    password = camera(sheet)
    copied, folder = tmp_path / "copied", tmp_path / "elsewhere"
    shutil.copytree(home.repository(name), copied)
    folder.mkdir()
    assert str(run["snapshot"])[:8] in followed(
        sheet, folder, copied, "printf", "restic -r FOLDER --password-file password.txt snapshots"
    )
    (folder / "password.txt").write_text(f"{password}\n")
    followed(
        sheet.replace("SNAPSHOT", run["snapshot"]),
        folder,
        copied,
        "restic -r FOLDER --password-file password.txt restore",
    )
    assert (source.data / "d0/file-0").read_bytes() == (folder / "back/d0/file-0").read_bytes()
    assert 0 == here(home, "key", "rotate", name)[0]
    assert ledger.custody.exported(name) is None
    ledger.close()
    assert "svg" in refused_here(home, "key", "export", name, "--qr", "x.gif", code=2)

"""Repository passwords: changed while the service runs, and printed so that restic alone brings everything back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from shared import add, ends, fresh, here, refused_here, snapshots
from stage import Pbs, SourceHost, eventually, find, processes

pytestmark = [pytest.mark.slow, pytest.mark.user]


def test_a_new_password_changes_nothing_else(home: Pbs, source: SourceHost, tmp_path: Path) -> None:
    """After `key rotate` the next pull is ok, every snapshot is there and can be restored, and the old password opens nothing."""
    name = fresh("web")
    add(home, name, source)
    ends(home, name, "ok", 0)
    key = home.home / f"etc/keys/{name}.key"
    old = tmp_path / "old"
    old.write_bytes(key.read_bytes())
    before = snapshots(home, name)
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

"""Writes the one file that a source's operator needs: agent, restic, sample profile, the commands to install them."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from pbs import repository
from pbs.files import explained, write
from pbs.render import render
from pbs_agent.bundle import build_pyz

FOLDER = "pbs-agent"


def write_bundle(target: Path, profile: str) -> None:
    """Write the tar.

    Raises:
        ToolMissing: this machine's restic is missing or too old to give away.
        HomeError: the file cannot be written.
    """
    restic = repository.tool()
    with tempfile.TemporaryDirectory() as folder, explained("write the bundle", target):
        agent = Path(folder) / "pbs-agent"
        build_pyz(agent)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            _add(tar, "pbs-agent", agent.read_bytes(), 0o755)
            _add(tar, "restic", restic.resolve().read_bytes(), 0o755)
            _add(tar, "profile.toml", render("agent-profile.toml.j2").encode(), 0o644)
            _add(
                tar, "README", render("agent-bundle.txt.j2", name=profile, bundle=target.name).encode(), 0o644
            )
        write(target, buffer.getvalue(), mode=0o644)


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(f"{FOLDER}/{name}")
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))

"""T29, T6: a source whose content somebody encrypts or deletes is held until a person has looked; an honest one is not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared import add, ends, get, here, http, items, snapshots
from stage import Pbs, SourceHost

pytestmark = pytest.mark.slow
FILES = 120
WIRE = "TRIPWIRE: "


def write(folder: Path, numbers: range, word: str) -> None:
    """Files of text that packs well."""
    for number in numbers:
        path = folder / f"d{number % 4}" / f"file-{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{word} {number} line {line}\n" for line in range(300)))


def encrypt(folder: Path, numbers: range) -> None:
    """What an intruder does to them."""
    for number in numbers:
        (path,) = folder.rglob(f"file-{number}")
        path.write_bytes(os.urandom(path.stat().st_size))


@pytest.fixture
def office(home: Pbs, folder: Path, name: str) -> Iterator[SourceHost]:
    """A source of which the newest two are kept, with one snapshot, and a canary in it."""
    source = SourceHost(folder / "src")
    write(source.data, range(FILES), "first")
    (source.data / "canary").write_text("sings")
    source.start()
    wires = 'tripwires={least_bytes="100KB"}'
    keep = "--set", "keep=2B", "--set", "keep_least=1", "--set", 'canaries=["/canary"]'
    add(home, name, source, "--set", wires, *keep)
    assert WIRE not in ends(home, name, "ok", 0)["message"]
    yield source
    source.stop()


def held(home: Pbs, name: str) -> Any:
    """Why a source is held, as the service tells it."""
    return json.loads(get(home, f"/api/v1/sources/{name}"))["held"]


def admitted(home: Pbs, name: str) -> list[str]:
    """The snapshots that count."""
    return [each["id"] for each in snapshots(home, name) if each["state"] == "admitted"]


def test_encrypted_files_hold_a_source_until_a_person_has_looked(
    home: Pbs, name: str, office: SourceHost
) -> None:
    """An honest change trips nothing; encrypted files do in the same run, and nothing is removed until somebody resumes it."""
    write(office.data, range(30), "second")
    (office.data / "d1").rename(office.data / "moved")
    assert WIRE not in ends(home, name, "ok", 0)["message"]
    assert held(home, name) is None
    encrypt(office.data, range(10, FILES))
    run = ends(
        home, name, "ok", 0, WIRE, "110 of 121 files have other content", "it packs to 100% of its size"
    )
    assert run["message"].endswith(
        "(`pbs source resume web1`); no snapshot was removed".replace("web1", name)
    )
    assert WIRE in items(home, name)[0]["description"]
    assert 3 == len(admitted(home, name))
    assert "110 of 121 files have other content" in held(home, name)
    ends(home, name, "ok", 0, f"held since {run['ended'][:10]}")
    before = admitted(home, name)
    assert 4 == len(before)
    code, _, told = here(home, "retain", name)
    assert 4 == code
    assert f"pbs source resume {name}" in told
    for verb in (("snapshots", name), ("retain", name, "--dry-run")):
        assert "nothing is removed now: held since" in here(home, *verb)[2]
    assert f"{name}: no snapshot is removed: held since" in here(home, "status")[1]
    assert before == admitted(home, name)
    status, _, body = http(
        home, "POST", f"/api/v1/sources/{name}/resume", b"{}", Content_Type="application/json"
    )
    assert (200, False) == (status, json.loads(body)["held"]), body
    told = [each["did"] for each in json.loads(get(home, "/api/v1/audit"))["entries"]]
    assert "POST /api/v1/sources/{name}/resume" in told
    assert 0 == here(home, "retain", name)[0]
    assert before[2:] == admitted(home, name)


def test_deleted_files_and_a_canary_hold_a_source(home: Pbs, name: str, office: SourceHost) -> None:
    """Files that vanish, a canary that is changed or not there: each trips; what was resumed does not trip again by itself."""
    for number in range(FILES * 2 // 3):
        (office.data / f"d{number % 4}" / f"file-{number}").unlink()
    ends(home, name, "ok", 0, WIRE, "80 of 121 files are gone")
    assert 0 == here(home, "source", "resume", name)[0]
    (office.data / "canary").write_text("croaks")
    ends(home, name, "ok", 0, WIRE, "the canary /canary was changed")
    assert "the canary /canary was changed" == held(home, name)
    (office.data / "canary").unlink()
    ends(home, name, "ok", 0, "the canary /canary is not there")
    assert 0 == here(home, "source", "resume", name)[0]
    assert held(home, name) is None
    (office.data / "canary").write_text("sings")
    assert WIRE not in ends(home, name, "ok", 0)["message"]
    assert 0 == here(home, "source", "hold", name, "--why", "an audit goes on")[0]
    assert "an audit goes on" == held(home, name)

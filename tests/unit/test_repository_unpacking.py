"""Packs that are opened: a blob that is not as long as its pack says is found, whatever its frame looks like."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "scenarios"))
from forge import Pack, open_key, zstd
from forge.forms import DATA, ZDATA, ZTREE, index

from pbs.errors import ResticError
from pbs.repository import Arrived, Handle
from pbs.repository.blank import master_key
from pbs.repository.indexes import FOLDERS_PACK, told
from pbs.repository.keyfile import seal_key
from pbs.repository.unpacking import unpacked

if sys.version_info >= (3, 14):
    from compression import zstd as library
else:
    from backports import zstd as library

CONTENT = b"a line of text that packs well\n" * 40
LENGTH = len(CONTENT)


@pytest.fixture(scope="module")
def handle(tmp_path_factory: pytest.TempPathFactory) -> Handle:
    """A repository as far as this module needs one: its key."""
    path = tmp_path_factory.mktemp("repository")
    key, content = seal_key(master_key(), "secret", "2026-01-01T00:00:00Z")
    (path / "keys").mkdir()
    (path / "keys" / key).write_bytes(content)
    return Handle(path, password="secret", cache=path / "cache", key=key)


def look(
    handle: Handle, frames: Iterable[tuple[int, bytes, int]], *, full: bool = True
) -> tuple[bool, Arrived]:
    """Whether a pack of these blobs lies, and what it brought."""
    assert handle.key is not None
    master = open_key((handle.path / "keys" / handle.key).read_bytes(), "secret")
    pack = Pack()
    for kind, frame, plain in frames:
        pack.put(master.seal(frame), os.urandom(32).hex(), kind, plain)
    name = os.urandom(32).hex()
    place = handle.path / "data" / name[:2]
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(pack.whole(master))
    text = json.dumps(json.loads(index({name: pack.blobs})), separators=(",", ":")).encode()
    arrived = Arrived()
    for _, blob in told(io.BytesIO(text)):
        if blob is not None:
            arrived.count(blob)
    lying = unpacked(handle, handle.path, io.BytesIO(text), {name}, arrived, full=full)
    assert lying <= {name}
    return bool(lying), arrived


LIES = {
    "shorter": (library.compress(CONTENT), LENGTH - 1),
    "longer": (library.compress(CONTENT), LENGTH + 1),
    "no frame tells its length": (zstd(CONTENT), LENGTH - 1),
    "two frames": (library.compress(CONTENT) + library.compress(b"more"), LENGTH),
    "two frames, both counted": (library.compress(CONTENT) + library.compress(b"more"), LENGTH + 4),
    "something behind the frame": (library.compress(CONTENT) + b"more", LENGTH),
    "half a frame": (library.compress(os.urandom(5000))[:-5], 4990),
    "no frame at all": (CONTENT, LENGTH),
    "gigabytes": (zstd((b"x", 1 << 32)), 5000),
    "nothing": (b"", 0),
}


@pytest.mark.parametrize("kind", [ZDATA, ZTREE], ids=["content", "folder"])
@pytest.mark.parametrize("lie", LIES)
def test_another_length_is_found(handle: Handle, lie: str, kind: int) -> None:
    """T1: shorter, longer, in two frames, without end: a pack says of each blob how long it is, or it is none."""
    frame, plain = LIES[lie]
    assert look(handle, [(kind, frame, plain)])[0]
    assert look(handle, [(ZDATA, library.compress(b"honest"), 6), (kind, frame, plain)])[0]


@settings(max_examples=25)
@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=6), st.booleans())
def test_the_truth_is_believed(handle: Handle, contents: list[bytes], large: bool) -> None:
    """What restic packs, small or large, with or without a length in its frame, says how long it is."""
    contents += [os.urandom(2_500_000), b"x" * 2_500_000] if large else []
    frames = [(ZDATA, library.compress(each), len(each)) for each in contents]
    frames += [(ZTREE, zstd(each), len(each)) for each in contents]
    lies, arrived = look(handle, frames)
    assert not lies
    assert sum(map(len, contents)) == arrived.plain


def test_content_that_came_unpacked_is_tried(handle: Handle) -> None:
    """T29: whoever stores content as it is still tells how well it packs, whichever level of admission is in force."""
    noise, text = os.urandom(900_001), CONTENT * 500
    for full in (True, False):
        lies, arrived = look(handle, [(DATA, noise, 0), (DATA, text, 0), (DATA, b"x", 0)], full=full)
        assert not lies
        assert len(noise) + len(text) + 1 == arrived.plain
        assert len(noise) <= arrived.dense <= len(noise) + 1
        assert len(noise) < arrived.packed < len(noise) + len(text) // 5


def test_what_cannot_be_opened_is_no_silence(handle: Handle, tmp_path: Path) -> None:
    """Without a key that opens, nothing is called sound."""
    (tmp_path / "keys").mkdir()
    with pytest.raises(ResticError):
        unpacked(
            Handle(tmp_path, password="x", cache=tmp_path, key="a" * 64),
            tmp_path,
            io.BytesIO(),
            (),
            Arrived(),
            full=True,
        )


def test_kilobytes_explain_no_gigabytes_of_folders() -> None:
    """T15: a folder's list counts for as much as its packed bytes could honestly be."""
    said = (
        b'{"packs":[{"id":"'
        + b"a" * 64
        + b'","blobs":[{"id":"'
        + b"b" * 64
        + b'","type":"tree","offset":0,"length":132,"uncompressed_length":4000000000}]}]}'
    )
    arrived = Arrived()
    for _, blob in told(io.BytesIO(said)):
        if blob is not None:
            arrived.count(blob)
    assert 100 * FOLDERS_PACK == arrived.folders

"""Repositories made and read by a real restic."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pbs.bounds import Bounds
from pbs.errors import (
    NotFound,
    RepositoryMissing,
    RepositoryReplaced,
    ResticError,
    ToolMissing,
    TooMuch,
    WrongPassword,
)
from pbs.program import Program
from pbs.repository import (
    Handle,
    check,
    create,
    dump,
    entry_at,
    identity,
    inventory,
    listing,
    open_key,
    own_id,
    own_key,
    require,
    seal_key,
    snapshot,
    version,
    view,
)
from pbs.repository.inspection import bounded
from pbs.repository.restic import LEAST_MEMORY, memory_limit

Backup = Callable[..., Awaitable[str]]
pytestmark = pytest.mark.slow
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(entry.name for entry in folder.iterdir())


def laid_out(repository: Path) -> dict[str, int]:
    """The permissions of everything in a new repository; the one key goes by no name."""
    return {
        "key" if path.parent.name == "keys" else str(path.relative_to(repository)): path.stat().st_mode
        for path in sorted(repository.rglob("*"))
    }


@pytest.mark.parametrize("password", ["random", None, "ä ☃ 'quoted' \\ $x"])
async def test_create(tmp_path: Path, password: str | None) -> None:
    """A new repository has one key that opens at once, an id, nothing else, and nobody else can read it."""
    path = tmp_path / "srv" / "a.restic"
    path.parent.mkdir()
    found, key = await create(path, password, tmp_path / "cache", NOW)
    handle = Handle(path, password, tmp_path / "cache", key)
    assert found == await identity(handle) == own_id(handle)
    assert {key} == inventory(path).keys
    assert inventory(path).strays == ()
    assert json.loads((path / "keys" / str(key)).read_bytes())["N"] == 1024
    assert names(path.parent) == ["a.restic"]
    assert path.stat().st_mode & 0o077 == 0
    started = time.process_time()
    await check(handle)
    assert time.process_time() - started < 5


def test_an_id_that_is_told_without_restic_is_one_that_restic_would_tell(handle: Handle) -> None:
    """With another password, another key, a config that was changed or none: none is told, so that restic is asked."""
    assert own_id(handle) is not None
    assert own_id(replace(handle, password="another")) is None
    assert own_id(replace(handle, key=None)) is None
    config = handle.path / "config"
    content = config.read_bytes()
    config.chmod(0o600)
    for changed in (b"", content[:20], bytes([content[0] ^ 1]) + content[1:], content + b"x"):
        config.write_bytes(changed)
        assert own_id(handle) is None
    config.unlink()
    assert own_id(handle) is None


async def test_made_as_restic_makes_them(tmp_path: Path) -> None:
    """Folders, permissions and what the config holds are those of restic's own `init`; no two are cut alike."""
    ours = [Handle(tmp_path / f"{number}.restic", "pw", tmp_path / "cache") for number in range(2)]
    theirs = Handle(tmp_path / "theirs.restic", "pw", tmp_path / "cache")
    for each in ours:
        await create(each.path, "pw", tmp_path / "cache", NOW)
    await theirs.program(writing=True).run("init")
    told = [json.loads((await each.program().run("cat", "config")).stdout) for each in (*ours, theirs)]
    assert [sorted(each) for each in told] == [sorted(told[0])] * 3
    assert [each["version"] for each in told] == [2] * 3
    assert [len(each["id"]) for each in told] == [64] * 3
    assert len({each["chunker_polynomial"] for each in told}) == 3
    assert len({each["id"] for each in told}) == 3
    assert laid_out(ours[0].path) == laid_out(theirs.path)


async def test_create_touches_nothing_that_is_there(tmp_path: Path) -> None:
    """Where anything lies, even a dangling link, no repository is made."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "empty", "link"):
        with pytest.raises(RepositoryReplaced):
            await create(tmp_path / name, None, tmp_path / "cache", NOW)
    assert (tmp_path / "file").read_text() == "x"
    assert names(tmp_path / "empty") == []


CREATE = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from pbs.repository import create
asyncio.run(create(Path(sys.argv[1]), "pw", Path(sys.argv[2]), datetime.now(UTC)))
"""


@pytest.mark.parametrize("after", [0.05, 0.3, 0.4, 0.5, 0.6])
async def test_killed_create(tmp_path: Path, after: float) -> None:
    """T28: a create that is killed at any moment leaves no half repository, and the next one clears up."""
    path = tmp_path / "a.restic"
    process = subprocess.Popen([sys.executable, "-c", CREATE, path, tmp_path / "cache"])
    await asyncio.sleep(after)
    process.kill()
    process.wait()
    if path.exists():
        assert await identity(Handle(path, "pw", tmp_path / "cache"))
        return
    for _ in range(100):  # its restic dies with it, but not in the same moment
        if not list(tmp_path.glob("a.restic.new-*/repository/locks/*")):
            break
        await asyncio.sleep(0.02)
    found, key = await create(path, "pw", tmp_path / "cache", NOW)
    assert found == await identity(Handle(path, "pw", tmp_path / "cache", key))
    assert list(tmp_path.glob("*.new-*")) == []


async def test_restic_opens_our_key_file(handle: Handle) -> None:
    """A key file that we wrote is opened by restic itself, alone; ours and restic's are read alike."""
    key = next(iter(inventory(handle.path).keys))
    content = (handle.path / "keys" / key).read_bytes()
    name, again = seal_key(open_key(content, "a password"), "a password", "2026-01-02T03:04:05Z")
    (handle.path / "keys" / name).write_bytes(again)
    (handle.path / "keys" / key).unlink()
    assert await identity(replace(handle, key=name))
    await handle.program(writing=True).run("key", "list")
    assert open_key(again, "a password") == open_key(content, "a password")


async def test_our_key_is_found(handle: Handle, tmp_path: Path) -> None:
    """Our key is found in a repository that was there, among keys that are not ours and junk."""
    (handle.path / "keys" / ("0" * 64)).write_bytes(b"junk")
    _, other = await create(tmp_path / "b.restic", "other", tmp_path / "cache", NOW)
    os.link(tmp_path / "b.restic" / "keys" / str(other), handle.path / "keys" / str(other))
    assert handle.key == await own_key(handle)
    assert await own_key(replace(handle, password="nobody's")) is None


async def test_bad_ends(handle: Handle, tmp_path: Path) -> None:
    """Each way in which a repository does not open has its own error, with what to do."""
    for broken, error in (
        (replace(handle, path=tmp_path / "none"), RepositoryMissing),
        (replace(handle, password="wrong"), WrongPassword),
        (replace(handle, password=None), WrongPassword),
    ):
        with pytest.raises(error) as caught:
            await identity(broken)
        assert caught.value.hint
    (handle.path / "config").chmod(0o600)
    (handle.path / "config").write_bytes(b"x" * 200)
    with pytest.raises(ResticError):
        await identity(handle)


async def test_hostile_keys_do_not_stop_us(handle: Handle) -> None:
    """T12: forty keys of a source beside ours, in any order, change nothing for us."""
    ours = json.loads((handle.path / "keys" / str(handle.key)).read_bytes())
    for number in range(40):
        name = f"{number:02x}" * 32
        hostile = {**ours, "N": 1 << 30} if number % 4 == 0 else {**ours, "data": "AAAA"}
        content = b"junk" if number % 4 == 1 else json.dumps(hostile).encode()
        (handle.path / "keys" / name).write_bytes(content)
    assert await identity(handle)


async def test_snapshot_says_what_it_claims(handle: Handle, tree: Path, backup: Backup) -> None:
    """T7, T16: what a snapshot claims is read as a claim: cleaned, bounded, its time not ours."""
    made = await backup(
        handle, tree, "--host", "../../etc\x1b[2J", "--tag", "../../up\nx", "--time", "2099-01-01 00:00:00"
    )
    found = await snapshot(handle, made)
    assert found.claimed is not None
    assert (made, 2099) == (found.id, found.claimed.year)
    assert "\x1b" not in found.host
    assert found.files is not None
    assert found.files > 30
    assert (str(tree),) == found.paths


@pytest.mark.parametrize("wanted", ["latest", "", "a" * 8, "a" * 64, "../config", "--help", "a" * 63 + "\n"])
async def test_only_whole_ids(handle: Handle, tree: Path, backup: Backup, wanted: str) -> None:
    """T7: nobody but us chooses a snapshot: `latest`, a prefix, or what is not there is not found."""
    await backup(handle, tree)
    with pytest.raises(NotFound):
        await snapshot(handle, wanted)
    with pytest.raises(NotFound):
        [entry async for entry in listing(handle, wanted)]
    with pytest.raises(NotFound):
        await dump(handle, wanted, b"/", 1)


def names_below(root: bytes) -> set[bytes]:
    """Every path below a folder but the socket (nobody backs those up), from it, with / before."""
    found = set()
    for folder, folders, files in os.walk(root):
        below = folder[len(root) :]
        found |= {below + b"/" + name for name in [*folders, *files]}
    return found - {b"/socket"}


async def test_listing_tells_every_name_exactly(handle: Handle, tree: Path, backup: Backup) -> None:
    """Decision 23: a listing gives each path byte for byte, also where restic's own JSON lost the bytes."""
    made = await backup(handle, tree)
    found = [entry async for entry in listing(handle, made, recursive=True)]
    assert names_below(os.fsencode(tree)) == {entry.raw for entry in found}
    for entry in found:
        status = os.lstat(os.fsencode(tree) + entry.raw)
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (entry.mode, entry.uid, entry.gid)


async def test_listing_folder_by_folder_agrees(handle: Handle, tree: Path, backup: Backup) -> None:
    """The folders listed one by one, and from any folder down, give the same as all at once."""
    made = await backup(handle, tree)
    whole = {entry.raw: entry for entry in [entry async for entry in listing(handle, made, recursive=True)]}
    one_by_one, waiting = {}, [b"/"]
    while waiting:
        for entry in [entry async for entry in listing(handle, made, waiting.pop())]:
            one_by_one[entry.raw] = replace(entry, linktarget=None)
            waiting += [entry.raw] if entry.type == "dir" else []
    assert whole == one_by_one
    below = [entry.raw async for entry in listing(handle, made, b"/folders/\xff\xfe/", recursive=True)]
    assert below == [b"/folders/\xff\xfe/\xff\xfe"]


async def test_one_name_and_too_many(handle: Handle, backup: Backup, tree: Path) -> None:
    """One name is found by its exact path, the root has none; a folder's listing stops at its bound."""
    made = await backup(handle, tree)
    assert await entry_at(handle, made, b"/") is None
    for entry in [entry async for entry in listing(handle, made)]:
        assert entry == await entry_at(handle, made, entry.raw)
    with pytest.raises(NotFound):
        await entry_at(handle, made, b"/nothing")
    for asked in (listing(handle, made, most=100).__anext__(), entry_at(handle, made, b"/nothing", most=100)):
        with pytest.raises(TooMuch):
            await asked


async def test_listing_of_one_file(handle: Handle, tree: Path, backup: Backup) -> None:
    """A path that names a file gives that file; one that names nothing is not found."""
    made = await backup(handle, tree)
    for recursive in (False, True):
        for path in (b"/link", b"/folders/\xff\xfd/\xff\xfd", b"/c:olon", b"/-r"):
            found = [entry async for entry in listing(handle, made, path, recursive=recursive)]
            assert [path] == [entry.raw for entry in found]
        for path in (b"/none", b"/file/none", b"relative", b"/\0"):
            with pytest.raises(NotFound):
                [entry async for entry in listing(handle, made, path, recursive=recursive)]
    link = [entry async for entry in listing(handle, made, b"/link")]
    assert link[0].linktarget == "sub//deep"


async def test_dump(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """A file comes out byte for byte, a folder as a tar; a link or nothing is not found."""
    made = await backup(handle, tree)
    for name in (b"file", b"\xff\xfe", b"new\nline", b"-r", b"*"):
        with (tmp_path / "out").open("wb") as out:
            await dump(handle, made, b"/" + name, out.fileno())
        assert (tmp_path / "out").read_bytes() == (tree / os.fsdecode(name)).read_bytes()
    with (tmp_path / "out.tar").open("wb") as out:
        await dump(handle, made, b"/sub", out.fileno())
    listed = subprocess.run(["tar", "tf", tmp_path / "out.tar"], check=True, capture_output=True).stdout
    assert b"sub/deep/leaf" in listed
    for name in (b"/link", b"/none"):
        with pytest.raises(NotFound), (tmp_path / "out").open("wb") as out:
            await dump(handle, made, name, out.fileno())


async def test_view_holds_only_what_counts(
    handle: Handle, tree: Path, backup: Backup, tmp_path: Path
) -> None:
    """T7, T8, T9: a view shows the snapshots it was made for; forged ones, junk and foreign keys are not in it."""
    good = await backup(handle, tree)
    forged = await backup(handle, tree, "--time", "2099-01-01 00:00:00")
    (handle.path / "snapshots" / ("0" * 64)).write_bytes(b"junk")
    (handle.path / "keys" / ("0" * 64)).write_bytes(b"junk")
    (handle.path / "locks" / ("0" * 64)).write_bytes(b"junk")
    work = handle.path.parent / "web1.work"
    with view(handle.path, work, [good], handle.key) as shown:
        inside = replace(handle, path=shown.path, inherit=(shown.descriptor,))
        assert {good} == inventory(shown.path).snapshots
        assert {handle.key} == inventory(shown.path).keys
        assert frozenset() == inventory(shown.path).locks
        said = await inside.program().run("snapshots", "--json")
        assert [good] == [found["id"] for found in json.loads(said.stdout)]
        await check(inside, "100%")
        with pytest.raises(NotFound):
            await snapshot(inside, forged)
    assert names(work) == []
    assert inventory(handle.path).snapshots >= {good, forged}


async def test_view_says_what_is_missing(handle: Handle, tree: Path, backup: Backup, tmp_path: Path) -> None:
    """A view of a snapshot, key or repository that is not there is refused, and leaves nothing."""
    good = await backup(handle, tree)
    work = handle.path.parent / "web1.work"
    for path, snapshots, key, error in (
        (tmp_path / "none", [good], None, RepositoryMissing),
        (handle.path, ["0" * 64], None, NotFound),
        (handle.path, ["latest"], None, NotFound),
        (handle.path, [good], "0" * 64, NotFound),
    ):
        with pytest.raises(error), view(path, work, snapshots, key):
            pass
    assert not work.exists() or names(work) == []


async def test_password_is_nowhere(handle: Handle, tree: Path, tmp_path: Path) -> None:
    """Invariant 6: while restic runs, the password is in no argument list and no environment of any process."""
    secret = b"a password"
    seen = 0
    task = asyncio.create_task(handle.program(writing=True).run("backup", "--json", ".", cwd=tree))
    while not task.done():
        for process in Path("/proc").glob("[0-9]*"):
            try:
                texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
            except OSError:
                continue
            seen += b"restic" in texts[0]
            if process.name != str(os.getpid()):
                assert secret not in texts[0] + texts[1]
        await asyncio.sleep(0.005)
    await task
    assert seen
    assert "a password" not in repr(handle) + repr(handle.program())


async def test_cancel_ends_restic(handle: Handle, tmp_path: Path) -> None:
    """Cancelling ends restic's process group and leaves no child."""
    os.mkfifo(tmp_path / "never")
    task = asyncio.create_task(
        handle.program(writing=True).run("backup", "--stdin-from-command", "--", "sleep", "1000")
    )
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = subprocess.run(["pgrep", "-f", str(handle.path)], check=False, capture_output=True).stdout
    assert left == b""


async def test_memory_is_bounded(handle: Handle) -> None:
    """T14: a restic that needs more memory than it may have fails in our words; the limit leaves room for us."""
    with pytest.raises(ResticError):
        await identity(replace(handle, bounds=Bounds(memory=200 << 20)))
    assert memory_limit() >= LEAST_MEMORY
    greedy = bounded(handle, handle.path, 0, Bounds(memory=1 << 60))
    assert greedy.bounds.memory == memory_limit()


async def test_a_snapshot_is_read_within_what_an_honest_one_needs(
    handle: Handle, tree: Path, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T14: a few kilobytes that unpack to gigabytes cost the least that any restic has, however much memory there is."""
    made, asked, program = await backup(handle, tree), list[int | None](), Handle.program

    def noted(self: Handle, *, writing: bool = False) -> Program:
        asked.append(self.bounds.memory)
        return program(self, writing=writing)

    monkeypatch.setattr(Handle, "program", noted)
    assert made == (await snapshot(handle, made)).id
    assert asked == [LEAST_MEMORY]


@pytest.mark.parametrize("threads", [1, 4, 64])
async def test_the_least_bounds_are_wide_enough(handle: Handle, threads: int) -> None:
    """An honest restic begins far within the least that any has, however many processors it may use."""
    bounds = Bounds(memory=LEAST_MEMORY * 3 // 4)
    await check(replace(handle, bounds=bounds, threads=threads))


async def test_check_notices_damage(handle: Handle, tree: Path, backup: Backup) -> None:
    """F14: a flipped byte in a pack is found when its content is read."""
    await backup(handle, tree)
    await check(handle, "100%")
    pack = max(handle.path.glob("data/*/*"), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(1000)
        file.write(os.urandom(16))
    await check(handle)
    with pytest.raises(ResticError):
        await check(handle, "100%")


async def test_restic_version() -> None:
    """restic here is new enough; one that is not is said to be too old, with what to do."""
    assert await require() == await version()
    with pytest.raises(ToolMissing) as caught:
        await require((99, 0, 0))
    assert "99" in str(caught.value.hint)


async def test_restic_missing(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without restic the error says so."""
    monkeypatch.setattr("pbs.repository.restic.find_tool", lambda *_: None)
    with pytest.raises(ToolMissing):
        await identity(handle)


def test_signal_names() -> None:
    """restic that was killed from outside is told as that."""
    from pbs.process import Finished
    from pbs.repository import explain

    assert f"signal {signal.SIGKILL.value}" in explain([], Finished(-9, b"", "")).message

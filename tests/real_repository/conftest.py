"""A real restic, awkward trees, and a mount server that can be killed. A missing tool fails; nothing is skipped."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pbs.repository import Handle, create

SERVER = Path(__file__).with_name("mount_server.py")
Tree = Callable[[Path], Path]


@pytest.fixture(scope="session", autouse=True)
def fuse() -> None:
    """A build machine may keep /dev/fuse to root."""
    if os.geteuid() == 0:
        Path("/dev/fuse").chmod(0o666)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An empty repository to copy."""
    base = tmp_path_factory.mktemp("template")
    _, key = asyncio.run(create(base / "empty", "a password", base / "cache", datetime.now(UTC)))
    return base / "empty", key


@pytest.fixture
def handle(tmp_path: Path, template: tuple[Path, str]) -> Handle:
    """A new repository with a password and a cheap key."""
    path = tmp_path / "srv" / "web1.restic"
    path.parent.mkdir()
    shutil.copytree(template[0], path)
    return Handle(path, "a password", tmp_path / "cache", template[1])


async def back_up(handle: Handle, folder: Path, *arguments: str | bytes) -> str:
    """Make a snapshot of a folder, from inside it, as an agent does; its id."""
    lines: list[bytes] = []
    await handle.program(writing=True).run(
        "backup", "--json", "--force", *arguments, "--", ".", cwd=folder, on_line=lines.append,
        allow=frozenset({0, 3}),
    )  # fmt: skip
    return str(json.loads(lines[-1])["snapshot_id"])


@pytest.fixture
def backup() -> Callable[..., object]:
    """`back_up`, for tests."""
    return back_up


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with everything awkward that an ordinary user can make, and devices as root."""
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "file").write_bytes(os.urandom(200_000))
    os.link(root / "file", root / "sub" / "same file")
    (root / "sub" / "deep" / "leaf").write_text("x")
    (root / "link").symlink_to("sub//deep")
    (root / os.fsdecode(b"link to \xff")).symlink_to(os.fsdecode(b"../\xff"))
    (root / "absolute").symlink_to("/etc/passwd")
    for name in (b"\xff\xfe", b"\xff\xfd", b"\xe2\x82", b"new\nline", b"esc\x1b[2J", b"*", b"?[a]", b"\\", b"!x", b"-r",
                 b" lead", b"trail ", b"$HOME", "é😀".encode(), "\N{REPLACEMENT CHARACTER}".encode(), b"c:olon", b"#"):  # fmt: skip
        (root / os.fsdecode(name)).write_bytes(name)
        folder = root / "folders" / os.fsdecode(name)
        folder.mkdir(parents=True)
        (folder / os.fsdecode(name)).write_bytes(name * 2)
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(8 << 20)
        sparse.seek(4 << 20)
        sparse.write(b"middle")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(root)
        listener.bind("socket")
        os.chdir("/")
    os.setxattr(root / "file", "user.note", b"\x00\xff")
    subprocess.run(["setfacl", "-m", "u:1234:rw", root / "sub"], check=True)
    (root / "file").chmod(0o4750)
    (root / "sub").chmod(0o2711)
    if os.geteuid() == 0:
        os.mknod(root / "null", 0o20666, os.makedev(1, 3))
        os.mknod(root / "sub" / os.fsdecode(b"dev\xff?"), 0o60600, os.makedev(7, 0))
        os.chown(root / "sub" / "deep", 1234, 2345)
    os.utime(root / "sub", ns=(1, 1_000_000_001))
    os.utime(root / "link", ns=(1, 1_234_567_891), follow_symlinks=False)
    return root


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def restics(folder: Path) -> bytes:
    """The restic processes that work below this folder."""
    found = b""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        found += words if words.split(b"\0")[0].endswith(b"restic") and os.fsencode(folder) in words else b""
    return found


class Server:
    """A process that serves a mount, as `pbs mount --foreground` would."""

    def __init__(
        self,
        handle: Handle,
        base: Path,
        directory: Path,
        snapshots: dict[str, str],
        become: tuple[str, ...] = (),
        **more: object,
    ) -> None:
        self.directory = directory
        request = {"repository": str(handle.path), "password": handle.password, "cache": str(handle.cache),
                   "key": handle.key, "work": str(handle.path.parent / "web1.work"), "records": str(base / "records"),
                   "directory": str(directory), "snapshots": snapshots, **more}  # fmt: skip
        self.process = subprocess.Popen(
            [*become, sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request))
        self.process.stdin.close()
        self.ready = self.process.stdout.readline() == "ready\n"

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end."""
        return self.process.wait(20)

    def complaint(self) -> str:
        """What it said when it failed."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        subprocess.run(["fusermount3", "-uzq", self.directory / "ids"], check=False)


@pytest.fixture
def serve(handle: Handle, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts mount servers; each is ended with its test."""
    servers: list[Server] = []

    def start(snapshots: dict[str, str], directory: Path | None = None, **more: object) -> Server:
        servers.append(Server(handle, tmp_path, directory or tmp_path / "mnt", snapshots, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.close()

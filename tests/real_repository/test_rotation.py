"""A new repository password, with a real restic and a process that is killed at every step of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pbs import files
from pbs.admission import Place, differences
from pbs.assemble import place_of
from pbs.clock import SystemClock
from pbs.errors import HomeError, LeaseHeld, UsageError, WrongPassword
from pbs.files import locked, write
from pbs.home import Home
from pbs.ledger import Ledger, open_ledger
from pbs.ledger.manifests import Manifests
from pbs.ledger.upgrade import upgrade
from pbs.model import Repository
from pbs.opening import handle_of, password_of
from pbs.repository import Handle, config_digest, everything, identity, view
from pbs.rotation import recover, rotate

pytestmark = pytest.mark.slow
Setting = tuple[Home, Ledger, str]


@pytest.fixture
def setting(
    tmp_path: Path, template: tuple[Path, str], backup: Callable[..., Coroutine[Any, Any, str]], tree: Path
) -> Setting:
    """A home with one source, whose repository holds a snapshot, and the snapshot's id."""
    home = Home.at(tmp_path / "home")
    home.make()
    shutil.copytree(template[0], home.repository("web1"))
    write(home.password("web1"), b"a password\n")
    upgrade(home.ledger, home.locks / "upgrade.lock")
    ledger = open_ledger(home.ledger, lasting=True)
    now = SystemClock().now()
    ledger.add_source("web1", now)
    handle = Handle(home.repository("web1"), "a password", home.cache, template[1])
    known = asyncio.run(identity(handle))
    ledger.add_repository(Repository(known, "web1", "srv/backup/pbs/web1.restic", template[1]), now)
    ledger.manifests.begin(known, config_digest(handle.path), "none", {})
    made = asyncio.run(backup(handle, tree))
    ledger.manifests.settle(known, "none", everything(handle.path))
    return home, ledger, made


def place(home: Home, ledger: Ledger) -> Place:
    """The repository as the ledger knows it now."""
    known = ledger.repository("web1")
    assert known is not None
    return place_of(home, known)


async def opens(home: Home, ledger: Ledger, snapshot: str) -> str | None:
    """Whether what is kept opens the repository itself and a view of it, as a restore needs it; the password."""
    handle = place(home, ledger).handle
    await identity(handle)
    with view(handle.path, home.work("web1"), [snapshot], handle.key) as shown:
        await identity(replace(handle, path=shown.path, inherit=(shown.descriptor,)))
    return handle.password


async def test_the_new_password_opens_it_and_the_old_one_does_not(setting: Setting) -> None:
    """After a rotation nothing but the new password opens the repository, which is exactly what was admitted."""
    home, ledger, snapshot = setting
    before = place(home, ledger).handle
    key = await rotate(home, ledger, "web1", SystemClock())
    assert await opens(home, ledger, snapshot) not in (None, "a password")
    assert key == place(home, ledger).handle.key
    assert [key] == [path.name for path in (before.path / "keys").iterdir()]
    with pytest.raises(WrongPassword):
        await identity(replace(before, key=None))
    assert [] == differences(place(home, ledger), ledger)
    assert 0o600 == home.password("web1").stat().st_mode & 0o777
    assert not home.rotation("web1").exists()


def rotated_until(home: Home, step: int) -> int:
    """Rotate in another process, which ends itself by SIGKILL before the change with this number; how it ended.

    Every change that a rotation makes goes through one of these functions, so their calls are its steps.
    """
    child = os.fork()
    if child == 0:
        left = itertools.count(step, -1)

        def counting(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **named: Any) -> Any:
                if next(left) == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **named)

            return counted

        for owner, names in ((files, ("write", "move", "remove_file", "sync_folder")), (Manifests, ("change_key",)),
                             (Ledger, ("note",))):  # fmt: skip
            for name in names:
                setattr(owner, name, counting(getattr(owner, name)))
        asyncio.run(rotate(home, open_ledger(home.ledger), "web1", SystemClock()))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_at_every_step_it_leaves_a_repository_that_opens(setting: Setting) -> None:
    """After SIGKILL before each change, the kept password opens it; the next run ends what was begun, one way or the other."""
    home, ledger, snapshot = setting
    forward = back = 0
    for step in range(1, 100):
        before, old = password_of(home, "web1"), place(home, ledger).handle.key
        code = rotated_until(home, step)
        kept = asyncio.run(opens(home, ledger, snapshot))
        if code == 0:
            break
        assert -signal.SIGKILL == code
        assert password_of(home, "web1") == kept, step
        recover(home, ledger, "web1")
        key = place(home, ledger).handle.key
        assert [key] == [path.name for path in (home.repository("web1") / "keys").iterdir()], step
        assert kept == asyncio.run(opens(home, ledger, snapshot)), step
        assert [] == differences(place(home, ledger), ledger), step
        assert not [*home.keys.glob("*.rotation"), *home.work("web1").glob("key-*")], step
        assert (kept != before) == (key != old), step
        forward, back = forward + (kept != before), back + (kept == before)
    else:
        pytest.fail("it never came to its end")
    assert forward >= 5, "hardly any step after the change of the password was killed"
    assert back >= 5, "hardly any step before it was killed"


async def test_nobody_is_disturbed(setting: Setting) -> None:
    """While a run goes on, or somebody reads the repository, nothing is changed; without a password there is nothing to."""
    home, ledger, snapshot = setting
    for lock, shared in (("run", False), ("repository", True)):
        with locked(home.locks / f"web1.{lock}.lock", shared=shared), pytest.raises(LeaseHeld):
            await rotate(home, ledger, "web1", SystemClock())
    assert "a password" == await opens(home, ledger, snapshot)
    write(home.rotation("web1"), b"{}")
    with pytest.raises(HomeError, match="is damaged"):
        recover(home, ledger, "web1")
    home.rotation("web1").unlink()
    home.password("web1").unlink()
    with pytest.raises((UsageError, WrongPassword)):
        await rotate(home, ledger, "web1", SystemClock())
    known = ledger.repository("web1")
    assert known is not None
    assert handle_of(home, known).password is None

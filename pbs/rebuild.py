"""Makes a ledger anew from all that is left, and a whole server from its copy. What was there is set aside, never deleted.

In the order in which they are believed: what can still be read of the damaged ledger, the newest copy of the server that
is sound, the logs of runs, the repositories. Nothing here runs while the home is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pbs import files, keyring, repository, servercopy
from pbs.clock import Clock, stamp
from pbs.config import Config, load
from pbs.errors import HomeError, LeaseHeld, NotFound, PbsError, UsageError
from pbs.home import Home
from pbs.ledger import Ledger, open_ledger
from pbs.ledger.files import PARTS, faults
from pbs.ledger.upgrade import upgrade
from pbs.model import Repository, valid_name
from pbs.provision import adopt
from pbs.recover import Recovered, recover
from pbs.repository import Handle, Kept
from pbs.scratch import scratch

STAGING = "rebuild-"
MOST_COPIES_TRIED = 10


@dataclass(slots=True)
class Report:
    """What a rebuild found. `base` is the copy that it began with, `aside` what became of the old ledger."""

    base: Kept | None = None
    aside: Path | None = None
    sources: list[Recovered] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@contextmanager
def unserved(home: Home) -> Iterator[None]:
    """Nobody serves this home for the length of a block.

    Raises:
        LeaseHeld: somebody does.
    """
    try:
        with files.locked(home.locks / "serve.lock"):
            yield
    except LeaseHeld as error:
        raise LeaseHeld(f"the home {home.root} is being served", "`pbs stop`, then try again") from error


async def rebuild_ledger(home: Home, clock: Clock, *, anyway: bool = False) -> Report:
    """Put a new ledger in the place of one that is damaged or lost.

    Raises:
        UsageError: the ledger is sound, and this was not asked for all the same.
        LeaseHeld: the home is served.
        PbsError: nothing was changed.
    """
    with unserved(home):
        if not anyway and not faults(home.ledger):
            raise UsageError(
                "the ledger is sound: there is nothing to rebuild", "--anyway makes it anew all the same"
            )
        report = Report()
        with scratch(home.ledger.parent, STAGING) as place:
            made = place.path / home.ledger.name
            report.base = await _base(home, made, place.path / "copy", report.remarks)
            upgrade(made, home.locks / "upgrade.lock")
            ledger = open_ledger(made, lasting=True)
            try:
                await _salvage(home, place.path / "old", ledger)
                await complete(home, ledger, clock, report)
                ledger.note(
                    clock.now(),
                    "ledger-rebuilt",
                    {"base": report.base.id if report.base else None},
                    about=None,
                )
            finally:
                ledger.close()
            # The new one is whole before the old one is touched.
            report.aside = _set_aside(home, clock)
            made.rename(home.ledger)
            files.sync_folder(home.ledger.parent)
    return report


def _set_aside(home: Home, clock: Clock) -> Path | None:
    """Give the old ledger, with the files beside it, another name."""
    aside = home.ledger.with_name(f"{home.ledger.name}.aside-{clock.now():%Y%m%dT%H%M%SZ}")
    there = False
    for part in reversed(PARTS):
        path = home.ledger.with_name(f"{home.ledger.name}{part}")
        with suppress(FileNotFoundError):
            path.rename(aside.with_name(f"{aside.name}{part}"))
            there = True
    return aside if there else None


async def _base(home: Home, made: Path, place: Path, remarks: list[str]) -> Kept | None:
    """Begin with the ledger of the newest copy that is sound; with an empty one where there is none."""
    if not home.server_copy.exists():
        return None
    try:
        with servercopy.opened(home) as handle:
            used = await _newest_sound(handle, place, remarks)
    except PbsError as error:
        remarks.append(f"the copies of the server cannot be read: {error.message}")
        return None
    if used is not None:
        (place / used.id / home.ledger.relative_to(home.root)).rename(made)
    return used


async def _newest_sound(handle: Handle, place: Path, remarks: list[str], wanted: str = "") -> Kept | None:
    """Fetch the newest copy with a sound ledger into a folder of its id below `place`."""
    copies = [each for each in reversed(await repository.kept(handle)) if each.id.startswith(wanted)]
    for each in copies[:MOST_COPIES_TRIED]:
        target = place / each.id
        try:
            await repository.fetch(handle, each.id, target)
            wrong = await asyncio.to_thread(faults, Home.at(target).ledger)
            if not wrong:
                # A newer pbs may have made it: then an older copy is the one for us.
                upgrade(Home.at(target).ledger, target / "upgrade.lock")
        except PbsError as error:
            wrong = [error.message]
        if not wrong:
            return each
        remarks.append(
            f"the copy {each.id[:8]} of {stamp(each.time)} cannot be used and was passed over: {wrong[0]}"
        )
    return None


async def _salvage(home: Home, place: Path, ledger: Ledger) -> None:
    """Take over the repositories and receipts that can still be read of the old ledger, from a copy of its bytes."""
    files.make_folder(place)
    for part in PARTS[:2]:
        path = home.ledger.with_name(f"{home.ledger.name}{part}")
        if path.is_file():
            files.copy_file(path, place / path.name)
    with suppress(PbsError, ValueError, TypeError, KeyError):
        old = open_ledger(place / home.ledger.name, lasting=True)
        try:
            for name in filter(valid_name, old.sources()):
                with suppress(PbsError, ValueError, TypeError, KeyError):
                    _take_over(old, ledger, name)
        finally:
            old.close()


def _take_over(old: Ledger, ledger: Ledger, name: str) -> None:
    known, receipts = old.repository(name), old.receipts(name)
    if known is None or not receipts:
        return
    ledger.add_source(name, receipts[0].received)
    if ledger.repository(name) is None:
        ledger.add_repository(known, receipts[0].received)
    have = ledger.repository(name)
    if have is not None and have.id == known.id:
        for receipt in receipts:
            ledger.add_receipt(receipt)
        if (held := old.custody.held(name)) is not None:
            ledger.custody.hold(
                name,
                held.detail["why"],
                held.time,
                run=held.run,
                snapshot=held.detail["snapshot"],
                by=held.detail["by"],
            )


async def complete(home: Home, ledger: Ledger, clock: Clock, report: Report) -> None:
    """Add what the ledger lacks: sources of the configuration and of repositories, their runs and receipts."""
    configured = _configured(home, report.remarks)
    lying = {path.name.removesuffix(".restic") for path in home.backups.glob("*.restic")}
    for name in sorted({*configured, *ledger.sources(), *filter(valid_name, lying)}):
        try:
            if name not in ledger.sources():
                ledger.add_source(name, clock.now())
            await _adopt(home, ledger, name, clock)
            report.sources.append(await recover(home, ledger, name, clock))
            # What an older ledger says of each file is not what lies there now: the next run reads all of it.
            ledger.manifests.drop(name)
        except PbsError as error:
            report.remarks.append(f"{name}: {error.message} ({error.hint})")
        if configured and name not in configured:
            ledger.remove_source(name, clock.now(), purge=False)


def _configured(home: Home, remarks: list[str]) -> set[str]:
    try:
        config: Config = load(home)
    except PbsError as error:
        remarks.append(f"{error.message}: sources without a repository are not looked for")
        return set()
    return set(config.sources)


async def _adopt(home: Home, ledger: Ledger, name: str, clock: Clock) -> None:
    """Make the repository that lies in a source's place the one that the ledger knows; never make one."""
    path = home.repository(name)
    if ledger.repository(name) is None and (path / "config").exists():
        found, key = await adopt(home, name)
        ledger.add_repository(Repository(found, name, str(path.relative_to(home.root)), key), clock.now())


async def rebuild_server(root: Path, copies: Path | None, key: str, wanted: str, clock: Clock) -> Report:
    """Make a home in `root` from a copy of the server, and then its ledger whole.

    Args:
        root: Where the home shall be; its backups may lie there already.
        copies: The repository of copies; None = the one in its place below `root`.
        key: The recovery key.
        wanted: The first digits of the copy to use; empty = the newest that is sound.
        clock: The time.

    Raises:
        HomeError: there is a home already.
        NotFound: there is no copy that could be used.
        WrongPassword: the key does not open the copies.
    """
    home, report = Home.at(root), Report()
    place = copies or home.server_copy
    if home.exists:
        raise HomeError(
            f"{home.root} is a home already",
            "name an empty folder, or one that holds nothing but srv/backup/pbs",
        )
    if not (place / "config").is_file():
        raise NotFound(
            f"there is no copy of a server at {place}", "name its folder with --from; is the disk mounted?"
        )
    handle = servercopy.handle_on(place, key, home.cache)
    await repository.identity(handle)
    with scratch(home.root, STAGING) as stage:
        report.base = await _newest_sound(handle, stage.path, report.remarks, wanted)
        if report.base is None:
            raise NotFound(
                f"none of the copies at {place} could be used"
                + (f": {report.remarks[-1]}" if report.remarks else ""),
                "`docs/operations.md` says what to do with the repositories alone",
            )
        home.make()
        _put_in_place(stage.path / report.base.id, home)
        if keyring.is_sealed(home.keys):
            keyring.unlock(home.keys, key)
    with unserved(home):
        upgrade(home.ledger, home.locks / "upgrade.lock")
        ledger = open_ledger(home.ledger, lasting=True)
        try:
            await complete(home, ledger, clock, report)
            ledger.note(clock.now(), "server-rebuilt", {"base": report.base.id}, about=None)
            _missing(home, ledger, report)
        finally:
            ledger.close()
    return report


def _put_in_place(copy: Path, home: Home) -> None:
    """Move what a copy holds into a home: what makes it one (ledger, configuration) comes last."""
    for folder in (home.keys, home.sources_d):
        held = copy / folder.relative_to(home.root)
        for path in sorted(held.iterdir()) if held.is_dir() else ():
            path.replace(folder / path.name)
    for path in (home.ledger, home.config):
        held = copy / path.relative_to(home.root)
        if held.exists():
            held.replace(path)
        files.sync_folder(path.parent)


def _missing(home: Home, ledger: Ledger, report: Report) -> None:
    for name in ledger.sources():
        known = ledger.repository(name)
        if known is not None and not (home.root / known.path / "config").exists():
            report.remarks.append(f"{name}: its repository is not at {home.root / known.path}: put it there")

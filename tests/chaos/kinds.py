"""The kinds of run that faults are played on: how the run's source is made ready, and which stages its log will tell.

A new kind of run joins the matrix by a line in `KINDS`. Nothing here breaks anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aftermath import MANUAL, PATIENCE, Stand, random_file
from stage import SourceHost, eventually, grow

from pbs.model import Kind, Outcome

# Within an admission: the snapshot is looked through; it was, and the ledger is about to be told.
INNER = ("snapshot", "receipt")
PULL = ("repository", "endpoint", "connect", "agent", "forward", "backup", "shut", "admission")
IDLE = "idle"
# Slow enough to be hit in the middle.
SLOW = ("--set", 'limits={upload="4MB/s"}')
MEGABYTE = 1 << 20
JUNK = {hashlib.sha256(each).hexdigest(): each for each in (bytes([number]) * 20_000 for number in range(60))}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class RunKind:
    """One kind of run: `ready` gives the stand of its source just before the run, and `proven` looks at what became of it."""

    stages: tuple[str, ...]
    ready: Callable[[Stand, random.Random], contextlib.AbstractContextManager[Stand]]
    proven: Callable[[Stand], None] = lambda stand: None
    # The verb that asks for it, and its options.
    words: tuple[str, ...] = ("pull",)


@contextlib.contextmanager
def unchanged(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source that was pulled before, as it was then."""
    yield stand


@contextlib.contextmanager
def changed(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source that was pulled before, with some seconds of new data."""
    random_file(stand.source.data / "big", dice.randrange(9, 13) * MEGABYTE)
    yield stand


@contextlib.contextmanager
def first(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source that was never pulled."""
    with _new_source(stand) as new:
        random_file(new.source.data / "big", dice.randrange(8, 12) * MEGABYTE)
        new.pbs.add(new.name, new.source, *MANUAL, *SLOW)
        yield new


@contextlib.contextmanager
def migrate(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source that rdiff-backup kept until now: its first pull imports that tree before."""
    with _new_source(stand) as new:
        random_file(new.source.data / "big", dice.randrange(24, 32) * MEGABYTE)
        tree = new.home.legacy(new.name)
        subprocess.run(
            ["rdiff-backup", "--api-version", "201", "--current-time", str(int(time.time()) - 86400), "backup",
             new.source.data, tree],
            check=True, capture_output=True,
        )  # fmt: skip
        # It has been there for long: what a power cut takes of it is not ours to bring back.
        os.sync()
        # Not copied from the source: rdiff-backup keeps whole seconds.
        for name in ("tree", "old"):
            subprocess.run(["cp", "-a", tree, new.folder / f"{name}-{new.name}"], check=True)
        shutil.rmtree(old_state(new) / "rdiff-backup-data")
        (new.source.data / "new").write_text("new")
        random_file(new.source.data / "more", 4 * MEGABYTE)
        new.pbs.add(new.name, new.source, *MANUAL, *SLOW)
        yield new
        shutil.rmtree(old_state(new))


@contextlib.contextmanager
def retain(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source with one snapshot too many after its next pull, which then removes the oldest."""
    with _new_source(stand) as new:
        new.pbs.add(new.name, new.source, *MANUAL, "--set", "keep={last=2}", "--set", "keep_least=1")
        for _ in range(2):
            random_file(new.source.data / "big", dice.randrange(2, 6) * MEGABYTE)
            new.pbs.pull(new.name)
        yield new


@contextlib.contextmanager
def prunable(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source whose repository holds data that no snapshot needs any more."""
    with _new_source(stand) as new:
        new.pbs.add(new.name, new.source, *MANUAL, "--set", "keep={last=1}", "--set", "keep_least=1")
        for _ in range(2):
            # Not so much that it looks as if somebody encrypted it: nothing would be removed then.
            random_file(new.source.data / "big", dice.randrange(4, 9) * MEGABYTE)
            new.pbs.pull(new.name)
        yield new


@contextlib.contextmanager
def leftover(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source whose repository holds what nobody admitted: a snapshot, and packs that are none. The next pull moves them away."""
    with _new_source(stand) as new:
        new.pbs.add(new.name, new.source, *MANUAL)
        new.remember(new.pbs.pull(new.name)["snapshot"])
        strange = new.folder / f"strange-{new.name}"
        random_file(strange / "file", dice.randrange(1, 3) * MEGABYTE)
        made = new.pbs.restic("backup", str(strange), name=new.name)
        assert made.returncode == 0, made.stderr
        for name, content in JUNK.items():
            (new.pbs.repository(new.name) / "data" / name[:2] / name).write_bytes(content)
        yield new
        shutil.rmtree(strange)


def set_aside_once(stand: Stand) -> None:
    """Whoever died at it: each file lies in quarantine, once, and none in the repository."""
    place = stand.home.quarantine(stand.name)
    moved = Counter(path.name for path in place.rglob("*") if path.is_file())
    assert {1} == {moved[name] for name in JUNK}, moved
    there = {path.name for path in (stand.pbs.repository(stand.name) / "data").rglob("*")}
    assert not there & JUNK.keys()


@contextlib.contextmanager
def restorable(stand: Stand, dice: random.Random) -> Iterator[Stand]:
    """A source of many small files, whose newest snapshot is restored on the server; that takes some moments."""
    with _new_source(stand) as new:
        for number in range(dice.randrange(1200, 1800)):
            random_file(new.source.data / f"many-{number % 50}/{number}", 2000)
        new.pbs.add(new.name, new.source, *MANUAL)
        new.remember(new.pbs.pull(new.name)["snapshot"])
        # It has been there for long.
        os.sync()
        yield new
        shutil.rmtree(new.home.restored, ignore_errors=True)


def whole_or_not_there(stand: Stand) -> None:
    """What was told as restored is there; whatever has the name of a run is identical, whoever died; nothing else is left."""
    from pbs.restore import compare, halves

    place, like = stand.home.restored, next(iter(stand.known.values()))
    eventually(lambda: not halves(place), PATIENCE, "the end of what is half restored")
    runs = [run for run in stand.runs() if run.source == stand.name and run.kind is Kind.RESTORE]
    there = {path.name for path in place.iterdir()} if place.exists() else set()
    assert {run.id for run in runs if run.outcome is Outcome.OK} <= there
    assert there <= {run.id for run in runs if run.outcome in (Outcome.OK, Outcome.INTERRUPTED)}
    for each in there:
        difference = compare(like, place / each)
        assert not difference, difference


def removed_or_not(stand: Stand) -> None:
    """What the ledger calls admitted lies there, what it calls forgotten does not, and the rules hold in the end."""
    there = {path.name for path in (stand.pbs.repository(stand.name) / "snapshots").iterdir()}
    states = stand.receipts()
    assert {each for each, state in states.items() if state == "admitted"} <= there
    assert not {each for each, state in states.items() if state == "forgotten"} & there
    assert list(states.values()).count("admitted") == 2
    assert "forgotten" in states.values()


def old_state(stand: Stand) -> Path:
    """What the legacy tree of this source held as its newest state."""
    return stand.folder / f"old-{stand.name}"


def imported_once(stand: Stand) -> None:
    """There is one imported snapshot; it holds the old state, the old tree is as it was, and a live one is newer."""
    from pbs.restore import compare

    states = stand.receipts()
    (legacy,) = [snapshot for snapshot, state in states.items() if state == "legacy"]
    stand.restores(legacy, old_state(stand))
    assert list(states.values()).count("admitted") >= 1
    imports = [run for run in stand.runs() if run.source == stand.name and run.kind is Kind.MIGRATE]
    assert [Outcome.OK] == [run.outcome for run in imports if run.outcome in (Outcome.OK, Outcome.PARTIAL)]
    copy = stand.folder / f"tree-{stand.name}"
    difference = compare(copy, stand.home.legacy(stand.name))
    assert not difference, difference
    shutil.rmtree(copy)


KINDS = {
    "first": RunKind(PULL, first),
    "unchanged": RunKind(PULL, unchanged),
    "changed": RunKind((*PULL, *INNER), changed),
    "leftover": RunKind(("aside",), leftover, set_aside_once),
    "retain": RunKind(("retention",), retain, removed_or_not),
    "migrate": RunKind(("import", *PULL), migrate, imported_once),
    "prune": RunKind(("prune", "structure"), prunable, words=("retain", "--prune")),
    "restore": RunKind(("repository", "restore"), restorable, whole_or_not_there, words=("restore",)),
    "check": RunKind(("reading", "structure"), unchanged, words=("check",)),
}

EVERY = tuple(dict.fromkeys(stage for kind in KINDS.values() for stage in kind.stages))


@contextlib.contextmanager
def _new_source(stand: Stand) -> Iterator[Stand]:
    """A machine and a name that this home has not seen; afterwards nothing of it is left."""
    name = f"s{next(_numbers)}"
    with contextlib.ExitStack() as stack:
        source = SourceHost(stand.folder / name, address=stand.source.address, within=stand.source.within)
        stack.callback(shutil.rmtree, source.root, ignore_errors=True)
        grow(source.data, files=12)
        source.start()
        stack.callback(source.stop)
        yield replace(stand, source=source, name=name, known={})
        stand.pbs("source", "remove", name, "--purge", "--yes")
        shutil.rmtree(stand.home.legacy(name), ignore_errors=True)

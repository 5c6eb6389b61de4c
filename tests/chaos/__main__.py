"""The matrix of faults: everything that can be killed, cut or filled up, at every stage of every kind of run.

Plays in an order, at moments and with sizes that a seed decides; says of each play whether everything held afterwards,
and how to repeat exactly that one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "scenarios"))
sys.path.insert(0, str(Path(__file__).parent))
from aftermath import Stand
from catalogue import Move, matrix, named
from scenes import Ground, Missed, plain, play

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass
class Result:
    """How one play went: `survived`, `failed`, or `missed` where there was nothing to strike."""

    play: str
    result: str
    seconds: float
    ended: str = ""
    why: str = ""
    again: str = ""


class Theatre:
    """Plays one move after the other; the plain ground is kept for as long as everything holds on it."""

    def __init__(self, seed: int, *, keep: bool) -> None:
        self._seed, self._keep = seed, keep
        self._stack = contextlib.ExitStack()
        self._plain: Stand | None = None

    @contextlib.contextmanager
    def _on(self, ground: Ground) -> Iterator[Stand]:
        if ground is not plain:
            with ground() as made:
                yield made
            return
        if self._plain is None:
            self._plain = self._stack.enter_context(ground())
        yield self._plain

    def close(self) -> None:
        """Leave nothing behind."""
        self._plain = None
        self._stack.close()

    def perform(self, move: Move) -> Result:
        """One play, from a ready home to everything having been looked at."""
        since = time.monotonic()
        # By name, so that its dice fall the same without the plays before it.
        dice = random.Random(f"{self._seed} {move.name}")
        found = Result(move.name, "failed", 0.0)
        try:
            with self._on(move.fault.ground) as stand:
                try:
                    found.ended = play(stand, move.fault, move.place, dice, thorough=True)
                    found.result = "survived"
                except Missed as error:
                    found.result, found.why = "missed", str(error)
                except BaseException:
                    self._keep_what_is_left(stand)
                    raise
        except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, the play has failed and the others go on
            found.why = traceback.format_exc()
            found.again = f"scripts/chaos --seed {self._seed} --play {shlex.quote(move.name)}"
            self.close()
        found.seconds = round(time.monotonic() - since, 1)
        return found

    def _keep_what_is_left(self, stand: Stand) -> None:
        if self._keep:
            kept = stand.folder.with_name(f"{stand.folder.name}-kept")
            subprocess.run(["cp", "-a", stand.folder, kept], check=False)
            print(f"       what it looked like: {kept}", file=sys.stderr)
        else:
            print(stand.pbs.logs()[-4000:], file=sys.stderr)


def moves(asked: argparse.Namespace) -> Iterator[Move]:
    """What is to be played, in the seed's order, for as long as asked."""
    if asked.play:
        yield named(asked.play)
        return
    dice = random.Random(asked.seed)
    ends = time.monotonic() + asked.time if asked.time else None
    number = 0
    while number < asked.rounds or ends is not None:
        number += 1
        chosen = [
            move
            for move in matrix(number)
            if fnmatchcase(move.fault.name, asked.faults)
            and fnmatchcase(move.place.partition("/")[0], asked.kinds)
            and fnmatchcase(move.place.partition("/")[2], asked.stages)
        ]
        if not chosen:
            raise SystemExit("chaos: nothing has these names; --list shows all")
        dice.shuffle(chosen)
        mine, parts = asked.part
        for move in chosen[mine - 1 :: parts]:
            if ends is not None and time.monotonic() > ends:
                return
            yield move


def share(text: str) -> tuple[int, int]:
    """The numbers of `2/3`: which part, of how many."""
    mine, _, parts = text.partition("/")
    if not (mine.isdecimal() and parts.isdecimal() and 1 <= int(mine) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part of a number of parts, such as 2/3")
    return int(mine), int(parts)


def seconds(text: str) -> float:
    """The length of `30m`."""
    unit = UNITS.get(text[-1:])
    return float(text[:-1]) * unit if unit else float(text)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="decides order, moments and sizes (otherwise one is drawn)")
    parser.add_argument("--faults", default="*", metavar="GLOB", help="only faults with such a name")
    parser.add_argument("--kinds", default="*", metavar="GLOB", help="only on such kinds of run")
    parser.add_argument("--stages", default="*", metavar="GLOB", help="only at such stages")
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--rounds", type=int, default=1, help="the whole matrix so often (1)")
    much.add_argument(
        "--for", dest="time", type=seconds, metavar="30m", help="rounds until this time is over"
    )
    much.add_argument("--play", metavar="NAME", help="exactly this play: FAULT/KIND/STAGE")
    parser.add_argument(
        "--part", type=share, default=(1, 1), metavar="2/3",
        help="every third play, from the second one: with the same seed, three of these beside each other play all",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="store_true", help="keep a copy of the folders of a play that failed"
    )
    parser.add_argument(
        "--json", action="store_true", help="the report as one JSON document on standard output"
    )
    parser.add_argument("--list", action="store_true", help="name every play, and play none")
    asked = parser.parse_args(given)
    if asked.seed is None:
        asked.seed = random.SystemRandom().randrange(1, 10**6)
    return asked


def main() -> int:
    """Play, tell, and say with the exit code whether everything survived."""
    asked = arguments()
    if asked.list:
        for move in matrix():
            print(f"{move.name:44} {' '.join(move.fault.numbers):10} {move.fault.what}")
        return 0
    if os.geteuid() != 0:
        print("chaos: small disks, networks and mounts need root", file=sys.stderr)
        return 2
    theatre, results = Theatre(asked.seed, keep=asked.keep), []
    lines = sys.stderr if asked.json else sys.stdout
    print(f"seed {asked.seed}", file=lines, flush=True)
    try:
        for move in moves(asked):
            found = theatre.perform(move)
            results.append(found)
            print(
                f"{found.result:8} {found.play:44} {found.seconds:5.1f} s  {found.ended}",
                file=lines,
                flush=True,
            )
            if found.result == "failed":
                print(f"{found.why}\n  again: {found.again}", file=lines, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except ValueError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    finally:
        theatre.close()
    return report(asked, results)


def report(asked: argparse.Namespace, results: list[Result]) -> int:
    """The last words: how many were tried and survived."""
    counts = {word: sum(each.result == word for each in results) for word in ("survived", "failed", "missed")}
    tried = counts["survived"] + counts["failed"]
    if asked.json:
        print(
            json.dumps(
                {"seed": asked.seed, "tried": tried, **counts, "plays": [asdict(each) for each in results]},
                indent=1,
            )
        )
    else:
        for each in results:
            if each.result == "failed":
                print(f"failed: {each.play}; again: {each.again}")
        rest = f", {counts['missed']} found nothing to strike" if counts["missed"] else ""
        print(f"{tried} tried, {counts['survived']} survived{rest} (seed {asked.seed})")
    return 1 if counts["failed"] or not tried else 0


if __name__ == "__main__":
    sys.exit(main())

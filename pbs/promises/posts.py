"""How promises stand, as small files for those who look at files: SlapOS, Nagios, a shell. Written anew when they change.

Beside each file stands a program of the same name (etc/promise) that says it by its exit code. Neither holds a path of
the home, so it may be moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pbs.clock import stamp
from pbs.files import explained, make_folder, write
from pbs.home import Home
from pbs.promises.nouns import Health, Promise, State, worst, worst_first
from pbs.render import render
from pbs.text import clean_line

LOOKED = ".looked"
MOST_LINES = 200
# The names that operators of SlapOS know, and which promises of all sources answer to them.
OF_ALL = {
    "stalled-pull-push": ("fresh",),
    "notifier-feed-check-malformed-or-failure": ("feed", "last-run"),
}


def posts_of(health: Health) -> dict[str, str]:
    """What each file says. Pure."""
    by_source: dict[str, list[Promise]] = {}
    for each in health.promises:
        by_source.setdefault(each.source or "", []).append(each)
    found = {"server": _text(by_source.pop("", []))}
    for name, promises in by_source.items():
        found[f"backup-{name}"] = _text(promises)
        found[f"ssh-to-{name}-pull"] = _text(
            each for each in promises if each.name in ("configured", "reachable")
        )
    for post, names in OF_ALL.items():
        told = [each for promises in by_source.values() for each in promises if each.name in names]
        found[post] = _text(told) if by_source else f"{State.KEPT}\nthere is no source\n"
    return found


def _text(promises: Iterable[Promise]) -> str:
    given = list(promises)
    bad = [each for each in worst_first(given) if each.state is not State.KEPT]
    lines = [
        str(worst(each.state for each in given)),
        f"{len(given) - len(bad)} of {len(given)} promises are kept",
    ]
    return "\n".join([*lines, *_told(bad[:MOST_LINES])]) + "\n"


def _told(bad: Iterable[Promise]) -> Iterator[str]:
    for each in bad:
        about = f"{each.source}: " if each.source else ""
        advice = f" What to do: {each.hint}" if each.hint else ""
        yield clean_line(
            f"{about}{each.name} {each.state} since {stamp(each.since)}: {each.reason}.{advice}", 2000
        )


class Posts:
    """The files of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._written: dict[str, str] = {}

    def put(self, health: Health) -> None:
        """Write what changed, take away what is told no more, and say that somebody looked.

        Raises:
            HomeError: a file cannot be written.
        """
        with explained("write how promises stand", self._home.promises):
            self._put(posts_of(health))
        write(self._home.promises / LOOKED, f"{stamp(health.looked)}\n".encode(), lasting=False)

    def _put(self, wanted: dict[str, str]) -> None:
        if not self._written:
            self._begin(wanted)
        for name, text in wanted.items():
            if self._written.get(name) != text:
                write(self._home.promises / name, text.encode(), lasting=False)
                if name not in self._written:
                    self._add_check(name)
                self._written[name] = text
        for name in self._written.keys() - wanted.keys():
            self._remove(name)

    def _begin(self, wanted: dict[str, str]) -> None:
        """Take away what an earlier controller told and nobody tells any more."""
        for folder in (self._home.promises, self._home.checks):
            make_folder(folder)
        for path in sorted(self._home.promises.iterdir()):
            if path.name != LOOKED and path.name not in wanted:
                self._remove(path.name)

    def _add_check(self, name: str) -> None:
        path, text = self._home.checks / name, render("promise.sh.j2").encode()
        if not path.exists() or path.read_bytes() != text:
            write(path, text, mode=0o700, lasting=False)

    def _remove(self, name: str) -> None:
        for folder in (self._home.checks, self._home.promises):
            (folder / name).unlink(missing_ok=True)
        self._written.pop(name, None)

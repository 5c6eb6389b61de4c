"""The profile: what the operator of the source allows, read from one file and checked whole.

Errors name file and line and say what to write. It never writes, and it never reads any other file.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
import sys
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple

from pbs_agent import subset
from pbs_agent.words import PROFILE_NAME, Exit, StopWord

if sys.version_info >= (3, 11):
    import tomllib

_MOST_BYTES = 1024 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOOK_SECONDS = 300
_LONGEST_HOOK_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Hook:
    """A program of the operator's: an argument list that never meets a shell, and how long it may take."""

    arguments: Tuple[str, ...]
    seconds: int


@dataclass(frozen=True)
class Profile:
    """A checked profile. Exactly one of `path` and `paths` is set; all paths are absolute and normal."""

    file: str
    path: Optional[str] = None
    paths: Tuple[str, ...] = ()
    exclude: Tuple[str, ...] = ()
    one_file_system: bool = False
    restore: bool = False
    snapshot: str = "none"
    restic: Optional[str] = None
    tools: Optional[str] = None
    cache: Optional[str] = None
    sockets: Optional[str] = None
    nice: int = 0
    before: Optional[Hook] = None
    after: Optional[Hook] = None
    on_failure: Optional[Hook] = None

    @property
    def all_paths(self) -> Tuple[str, ...]:
        """What is backed up, however it was written."""
        return (self.path,) if self.path is not None else self.paths


def home_folder() -> Optional[str]:
    """The account's home as the user database has it, if it exists. The environment is not asked."""
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None
    return home if home.startswith("/") and os.path.isdir(home) else None


def candidates(name: str) -> List[str]:
    """The files that are looked for, in this order, when the command line names none."""
    home = home_folder()
    places = ["/etc/pbs-agent"] + ([f"{home}/.config/pbs-agent"] if home else [])
    return [f"{place}/{name}.toml" for place in places]


def load(name: str, file: Optional[str] = None) -> Profile:
    """The profile `name`, from `file` or the usual places. Stops with NOT_ALLOWED where there is no good one."""
    if not PROFILE_NAME.fullmatch(name):
        raise StopWord(Exit.NOT_ALLOWED, f"the name of a profile must match {PROFILE_NAME.pattern}")
    looked = [file] if file else candidates(name)
    for place in looked:
        text = _read(place)
        if text is not None:
            return parse(text, place)
    raise StopWord(
        Exit.NOT_ALLOWED,
        f"there is no profile {name}: looked for {' and '.join(looked)}. Whoever runs this machine allows the"
        ' backup by writing there, for example: path = "/srv/data"',
    )


def parse(text: str, file: str) -> Profile:
    """The profile in `text`; `file` is for messages."""
    return _Check(text, file, _toml(text, file)).profile()


def _read(file: str) -> Optional[str]:
    try:
        with open(file, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StopWord(Exit.NOT_ALLOWED, f"profile {file} cannot be read: {error.strerror}") from None
    if mode & stat.S_IWOTH:
        raise StopWord(Exit.NOT_ALLOWED, f"profile {file} can be changed by every user: chmod o-w {file}")
    if len(data) > _MOST_BYTES:
        raise StopWord(Exit.NOT_ALLOWED, f"profile {file} is larger than 1 MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StopWord(Exit.NOT_ALLOWED, f"{file} line {line}: not UTF-8") from None


def _toml(text: str, file: str) -> Dict[str, Any]:
    if sys.version_info >= (3, 11):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.fullmatch(
                r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL
            )
            reason, line = found.groups() if found else (str(error), None)
            raise _wrong(file, int(line or text.count("\n") + 1), reason) from None
        except (ValueError, RecursionError):  # a number of thousands of digits, a nest of thousands of lists
            raise _wrong(file, 1, "a value is too large") from None
    try:
        return subset.loads(text)
    except subset.SubsetError as error:
        raise _wrong(file, error.line, error.message) from None


def _wrong(file: str, line: int, reason: str) -> StopWord:
    return StopWord(Exit.NOT_ALLOWED, f"{file} line {line}: {reason}")


class _Check:
    """Takes the values out of a document one by one, each with its rule; what is left over is unknown."""

    def __init__(self, text: str, file: str, document: Dict[str, Any]) -> None:
        self.text = text
        self.file = file
        self.document = document

    def profile(self) -> Profile:
        hooks = self.take(self.document, "hooks", {}, "a table", lambda v: isinstance(v, dict))
        path = self.path("path")
        paths = self.paths()
        if (path is None) == (not paths):
            self.fail("paths" if path else "", 'write either path = "/srv/data" or paths = ["/a", "/b"]')
        values = Profile(
            file=self.file,
            path=path,
            paths=paths,
            exclude=self.strings(self.document, "exclude"),
            one_file_system=self.flag("one_file_system"),
            restore=self.flag("restore"),
            snapshot=self.snapshot(),
            restic=self.path("restic"),
            tools=self.path("tools"),
            cache=self.path("cache"),
            sockets=self.path("sockets"),
            nice=self.number(self.document, "nice", 0, 0, 19),
            before=self.hook(hooks, "before"),
            after=self.hook(hooks, "after"),
            on_failure=self.hook(hooks, "on_failure"),
        )
        self.nothing_left(self.document, "")
        self.nothing_left(hooks, "[hooks] ")
        return values

    def nothing_left(self, table: Dict[str, Any], where: str) -> None:
        for key in table:
            self.fail(key, f"{where}{key!r} is not a key of a profile")

    def fail(self, key: str, reason: str) -> NoReturn:
        found = re.search(rf"(?m)^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*[=.]", self.text) if key else None
        start = found.start() if found else 0
        raise _wrong(self.file, self.text.count("\n", 0, start) + 1, reason)

    def take(
        self, table: Dict[str, Any], key: str, default: Any, kind: str, good: Callable[[Any], bool]
    ) -> Any:
        if key not in table:
            return default
        value = table.pop(key)
        if not good(value):
            self.fail(key, f"{key} must be {kind}")
        return value

    def flag(self, key: str) -> bool:
        value: bool = self.take(self.document, key, False, "true or false", lambda v: isinstance(v, bool))
        return value

    def number(self, table: Dict[str, Any], key: str, default: int, least: int, most: int) -> int:
        kind = f"a whole number from {least} to {most}"
        value: int = self.take(table, key, default, kind, lambda v: type(v) is int and least <= v <= most)
        return value

    def strings(self, table: Dict[str, Any], key: str) -> Tuple[str, ...]:
        values = self.take(table, key, [], "a list of strings", lambda v: isinstance(v, list))
        for value in values:
            if not isinstance(value, str) or not value or _CONTROL.search(value):
                self.fail(key, f"{key} must be a list of strings, none empty, without control characters")
        return tuple(values)

    def path(self, key: str) -> Optional[str]:
        value = self.take(self.document, key, None, "a string", lambda v: isinstance(v, str))
        return None if value is None else self.absolute(key, value)

    def paths(self) -> Tuple[str, ...]:
        values = self.strings(self.document, "paths")
        if len(set(values)) != len(values):
            self.fail("paths", "paths names a path twice")
        return tuple(self.absolute("paths", value) for value in values)

    def absolute(self, key: str, value: str) -> str:
        if not value.startswith("/") or _CONTROL.search(value) or ".." in value.split("/"):
            self.fail(key, f"{key} must be an absolute path without .. and without control characters")
        return "/" + os.path.normpath(value).lstrip("/")

    def snapshot(self) -> str:
        value: str = self.take(self.document, "snapshot", "none", "a string", lambda v: isinstance(v, str))
        if value != "none":
            self.fail("snapshot", f'snapshot = "{value}" is not offered by this agent; only "none" is')
        return value

    def hook(self, hooks: Dict[str, Any], key: str) -> Optional[Hook]:
        arguments = self.strings(hooks, key)
        seconds = self.number(hooks, f"{key}_timeout", _HOOK_SECONDS, 1, _LONGEST_HOOK_SECONDS)
        if not arguments:
            return None
        return Hook((self.absolute(key, arguments[0]), *arguments[1:]), seconds)

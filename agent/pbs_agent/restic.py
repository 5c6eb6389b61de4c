"""restic: where it is, whether it is new enough, how it is called and what it says.

The only module that knows restic's options, exit codes and JSON. It never starts a backup itself and never sees a
password: that goes through a pipe whose number stands in the arguments.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from pbs_agent.profile import Profile, home_folder
from pbs_agent.programs import SYSTEM_PATH, environment
from pbs_agent.words import OLDEST_RESTIC, Event, Exit, Request, StopWord

_VERSION = re.compile(rb"restic (\d+)\.(\d+)(?:\.(\d+))?")
_VERSION_SECONDS = 20
_MEMO = "restic-version"  # in the cache: safe to delete
_MEMO_BYTES = 4096 + 1024
_NAMES_SHOWN = 4
_NAME_CHARACTERS = 4096
_OLDEST = ".".join(map(str, OLDEST_RESTIC))

_ENDINGS = {
    1: "restic failed",
    10: "there is no repository behind the socket: the server has to make it, or its disk is not mounted",
    11: "the repository is locked by another restic: if none is running, the server has to unlock it",
    12: "the password that the server handed over does not open the repository",
    130: "restic was interrupted",
}


@dataclass(frozen=True)
class Tool:
    """A restic that is new enough."""

    file: str
    version: str


def find(profile: Profile) -> Tool:
    """The first restic that is new enough. Stops with TOOL_MISSING and says what was found instead."""
    old = []
    for file in _places(profile):
        if os.access(file, os.X_OK) and os.path.isfile(file):
            version = _version(file, cache_folder(profile))
            if version and version >= OLDEST_RESTIC:
                return Tool(file, ".".join(map(str, version)))
            old.append(
                f"{file} is {'.'.join(map(str, version))}" if version else f"{file} does not tell its version"
            )
    found = f"too old: {'; '.join(old)}" if old else f"missing: looked for {', '.join(_places(profile))}"
    raise StopWord(
        Exit.TOOL_MISSING,
        f"restic is {found}. Install {_OLDEST} or newer, or put one beside the agent,"
        ' or name it in the profile: restic = "/path/to/restic"',
    )


def _places(profile: Profile) -> List[str]:
    """Where restic may be, best first. A profile that names one means that one and no other."""
    if profile.restic:
        return [profile.restic]
    beside = os.path.dirname(os.path.realpath(sys.argv[0]))
    folders = ([profile.tools] if profile.tools else []) + [beside, *SYSTEM_PATH.split(":")]
    return list(dict.fromkeys(f"{folder}/restic" for folder in folders))


def _version(file: str, folder: Optional[str]) -> Optional[Tuple[int, ...]]:
    """What it says of itself, or what this very file said before: a start of restic less for each word."""
    memo = f"{folder}/{_MEMO}"
    try:
        found = os.stat(file.encode())
        state = [file, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    except OSError:
        return None
    version = _remembered(memo, state) if folder else None
    if version is None:
        version = _asked(file)
        if folder and version:
            _remember(memo, [*state, *version])
    return version


def _remembered(memo: str, state: List[Any]) -> Optional[Tuple[int, ...]]:
    try:
        with open(memo.encode(), "rb") as file:
            said = json.loads(file.read(_MEMO_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(said, list) or said[: len(state)] != state:
        return None
    version = said[len(state) :]
    return tuple(version) if len(version) == 3 and all(type(part) is int for part in version) else None


def _remember(memo: str, said: List[Any]) -> None:
    beside = f"{memo}.{os.getpid()}".encode()
    with contextlib.suppress(OSError):  # a full disk costs a start of restic
        with open(beside, "w") as file:
            json.dump(said, file)
        os.replace(beside, memo.encode())


def _asked(file: str) -> Optional[Tuple[int, ...]]:
    try:
        done = subprocess.run(
            [file.encode(), b"version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            env=environment(),
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.match(done.stdout)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def cache_folder(profile: Profile) -> Optional[str]:
    """A folder for restic's cache that we can write, made if need be; None if there is none."""
    home = home_folder()
    usual = [f"{home}/.cache/pbs-agent/restic"] if home else []
    for place in [profile.cache] if profile.cache else [*usual, f"/var/cache/pbs-agent-{os.getuid()}"]:
        try:
            os.makedirs(place, 0o700, exist_ok=True)
        except OSError:
            continue
        if os.stat(place).st_uid == os.getuid() and os.access(place, os.W_OK | os.X_OK):
            return place
    return None


def arguments(tool: Tool, profile: Profile, request: Request, password: Optional[int]) -> Tuple[str, ...]:
    """The command line of a backup. `password` is the number of the descriptor to read it from.

    Values are joined to their options by "=", so none of them can become an option.
    """
    cache = cache_folder(profile)
    words = [tool.file, f"--repo=rest:http+unix://{request.socket}:/"]
    words.append("--insecure-no-password" if password is None else f"--password-file=/dev/fd/{password}")
    # Tried first: whatever else was put beside it is then never looked at.
    words += [f"--key-hint={request.key}"] if request.key else []
    words.append("--no-cache" if cache is None else f"--cache-dir={cache}")
    for option, rate in (("upload", request.upload), ("download", request.download)):
        if rate is not None:
            words.append(f"--limit-{option}={max(1, -(-rate // 1024))}")
    words += ["backup", "--json", f"--host={request.source}"]
    words += [f"--tag={tag}" for tag in request.tags]
    # The server decides on the parent. Left alone, restic would look for one by itself.
    forced = request.force or request.parent is None
    words.append("--force" if forced else f"--parent={request.parent}")
    words += [] if request.scan else ["--no-scan"]
    words += [f"--ignore-{name}" for name in request.ignore]
    words += ["--one-file-system"] if profile.one_file_system else []
    words += [f"--exclude={pattern}" for pattern in profile.exclude]
    words += [f"--exclude={_literal(cache)}"] if cache else []
    return (*words, "--", *(["."] if profile.path else profile.paths))


def _literal(path: str) -> str:
    """A pattern that matches this path and no other."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


def ending(status: int) -> str:
    """One sentence for an exit status of restic that is neither 0 nor 3."""
    if status < 0:
        return f"restic was killed by signal {-status}: if nobody did that, the machine may have run out of memory"
    return _ENDINGS.get(status, f"restic failed with exit status {status}")


def progress(message: Dict[str, Any]) -> Dict[str, Any]:
    """The fields of our progress event in a status line of restic."""
    total = _count(message.get("total_bytes"))
    done = message.get("percent_done")
    names = message.get("current_files")
    return {
        "percent": round(100.0 * done, 1) if total and isinstance(done, (int, float)) else None,
        "files": _count(message.get("files_done")) or 0,
        "bytes": _count(message.get("bytes_done")) or 0,
        "total_files": _count(message.get("total_files")),
        "total_bytes": total,
        "current": [str(n)[:_NAME_CHARACTERS] for n in names[:_NAMES_SHOWN]]
        if isinstance(names, list)
        else [],
        "seconds_left": _count(message.get("seconds_remaining")),
    }


def warning(message: Dict[str, Any]) -> Dict[str, Any]:
    """The fields of our warning event in an error line of restic."""
    error = message.get("error")
    reason = error.get("message") if isinstance(error, dict) else error
    return {
        "path": str(message.get("item") or "")[:_NAME_CHARACTERS],
        "reason": str(reason or error)[:_NAME_CHARACTERS],
    }


def kind(message: Dict[str, Any]) -> Optional[Event]:
    """Which event a line of restic becomes; None for one that is kept to ourselves."""
    name = message.get("message_type")
    known = {"status": Event.PROGRESS, "error": Event.WARNING, "summary": Event.SUMMARY}
    if name == "error" and message.get("during") == "scan":
        return None  # the scan runs ahead and meets the same folder first
    return known.get(name) if isinstance(name, str) else None


def _count(value: Any) -> Optional[int]:
    return value if type(value) is int and value > 0 else None

"""The agent's socket folder: where it lies, that it is ours alone, and what lives in it.

It removes sockets only, only in that folder, only where nobody answers; never any other file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import time
from typing import List, Optional

from pbs_agent.profile import home_folder
from pbs_agent.words import SOCKET_NAME_BYTES, SOCKET_PATH_BYTES, Exit, StopWord

_PLAIN = re.compile(r"/[A-Za-z0-9/._+@-]+")  # the path becomes part of a URL
_PROBE_SECONDS = 5.0
_SECOND_LOOK_SECONDS = 0.05


def folder(wanted: Optional[str] = None) -> str:
    """The socket folder, made if need be: `wanted` by the profile, else the first usable of the usual ones."""
    places = [wanted] if wanted else usual_places()
    reasons = []
    for place in places:
        reason = _prepare(place)
        if reason is None:
            return place
        reasons.append(f"{place} {reason}")
    raise StopWord(
        Exit.FAILED,
        f'no folder for sockets is usable: {"; ".join(reasons)}. Write sockets = "/a/short/folder" into the profile',
    )


def usual_places() -> List[str]:
    """Where the folder may lie when the profile does not say, best first."""
    user = os.getuid()
    places = []
    session = f"/run/user/{user}"
    if os.path.isdir(session) and os.stat(session).st_uid == user:
        places.append(f"{session}/pbs-agent")
    if user == 0:
        places.append("/run/pbs-agent")
    home = home_folder()
    if home and home != "/":
        places.append(f"{home.rstrip('/')}/.cache/pbs-agent/s")
    return [*places, f"/tmp/pbs-agent-{user}"]  # noqa: S108 - who owns it is checked


def _prepare(place: str) -> Optional[str]:
    """Make the folder if it is not there. None if it is fit for use, else what is wrong with it."""
    if len(place.encode()) + SOCKET_NAME_BYTES > SOCKET_PATH_BYTES:
        return f"is longer than {SOCKET_PATH_BYTES - SOCKET_NAME_BYTES} bytes"
    if not _PLAIN.fullmatch(place):
        return "holds a character that a URL cannot carry"
    try:
        _make(place)
        found = os.lstat(place)
    except OSError as error:
        return f"cannot be made ({error.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder"
    if found.st_uid != os.getuid():
        return f"belongs to another user (number {found.st_uid})"
    if stat.S_IMODE(found.st_mode) != 0o700:
        return "is open to other users (chmod 0700 it)"
    return _open_parent(place)


def _make(place: str) -> None:
    missing = []
    while not os.path.lexists(place):
        missing.append(place)
        place = os.path.dirname(place)
    for step in reversed(missing):
        try:
            os.mkdir(step, 0o700)
        except FileExistsError:  # somebody was faster; what it is gets checked all the same
            continue


def _open_parent(place: str) -> Optional[str]:
    """What is wrong above the folder: whoever may rename it may put another in its place."""
    while place != "/":
        place = os.path.dirname(place)
        found = os.stat(place)
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            return f"lies in {place}, where every user may rename it"
    return None


def check_place(path: str, home: str) -> None:
    """Stop with BAD_REQUEST unless `path` lies directly in the folder `home` and is no symbolic link."""
    if os.path.dirname(path) != home:
        raise StopWord(Exit.BAD_REQUEST, f"socket must lie directly in {home}, the folder that ping names")
    if os.path.islink(path):
        raise StopWord(Exit.BAD_REQUEST, "socket must not be a symbolic link")


def probe(path: str) -> None:
    """Stop unless a repository answers behind the socket. restic alone would try for 15 minutes."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise _dead(
            f"there is no socket at {path} ({error.strerror}): the server has to forward it first"
        ) from None
    if not stat.S_ISSOCK(mode):
        raise _dead(f"{path} is not a socket")
    try:
        answer = _ask(path)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise _dead(f"nobody answers at the socket ({reason}): is the tunnel up?") from None
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    if not status:
        raise _dead(
            "the socket accepts but no HTTP comes back: the server's endpoint behind the tunnel is down"
        )
    if status.group(1) == b"404":
        raise _dead(
            "there is no repository behind the socket: the server has to make it, or its disk is not mounted"
        )
    if status.group(1) != b"200":
        raise _dead(
            f"the server's endpoint answers HTTP {status.group(1).decode()} instead of the repository's config"
        )


def _ask(path: str) -> bytes:
    """The beginning of the answer to a request for the repository's config, within a few seconds in all."""
    end = time.monotonic() + _PROBE_SECONDS
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(_PROBE_SECONDS)
        link.connect(path)
        link.sendall(b"GET /config HTTP/1.0\r\nHost: localhost\r\n\r\n")
        while b"\n" not in answer and len(answer) < 4096:
            link.settimeout(max(0.01, end - time.monotonic()))
            data = link.recv(4096)
            if not data:
                break
            answer += data
    return answer


def clear(home: str, keep: Optional[str] = None) -> int:
    """Remove dead sockets from the folder, except the one at `keep`; how many there were."""
    with os.scandir(home) as entries:
        paths = [f"{home}/{entry.name}" for entry in entries]
    dead = {path: _number(path) for path in paths if path != keep and _refused(path)}
    if dead:
        time.sleep(_SECOND_LOOK_SECONDS)  # a socket is there a moment before its listener is
    removed = 0
    for path, number in dead.items():
        if _refused(path) and _number(path) == number:
            with contextlib.suppress(FileNotFoundError):  # the agent of another profile was faster
                os.unlink(path)
                removed += 1
    return removed


def _number(path: str) -> Optional[int]:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def _refused(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(1.0)
            link.connect(path)
    except OSError as error:  # gone, busy or not ours is not dead
        return error.errno == errno.ECONNREFUSED
    return False


def _dead(message: str) -> StopWord:
    return StopWord(Exit.FAILED, message)

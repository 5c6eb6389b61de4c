"""Do a word: look at the ground it stands on, say hello, act, say the end.

One place turns every kind of stop into the `end` event and the exit status. It never parses what came from outside.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, TypeVar

from pbs_agent import __version__, restic, sockets
from pbs_agent import profile as profiles
from pbs_agent.backup import End, backup, check_folder, check_paths
from pbs_agent.profile import Profile
from pbs_agent.reply import Reply
from pbs_agent.words import OFFERED, PROTOCOL, Event, Exit, StopWord, Word

_FLUSH_SECONDS = 2.0
# A greeting is one line, and the server takes no line without end.
_MOST_PATHS_TOLD = 20
_T = TypeVar("_T")


@dataclass(frozen=True)
class Ground:
    """What a word stands on. A part that is missing has its reason among `problems`, the first one first."""

    name: Optional[str]
    profile: Optional[Profile]
    tool: Optional[restic.Tool]
    folder: Optional[str]
    problems: Dict[str, StopWord]

    def need(self, *parts: str) -> None:
        """Stop with the first problem of these parts."""
        for part in parts:
            if part in self.problems:
                raise self.problems[part]


def survey(name: Optional[str], file: Optional[str]) -> Ground:
    """Look at everything at once, so that hello can tell whatever there is to tell."""
    problems: Dict[str, StopWord] = {}

    def attempt(part: str, look: Callable[[], _T]) -> Optional[_T]:
        try:
            return look()
        except StopWord as stop:
            problems[part] = stop
            return None

    profile = attempt("profile", lambda: _load(name, file))
    if profile is None:
        return Ground(name, None, None, None, problems)
    known = profile
    tool = attempt("restic", lambda: restic.find(known))
    folder = attempt("folder", lambda: sockets.folder(known.sockets))
    attempt("paths", lambda: check_paths(known, name or ""))
    if folder is not None and "paths" not in problems:
        place = folder
        attempt("place", lambda: check_folder(known, place))
    return Ground(name, profile, tool, folder, problems)


def _load(name: Optional[str], file: Optional[str]) -> Profile:
    if name is None:
        raise StopWord(
            Exit.NOT_ALLOWED,
            "the agent was started without --profile NAME: write it into the command= of the authorized_keys line",
        )
    return profiles.load(name, file)


def answer(word: Word, name: Optional[str], file: Optional[str], reply: Reply) -> Exit:
    """Carry out one word from hello to end. Never raises."""
    try:
        ground = survey(name, file)
        reply.send(Event.HELLO, _hello(ground))
        end = _act(word, ground, reply)
    except StopWord as stop:
        end = End(stop.code, stop.message)
    except Exception as error:  # noqa: BLE001 - the border: a fault of ours must still end with an event
        reply.say(traceback.format_exc())
        end = End(Exit.FAILED, f"the agent itself failed: {type(error).__name__}: {error}")
    return finish(end, reply)


def finish(end: End, reply: Reply) -> Exit:
    """Say the end, to the controller and to people."""
    reply.send(Event.END, end.fields())
    if end.code is not Exit.OK:
        reply.say(f"pbs-agent: {end.message}")
    reply.flush(_FLUSH_SECONDS)
    return end.code


def _hello(ground: Ground) -> Dict[str, Any]:
    paths = list(ground.profile.all_paths) if ground.profile else []
    return {
        "protocol": PROTOCOL,
        "agent": __version__,
        "restic": ground.tool.version if ground.tool else None,
        "profile": ground.name,
        "socket_folder": ground.folder,
        "restore": bool(ground.profile and ground.profile.restore),
        "free_bytes": _free_bytes(paths),
        "paths": paths[:_MOST_PATHS_TOLD],
        "words": [word.value for word in OFFERED],
    }


def _free_bytes(paths: List[str]) -> Optional[int]:
    if not paths:
        return None
    try:
        room = os.statvfs(paths[0].encode())
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def _act(word: Word, ground: Ground, reply: Reply) -> End:
    ground.need("profile")
    if word is Word.PING:
        return _ping(ground)
    if word is Word.CLEAR:
        return _clear(ground)
    if word is Word.BACKUP:
        return _backup(ground, reply)
    allowed = ground.profile is not None and ground.profile.restore
    reason = (
        "is not offered by this agent yet" if allowed else "is not allowed by the profile (restore = false)"
    )
    raise StopWord(Exit.NOT_ALLOWED, f"{word.value} {reason}")


def _ping(ground: Ground) -> End:
    ground.need("restic", "folder", "paths", "place")
    return End(Exit.OK, "ready")


def _clear(ground: Ground) -> End:
    ground.need("folder")
    count = sockets.clear(ground.folder or "")
    return End(Exit.OK, "removed one dead socket" if count == 1 else f"removed {count} dead sockets")


def _backup(ground: Ground, reply: Reply) -> End:
    ground.need("restic", "folder")
    if not (ground.name and ground.profile and ground.tool and ground.folder):  # need() has said so already
        raise StopWord(Exit.FAILED, "the agent is not ready")
    return backup(ground.name, ground.profile, ground.tool, ground.folder, reply)


def report(name: Optional[str], file: Optional[str]) -> Exit:
    """Tell a person what would be backed up and whether all is well."""
    ground = survey(name, file)
    lines = [f"profile    {name or '-'}" + (f" ({ground.profile.file})" if ground.profile else "")]
    if ground.profile:
        lines += [f"path       {path}" for path in ground.profile.all_paths]
        lines += [f"exclude    {pattern}" for pattern in ground.profile.exclude]
        lines += [f"restore    {'allowed' if ground.profile.restore else 'not allowed'}"]
        for key, hook in (("before", ground.profile.before), ("after", ground.profile.after)):
            lines += [f"{key:<10} {' '.join(hook.arguments)}"] if hook else []
    lines += [f"restic     {ground.tool.version} ({ground.tool.file})"] if ground.tool else []
    lines += [f"sockets    {ground.folder}"] if ground.folder else []
    lines += [f"problem    {problem.message}" for problem in ground.problems.values()]
    lines += [] if ground.problems else ["ready"]
    sys.stdout.write("\n".join(lines) + "\n")
    return next(iter(ground.problems.values())).code if ground.problems else Exit.OK

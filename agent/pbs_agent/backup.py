"""The word `backup`: look first, then freeze, run restic over the forwarded socket, thaw, and say how it ended.

It trusts nothing but the profile and a checked request, and it never outlives the controller that asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional

from pbs_agent import programs, restic, sockets
from pbs_agent.profile import Hook, Profile
from pbs_agent.programs import Program, TimeoutExpiredError
from pbs_agent.reply import Reply
from pbs_agent.transcript import Tail, Transcript
from pbs_agent.watch import GoneError, Watch
from pbs_agent.words import Exit, Request, StopWord, outcome_of, parse_request

_MOURNING_SECONDS = 3.0  # what on_failure gets when nobody waits for it any more
_MOURNING_GRACE_SECONDS = 0.5


@dataclass(frozen=True)
class End:
    """The last event of a reply and the exit status with it."""

    code: Exit
    message: str
    snapshot: Optional[str] = None
    unreadable: int = 0
    root: Optional[Dict[str, int]] = None

    def fields(self) -> Dict[str, Any]:
        """The fields of the `end` event."""
        return {
            "outcome": outcome_of(self.code).value,
            "message": self.message,
            "snapshot": self.snapshot,
            "unreadable": self.unreadable,
            "root": self.root,
            "exit": int(self.code),
        }


def check_paths(profile: Profile, name: str) -> None:
    """Stop unless everything that the profile names is there and can be entered."""
    for path in profile.all_paths:
        try:
            mode = os.stat(path.encode()).st_mode
        except OSError as error:
            problem = (
                "does not exist"
                if isinstance(error, FileNotFoundError)
                else f"cannot be read ({error.strerror})"
            )
            raise StopWord(Exit.FAILED, f"path {path} of profile {name} {problem}") from None
        if profile.path and not stat.S_ISDIR(mode):
            raise StopWord(
                Exit.FAILED, f'path {path} of profile {name} is no folder: write paths = ["{path}"]'
            )
        if not os.access(path.encode(), os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
            account = f"the account with number {os.getuid()}"
            raise StopWord(Exit.FAILED, f"path {path} of profile {name} cannot be read by {account}")


def check_folder(profile: Profile, folder: str) -> None:
    """Stop if the backup would hold the folder that its own tunnel ends in."""
    real = os.path.realpath(folder)
    for path in profile.all_paths:
        top = os.path.realpath(path.encode()).decode("utf-8", "replace")
        elsewhere = profile.one_file_system and os.stat(real).st_dev != os.stat(path.encode()).st_dev
        if (
            _lies_in(real, top)
            and not elsewhere
            and not any(_lies_in(real, e.rstrip("/")) for e in profile.exclude)
        ):
            raise StopWord(
                Exit.FAILED,
                f"the agent's socket folder {folder} lies in {path}, which is backed up: add"
                f' exclude = ["{real}"] to the profile, or sockets = "/another/folder"',
            )


def _lies_in(path: str, top: str) -> bool:
    return top.startswith("/") and (path == top or path.startswith(top.rstrip("/") + "/"))


def backup(name: str, profile: Profile, tool: restic.Tool, folder: str, reply: Reply) -> End:
    """Carry out one backup. Raises StopWord for what was found out before it began."""
    watch = Watch(reply)
    try:
        request = _request(watch)
        sockets.check_place(request.socket, folder)
        check_paths(profile, name)
        check_folder(profile, folder)
        with _lock(f"{folder}/{name}.lock", name) as lock:
            sockets.clear(folder, keep=request.socket)
            sockets.probe(request.socket)
            return _Backup(name, profile, request, watch, reply).run(tool, lock)
    except GoneError as gone:
        return End(Exit.FAILED, f"stopped: {gone}")


def _request(watch: Watch) -> Request:
    try:
        return parse_request(watch.request())
    except GoneError as gone:
        raise StopWord(Exit.BAD_REQUEST, f"there is no whole request: {gone}") from None


@contextlib.contextmanager
def _lock(file: str, name: str) -> Iterator[int]:
    """One backup of a profile at a time. restic inherits the lock, so it ends with the last of us."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        raise StopWord(Exit.BUSY, f"another backup of profile {name} is running on this machine") from None
    finally:
        os.close(lock)


class _Backup:
    """One backup that passed every check."""

    def __init__(self, name: str, profile: Profile, request: Request, watch: Watch, reply: Reply) -> None:
        self._profile = profile
        self._request = request
        self._watch = watch
        self._reply = reply
        self._variables = (("PBS_PROFILE", name), ("PBS_RUN", request.run))

    def run(self, tool: restic.Tool, lock: int) -> End:
        """Hooks around restic: after `before`, exactly one of `after` and `on_failure` runs, whatever happens."""
        try:
            end = self._freeze() or self._restic(tool, lock)
        except GoneError:
            self._hook("on_failure", self._profile.on_failure, mourning=True)
            raise
        if end.snapshot is None:
            problem = self._hook("on_failure", self._profile.on_failure)
            return _with(end, end.code, problem)
        problem = self._hook("after", self._profile.after)
        return _with(end, Exit.PARTIAL if problem else end.code, problem)

    def _freeze(self) -> Optional[End]:
        problem = self._hook("before", self._profile.before)
        return End(Exit.FAILED, f"no backup was made: {problem}") if problem else None

    def _restic(self, tool: restic.Tool, lock: int) -> End:
        root = _root(self._profile)
        transcript = Transcript(self._reply)
        password = _pipe_with(self._request.password)
        keep = (lock,) if password is None else (lock, password)
        program = Program(
            restic.arguments(tool, self._profile, self._request, password),
            folder=self._profile.path or "/",
            environment=(("RESTIC_PROGRESS_FPS", "1"),),
            keep=keep,
            nice=self._profile.nice,
        )
        try:
            status = programs.run(self._watch, program, transcript.out, transcript.err)
        except OSError as error:
            return End(Exit.FAILED, f"{tool.file} could not be started: {error.strerror}")
        finally:
            if password is not None:
                os.close(password)
        return _judge(status, transcript, root)

    def _hook(self, key: str, hook: Optional[Hook], *, mourning: bool = False) -> Optional[str]:
        """Run a hook. None if all is well, else one sentence. Its output goes to our standard error."""
        if hook is None:
            return None
        tail = Tail(self._reply)
        seconds = min(_MOURNING_SECONDS, hook.seconds) if mourning else hook.seconds
        grace = _MOURNING_GRACE_SECONDS if mourning else programs.GRACE_SECONDS
        program = Program(hook.arguments, environment=self._variables)
        try:
            status = programs.run(
                self._watch, program, tail.line, tail.line, seconds, heedless=mourning, grace=grace
            )
        except TimeoutExpiredError:
            return f"the hook {key} took longer than {seconds:.0f} seconds and was ended"
        except OSError as error:
            return f"the hook {key} could not be started: {error.strerror}"
        return None if status == 0 else f"the hook {key} ended with status {status}{tail.quoted('it')}"


def _with(end: End, code: Exit, problem: Optional[str]) -> End:
    message = f"{end.message}; {problem}" if problem else end.message
    return End(code, message, end.snapshot, end.unreadable, end.root)


def _judge(status: int, transcript: Transcript, root: Optional[Dict[str, int]]) -> End:
    """What restic's exit status and its words amount to."""
    said = transcript.tail.quoted("restic")
    if status not in (0, 3):
        return End(Exit.FAILED, restic.ending(status) + said, unreadable=transcript.unreadable)
    if transcript.snapshot is None:
        return End(Exit.FAILED, f"restic ended with {status} but named no snapshot{said}")
    if status == 0:
        return End(Exit.OK, "backup made", transcript.snapshot, transcript.unreadable, root)
    count = transcript.unreadable
    what = "one file or folder" if count == 1 else f"{count} files or folders"
    message = f"backup made, but {what} could not be read"
    return End(Exit.PARTIAL, message, transcript.snapshot, count, root)


def _root(profile: Profile) -> Optional[Dict[str, int]]:
    """The metadata of the one folder itself, which a snapshot made from inside it does not hold."""
    if profile.path is None:
        return None
    found = os.stat(profile.path.encode())
    mode = stat.S_IMODE(found.st_mode)
    return {"mode": mode, "uid": found.st_uid, "gid": found.st_gid, "mtime_ns": found.st_mtime_ns}


def _pipe_with(password: Optional[str]) -> Optional[int]:
    """The reading end of a pipe that holds the password and ends after it."""
    if password is None:
        return None
    reader, writer = os.pipe()
    os.write(writer, password.encode())  # checked to be far shorter than what a pipe holds
    os.close(writer)
    return reader

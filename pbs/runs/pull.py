"""A pull: open the door, connect, have the agent back up through it, shut the door, admit what came.

Each step leaves word in the run's log before it acts. Recovery from a death at any point is the ordinary start
of the next pull; nothing here relies on being allowed to finish.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import Any

from pbs.errors import (
    AgentMissing,
    AgentRefused,
    CutOff,
    EndpointError,
    NoRoom,
    PbsError,
    TunnelBroken,
)
from pbs.model import Ending, Outcome, ReceiptState, RootMeta, Snapshot
from pbs.runs import retaining
from pbs.runs.causes import end_error, why_failed
from pbs.runs.ports import Counter, Event, Talk, Verdict
from pbs.runs.progress import whole_number
from pbs.runs.report import Report
from pbs.runs.room import Room, tidy
from pbs.runs.work import Work
from pbs.text import duration

PROTOCOL = 1
SOCKET_PATH_LIMIT = 107
# What an agent uses itself, since the path becomes part of a URL; nothing else comes near a message or a log.
SOCKET_FOLDER = re.compile(r"/[A-Za-z0-9/._+@-]*")
PING_SECONDS = 30.0
ENDPOINT_SECONDS = 30.0
# An agent that says every second that it is where it was, or an endpoint that takes bytes and answers nothing.
STALLED_SECONDS = 1800.0


async def pull(work: Work) -> Ending:
    """Carry out one pull and say how it ended.

    Raises:
        PbsError: whatever kept it from ending well; the run's border makes an outcome of it.
    """
    work.stages.enter("repository")
    await work.repository.verify()
    retaining.settle(work)
    before = await work.desk.ready()
    for remark in (*before.remarks, *_left(before)):
        work.report.remark(remark)
    room = Room(work)
    room.enter()
    work.stages.enter("endpoint")
    try:
        await work.endpoint.open()
        async with work.desk.watching():
            end = await _transfer(work, room)
    except (CutOff, NoRoom) as error:
        if not await _shut_after_failure(work):
            raise
        return await tidy(work, error)
    except BaseException:
        await _shut_after_failure(work)
        raise
    work.stages.enter("shut")
    await work.endpoint.shut()
    work.stages.enter("admission")
    return await retaining.follow(work, await _conclude(work, end))


async def _shut_after_failure(work: Work) -> bool:
    """Shut the door, and let nothing that goes wrong with that hide why the run failed; whether it is shut."""
    work.stages.enter("shut")
    try:
        await work.endpoint.shut()
    except PbsError as error:
        work.journal.write("log", text=error.message)
        return False
    work.desk.clear()
    return True


def _left(before: Verdict) -> list[str]:
    """What an earlier run left that no honest source sends; it says nothing of this run."""
    if not before.incidents:
        return []
    return [f"an earlier run left {', '.join(before.incidents)}: set aside, see `pbs quarantine list`"]


async def _transfer(work: Work, room: Room) -> Event:
    """Everything that happens while the source can reach its endpoint. Returns the agent's `end`."""
    work.stages.enter("connect", host=work.source.address.host, port=work.source.address.port)
    async with work.connect() as line:
        work.stages.enter("agent")
        # The greeting of `backup` says all that a `ping` before it would: one start of the agent less in each run.
        async with await line.say("backup") as talk:
            listen = socket_path(await _greeting(work, talk))
            work.stages.enter("forward")
            budget = work.source.read_budget
            async with line.lend(listen, work.endpoint.socket, budget, room.writable) as counter:
                try:
                    end = await _backup(work, talk, listen, counter)
                except TunnelBroken:
                    _not_cut_off(work, counter, room)
                    raise
                else:
                    _not_cut_off(work, counter, room)
                    return end
                finally:
                    work.report.tunnel_bytes = counter.received
                    _tell_denials(work, counter)


def socket_path(folder: str) -> str:
    """A name for this run's socket in the folder that the agent names: never used before, so never stale.

    Raises:
        AgentRefused: the folder makes no sense.
    """
    listen = f"{folder.rstrip('/')}/{secrets.token_hex(6)}.sock"
    if not SOCKET_FOLDER.fullmatch(folder):
        raise AgentRefused(
            "the agent names no absolute folder of plain letters for its socket",
            "see `sockets` in its profile",
        )
    if len(listen) > SOCKET_PATH_LIMIT:
        raise AgentRefused(
            f"the agent's socket folder is too long for a socket ({len(folder)} bytes)",
            "set `sockets` in the agent's profile to a short folder",
        )
    return listen


async def _greeting(work: Work, talk: Talk) -> str:
    """Look at what the agent says of itself; returns its socket folder.

    Raises:
        AgentMissing: it speaks another protocol.
        AgentRefused, AgentBusy, AgentMissing, TunnelBroken: it cannot work, and says why.
    """
    work.journal.write("hello", **_facts(talk.hello))
    if talk.hello.get("protocol") != PROTOCOL:
        raise AgentMissing(
            f"the agent speaks protocol {_number(talk.hello.get('protocol'))}, this server speaks {PROTOCOL}",
            "install the agent that `pbs agent bundle` writes",
        )
    _own_profile(work, Report.words(talk.hello.get("profile")))
    folder = talk.hello.get("socket_folder")
    if isinstance(folder, str):
        return folder
    # No folder, no work: what is wrong there comes as the end.
    async for event in talk.events(within=PING_SECONDS):
        work.report.take(event)
    raise end_error(talk.end or {}, whole_number((talk.end or {}).get("exit")), work.source.name)


def _own_profile(work: Work, profile: str) -> None:
    """A key that stands in two lines of one account always starts the agent of the first: another source's data."""
    if profile != work.source.name and work.records.newest_run(profile) is not None:
        raise AgentRefused(
            f"the agent answers for the profile {profile}, which belongs to another source of this server",
            f"its line must end in --profile {work.source.name}; where one key stands in two lines of an account, the "
            "first one wins: give this source a key of its own (`ssh_key`), or an account of its own",
        )


def _number(value: Any) -> str:
    number = whole_number(value)
    return str(number) if number is not None else "an unknown one"


def _facts(hello: Event) -> Event:
    known = ("agent", "restic", "protocol", "profile", "free_bytes", "restore")
    said = {name: hello.get(name) for name in known}
    return {
        name: Report.words(value)
        if isinstance(value, str)
        else value
        if isinstance(value, bool)
        else whole_number(value)
        for name, value in said.items()
    }


async def _backup(work: Work, talk: Talk, listen: str, counter: Counter) -> Event:
    request = backup_request(work, listen)
    work.stages.enter("backup", parent=request["parent"], reread=work.desk.reread)
    await talk.ask(request)
    reached, since = _reached(work, counter), work.clock.monotonic()
    async for event in talk.events():
        work.report.tunnel_bytes = counter.received
        work.report.take(event)
        if (now := _reached(work, counter)) != reached:
            reached, since = now, work.clock.monotonic()
        if work.clock.monotonic() - since > STALLED_SECONDS:
            raise TunnelBroken(
                f"nothing moved for {duration(STALLED_SECONDS)}: no file was read, and no byte came or went",
                f"see what restic does on the source, and var/log/endpoint-{work.source.name}.log",
            )
        # Supervisord has it back within two seconds, or not at all; restic alone would try for a quarter of an hour.
        if counter.unanswered_seconds > ENDPOINT_SECONDS:
            raise EndpointError(
                f"the endpoint of {work.source.name} died during the transfer and did not come back within "
                f"{ENDPOINT_SECONDS:g} s",
                f"look at var/log/endpoint-{work.source.name}.log",
            )
    assert talk.end is not None  # noqa: S101 - events() ends with it or raises
    return talk.end


def _not_cut_off(work: Work, counter: Counter, room: Room) -> None:
    """Whatever a source that was cut off says, or its connection does: this is why it ended.

    Raises:
        CutOff, NoRoom: it was.
    """
    if room.error is not None:
        raise room.error
    if counter.cut is not None:
        raise CutOff(
            f"{work.source.name} was cut off from its endpoint: {counter.cut}",
            "look at that machine; `read_budget` of the source says how much it may read, if it is an honest one",
        )


def _tell_denials(work: Work, counter: Counter) -> None:
    """Whatever came of the run, say what its source tried at the door."""
    for denial in counter.denials:
        work.journal.write("denied", request=denial.request, reason=denial.reason)
    if counter.denied:
        kinds = ", ".join(dict.fromkeys(denial.reason for denial in counter.denials))
        work.report.remark(f"{counter.denied} request(s) were not let through to the endpoint: {kinds}")


def _reached(work: Work, counter: Counter) -> tuple[int, ...]:
    """Everything that changes while a backup goes on."""
    return (counter.received, counter.sent, *work.report.reached)


def backup_request(work: Work, listen: str) -> Event:
    """What the agent is asked to do. Its parent is named by us, from the receipts, never found by restic."""
    parent = work.records.newest(work.source.name)
    limits = work.source.limits
    return {
        "protocol": PROTOCOL,
        "run": work.run.id,
        "socket": listen,
        "password": work.repository.password(),
        "key": work.repository.key,
        "source": work.source.name,
        "tags": [f"source={work.source.name}", f"run={work.run.id}"],
        "parent": parent.id if parent else None,
        # A parent that lies about a file's content is believed by every run after it, until one reads all anew.
        "force": work.desk.reread is not None,
        "scan": parent is None or parent.bytes is None,
        # An import has other inode numbers and change times than the source: only sizes and times are compared.
        "ignore": ["inode", "ctime"] if parent and parent.state is ReceiptState.LEGACY else [],
        "limits": {"upload": limits.upload, "download": limits.download},
    }


async def _conclude(work: Work, end: Event) -> Ending:
    """The door is shut: see what came, and say how the run ended."""
    outcome = {"ok": Outcome.OK, "partial": Outcome.PARTIAL}.get(Report.words(end.get("outcome")))
    unreadable = max(whole_number(end.get("unreadable")) or 0, work.report.unreadable)
    if outcome is Outcome.OK and unreadable:
        outcome = Outcome.PARTIAL
    promised = end.get("snapshot") if outcome is not None else None
    verdict = await work.desk.close(
        promised if isinstance(promised, str) else None,
        outcome or Outcome.FAILED,
        root_meta(end.get("root")),
    )
    for remark in verdict.remarks:
        work.report.remark(remark)
    failure = verdict.refusal
    if outcome is None:
        failure = failure or why_failed(work, end)
    elif verdict.snapshot is None:
        failure = failure or AgentRefused(
            "the agent claims success but names no snapshot", "look at that machine"
        )
    if verdict.incidents:
        return _incident(work, verdict, failure)
    if failure is not None or verdict.snapshot is None or outcome is None:
        raise failure or AgentRefused("no snapshot was made", "look at that machine")
    return _ending(work.report, verdict.snapshot, outcome, unreadable)


def _incident(work: Work, verdict: Verdict, failure: PbsError | None) -> Ending:
    """Something arrived that no honest source sends: refused, whatever else is true of the run.

    A sound snapshot is admitted all the same: it may be the last one before somebody turns that machine off.
    """
    what = f"{', '.join(verdict.incidents)} arrived and were set aside"
    hint = "look at that machine: somebody else may hold it; `pbs quarantine list` shows what came"
    if verdict.snapshot is None:
        reason = f"; {failure.message}" if failure is not None else ""
        return Ending(Outcome.REFUSED, what + reason, hint)
    ending = _ending(work.report, verdict.snapshot, Outcome.OK, 0)
    said = "; ".join([what, f"the run's own snapshot {verdict.snapshot.id[:8]} is sound and was admitted"])
    return replace(ending, outcome=Outcome.REFUSED, message=said, hint=hint)


def _ending(report: Report, snapshot: Snapshot, outcome: Outcome, unreadable: int) -> Ending:
    if outcome is Outcome.PARTIAL:
        message = f"{unreadable} file(s) or folder(s) could not be read on the source"
        hint = "the log lists them; let the agent's account read them or exclude them in its profile"
    else:
        message, hint = "every file was read", None
    if report.remarks:
        message = f"{message}; {'; '.join(report.remarks)}"
    return Ending(
        outcome,
        message,
        hint,
        snapshot=snapshot.id,
        files=snapshot.files if snapshot.files is not None else report.summary("total_files_processed"),
        bytes=snapshot.bytes if snapshot.bytes is not None else report.summary("total_bytes_processed"),
        added_bytes=snapshot.added_bytes
        if snapshot.added_bytes is not None
        else report.summary("data_added"),
        stored_bytes=snapshot.stored_bytes
        if snapshot.stored_bytes is not None
        else report.summary("data_added_packed"),
        tunnel_bytes=report.tunnel_bytes,
        warnings=report.warnings + len(report.remarks),
        output=report.text(),
    )


def root_meta(value: Any) -> RootMeta | None:
    """The metadata of the backed-up folder itself as the agent tells it; None where it makes no sense."""
    if not isinstance(value, dict):
        return None
    numbers = [whole_number(value.get(field)) for field in ("mode", "uid", "gid")]
    mtime = value.get("mtime_ns")
    if any(number is None for number in numbers) or not isinstance(mtime, int) or abs(mtime) >= 1 << 63:
        return None
    mode, uid, gid = (number or 0 for number in numbers)
    return RootMeta(mode & 0o7777, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF, mtime)

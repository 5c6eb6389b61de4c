"""The promises of one source, each a pure function from facts and a moment to a verdict.

Every source has every promise: one that nothing is known of is not kept. What a source says is repeated only where the
ledger holds it already cleaned.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from pbs.errors import AgentMissing, HostKeyMismatch, LoginRefused, Unreachable
from pbs.model import DamageState, Kind, Outcome, Run
from pbs.promises.facts import Case, Facts
from pbs.promises.lateness import deadline
from pbs.promises.nouns import Verdict, broken, kept, warning
from pbs.space import days_to_full
from pbs.text import clean, duration, size

DAY = timedelta(days=1)
# Nobody of ours was there.
UNREACHED = frozenset({Unreachable.code, LoginRefused.code, HostKeyMismatch.code, AgentMissing.code})
# What waiting will not mend.
LASTING = UNREACHED - {Unreachable.code}
# A clock that is wrong by more than this makes times in snapshots mislead people.
SKEW = timedelta(minutes=10)
# How long a feed may be older than what it should tell of.
FEED_LATE = timedelta(minutes=2)
# supervisord has an endpoint back within seconds.
SILENT = timedelta(minutes=1)
QUOTA_WARNING, QUOTA_BROKEN = 0.85, 0.97
# In days: somebody has time to act.
FULL_SOON = 7
# From being due to being late, for what is read again a part each day.
VERIFY_GRACE, VERIFY_BROKEN = 2 * DAY, 1.5
LONGEST_REASON = 600


def reachable(case: Case) -> Verdict:
    """The source answers, with the right key, and lets us in."""
    last = case.known.newest(Kind.PULL)
    if last is None:
        return _never(case, "nobody has reached it yet")
    if last.code not in UNREACHED:
        return kept(f"nothing kept the run of {_at(last.ended)} from reaching it")
    hint = last.hint or f"`pbs doctor {case.source.name}` tries it step by step"
    since = case.known.arrived.received if case.known.arrived is not None else case.known.added
    if last.code in LASTING or _late(case, since):
        return broken(_said(last), hint)
    return warning(_said(last), hint)


def fresh(case: Case) -> Verdict:
    """Its newest backup is not older than its schedule allows."""
    if case.known.arrived is None:
        return _never(case, "there is no backup of it")
    last = case.known.arrived.received
    age = f"the newest backup is {_ago(last, case.now)} old"
    until = deadline(case.source, last)
    if until is None:
        return kept(f"{age}; nothing says how old it may get")
    if case.now <= until:
        return kept(age)
    return broken(
        f"{age}, and should not be older than {duration((until - last).total_seconds())}",
        f"`pbs runs {case.source.name}` shows what the last runs said; `max_age` of the source sets another limit",
    )


def complete(case: Case) -> Verdict:
    """Every file could be read."""
    since = case.known.partial_since
    if since is None:
        return kept("the last good pull could read every file")
    last = case.known.newest(Kind.PULL, Outcome.OK, Outcome.PARTIAL)
    count = f"{last.warnings} file(s) or folder(s)" if last is not None and last.warnings else "some files"
    said = f"{count} could not be read by the last good pull; no pull could read all since {_at(since)}"
    hint = f"`pbs log {case.source.name}` lists them: let the agent's account read them, or exclude them in its profile"
    return broken(said, hint) if _late(case, since) else warning(said, hint)


def last_run(case: Case) -> Verdict:
    """No kind of run failed the last time."""
    bad = [
        run
        for kind in (Kind.PULL, Kind.CHECK, Kind.MIGRATE, Kind.RETAIN)
        if (run := case.known.newest(kind)) is not None and run.outcome in (Outcome.FAILED, Outcome.REFUSED)
    ]
    if bad:
        # A rule of ours that held retention back is told by itself, and is no failure.
        serious = any(run.kind is not Kind.RETAIN or run.outcome is Outcome.FAILED for run in bad)
        words = "; ".join(f"the last {run.kind} {_ended(run)}: {_said(run)}" for run in bad)
        verdict = broken if serious else warning
        return verdict(clean(words, LONGEST_REASON), bad[0].hint or f"see `pbs log {bad[0].id}`")
    last = case.known.newest(Kind.PULL, *Outcome)
    if last is None:
        return _never(case, "no pull has ended yet")
    if last.outcome in (Outcome.MISSED, Outcome.INTERRUPTED):
        return warning(
            f"the last pull {_ended(last)}: {_said(last)}", last.hint or f"see `pbs runs {case.source.name}`"
        )
    return kept(f"the last pull ended {last.outcome} at {_at(last.ended)}")


def feed(case: Case) -> Verdict:
    """Its feed is there, whole, and tells of its last run."""
    hint = "the controller writes it after each run; see var/log/controller.log and whether the disk is full"
    ended = [run.ended for run in case.known.runs.values() if run.ended is not None and run.ended <= case.now]
    if case.facts.feed is None:
        return kept("it has no run to tell of yet") if not ended else broken("its feed is not there", hint)
    if not case.facts.feed.whole:
        return broken("its feed is damaged", hint)
    if ended and max(ended) > case.facts.feed.written + FEED_LATE and case.now > max(ended) + FEED_LATE:
        return broken(f"its feed does not tell of the run that ended at {_at(max(ended))}", hint)
    return kept(f"its feed was written at {_at(case.facts.feed.written)}")


def endpoint(case: Case) -> Verdict:
    """Its append-only endpoint answers, where it is kept up."""
    if case.source.endpoint != "always":
        return kept("its endpoint is started for each run")
    if case.facts.busy:
        return kept("a run goes on, and sees to the endpoint itself")
    if case.facts.endpoint is None:
        return warning("the service does not run, and with it no endpoint", "start it with `pbs serve`")
    if case.facts.endpoint:
        return kept("its endpoint answers")
    if case.facts.silent is None or case.now - case.facts.silent < SILENT:
        return kept("its endpoint does not answer just now: it may be starting")
    return broken(
        "its endpoint does not answer", f"look at var/log/endpoint-{case.source.name}.log, then `pbs reload`"
    )


def repository(case: Case) -> Verdict:
    """It has a repository whose every pack is sound, as far as anybody knows."""
    if case.known.made is None:
        return broken("it has no repository", "`pbs reload` makes it; see what it says")
    lost, waiting = case.known.damaged.get(DamageState.LOST, 0), sum(case.known.damaged.values())
    if waiting:
        what = f"{waiting} damaged pack(s)" + (f", of which {lost} cannot be mended" if lost else "")
        return broken(
            f"its repository has {what}",
            f"`pbs snapshots {case.source.name}` marks the snapshots that they touch; a pull, then `pbs check {case.source.name}` mends what "
            "the source still has",
        )
    return kept(f"{case.known.snapshots} snapshot(s) can be restored")


def verified(case: Case) -> Verdict:
    """Every byte of its repository was read again lately."""
    if case.source.keeping.verify is None:
        return kept("nobody asked for it to be read again")
    if case.known.made is None:
        return broken("it has no repository", "`pbs reload` makes it; see what it says")
    within = timedelta(seconds=case.source.keeping.verify)
    unread = case.now - (case.known.read or case.known.made)
    said = f"the part that was not read again for the longest time has waited for {_ago(case.now - unread, case.now)}"
    hint = f"`pbs check {case.source.name}` reads a part now; `pbs runs {case.source.name}` shows why the last one did not"
    if unread > within * VERIFY_BROKEN:
        return broken(said, hint)
    return warning(said, hint) if unread > within + VERIFY_GRACE else kept(said)


def quarantine(case: Case) -> Verdict:
    """Nothing arrived that had to be set aside."""
    if not case.known.aside:
        return kept("nothing is set aside")
    number = sum(case.known.aside.values())
    hint = f"`pbs quarantine list {case.source.name}` shows it, `pbs quarantine discard` lets go of it"
    if set(case.known.aside) <= {"snapshots"}:
        # An honest agent whose run broke off leaves such a thing behind; a run with more is refused, and said so.
        return warning(f"{number} snapshot(s) are set aside that no run named", hint)
    return broken(f"{number} thing(s) arrived that no honest source sends, and are set aside", hint)


def tripwires(case: Case) -> Verdict:
    """Nothing looks like an intruder's work that nobody has looked at."""
    if case.facts.held is None:
        return kept("no tripwire tripped that nobody has looked at")
    return broken(
        f"it is held: {clean(case.facts.held, LONGEST_REASON)}",
        f"look at that machine, and at what its last snapshots hold; then `pbs source resume {case.source.name}`",
    )


def quota(case: Case) -> Verdict:
    """Its repository has room to grow."""
    if case.source.quota is None:
        return kept("it has no quota")
    if case.known.bytes is None:
        return kept("nothing of its quota was measured yet")
    share = case.known.bytes / case.source.quota
    days = days_to_full(case.source.quota - case.known.bytes, case.facts.per_day)
    when = f", full in {days} days" if days is not None else ""
    said = f"{size(case.known.bytes)} of its quota of {size(case.source.quota)} are used ({share:.0%}{when})"
    hint = f"raise `quota` of {case.source.name}, keep less, or exclude something in the agent's profile"
    if share >= QUOTA_BROKEN:
        return broken(said, hint)
    near = share >= QUOTA_WARNING or (days is not None and days <= FULL_SOON)
    return warning(said, hint) if near else kept(said)


def clock(case: Case) -> Verdict:
    """The clock of the source is right, as far as its snapshots tell."""
    arrived = case.known.arrived
    if arrived is None or arrived.claimed is None:
        return kept("no snapshot tells of its clock yet")
    run = next((run for run in case.known.runs.values() if run.id == arrived.run), None)
    begun = run.started if run is not None and run.started is not None else arrived.received
    early, late = begun - arrived.claimed, arrived.claimed - arrived.received
    wrong = max(late, early if run is not None else timedelta())
    if wrong <= SKEW:
        return kept("its clock agrees with ours")
    word = "ahead" if late > early else "behind"
    return warning(
        f"its clock is {duration(wrong.total_seconds())} {word} of ours",
        "set it right there (chrony, ntp); nothing here relies on it, but times of its files may mislead",
    )


def key(case: Case) -> Verdict:
    """The key of its repository lies somewhere else as well."""
    if case.source.encryption == "none":
        return kept("its repository has no password")
    if case.known.exported:
        return kept("the recovery sheet of its key was printed")
    if case.facts.copied:
        return kept("its key is in the copies of the server")
    return broken(
        'no recovery sheet of its key was printed, and copies = "off": if this server is lost, so are its backups',
        f"`pbs key export {case.source.name}` prints one; keep it away from this server",
    )


Judge = Callable[[Case], Verdict]
PROMISES: dict[str, Judge] = {
    "reachable": reachable,
    "fresh": fresh,
    "complete": complete,
    "last-run": last_run,
    "feed": feed,
    "endpoint": endpoint,
    "repository": repository,
    "verified": verified,
    "quarantine": quarantine,
    "tripwires": tripwires,
    "quota": quota,
    "clock": clock,
    "key": key,
}


def judge(facts: Facts, now: datetime) -> dict[str, Verdict]:
    """Every promise of a source. What cannot be judged is not kept."""
    source, known = facts.source, facts.vitals
    if source is None:
        name = known.name if known is not None else ""
        verdict = broken(
            "it is not configured any more, so nothing is backed up",
            f"put it back into pbs.toml or sources.d, or say that it is meant: `pbs source remove {name}`",
        )
        return {"configured": verdict}
    if known is None:
        verdict = broken("the ledger does not know it yet", "`pbs reload` takes it up; see what it says")
        return {"configured": verdict, **dict.fromkeys(PROMISES, verdict)}
    case = Case(facts, source, known, now)
    return {
        "configured": kept("it is configured"),
        **{name: _judged(promise, case) for name, promise in PROMISES.items()},
    }


def _judged(promise: Judge, case: Case) -> Verdict:
    try:
        return promise(case)
    except Exception as error:  # noqa: BLE001 - a promise that cannot be judged is broken, and hides no other
        return broken(
            f"it could not be judged: a fault of pbs itself ({type(error).__name__})",
            "please report it, with `pbs runs` of this source",
        )


def _never(case: Case, said: str) -> Verdict:
    """Of a source that is new: it has the time that its schedule gives any other."""
    until = deadline(case.source, case.known.added)
    if until is None:
        return warning(said, f"`pbs pull {case.source.name}`: its schedule begins nothing by itself")
    hint = f"`pbs doctor {case.source.name}` tries it step by step, `pbs pull {case.source.name}` begins now"
    return broken(said, hint) if case.now > until else warning(f"{said}; it is new", hint)


def _late(case: Case, since: datetime) -> bool:
    """Whether more time has passed since then than its schedule allows."""
    until = deadline(case.source, since)
    return until is not None and case.now > until


def _ended(run: Run) -> str:
    return "failed" if run.outcome is Outcome.FAILED else f"was {run.outcome}"


def _said(run: Run) -> str:
    return clean(run.message or "it gave no reason", LONGEST_REASON)


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else "an unknown time"


def _ago(moment: datetime, now: datetime) -> str:
    return duration(max((now - moment).total_seconds(), 0.0))

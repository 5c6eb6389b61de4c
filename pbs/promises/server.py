"""The promises of the server itself, each a pure function from facts and a moment to a verdict."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pbs.promises.certificate import wanted
from pbs.promises.facts import ServerFacts
from pbs.promises.nouns import Verdict, broken, kept, warning
from pbs.space import days_to_full, kept_free, shortage
from pbs.text import duration, size

# The controller looks every two seconds; a ledger that is locked may hold it up for half a minute.
PLAN_LATE = timedelta(minutes=2)
WAIT_LATE = timedelta(hours=6)
COPY_LATE, COPY_BROKEN = timedelta(days=1, hours=6), timedelta(days=3)
# Somebody has time to make room before nothing begins any more.
NEAR, DISK_WARNING = 2.0, 0.10
FULL_SOON = 7
# Who renews by a program does so a month or two weeks before; who does it by hand wants a warning.
CERTIFICATE_WARNING, CERTIFICATE_BROKEN = timedelta(days=14), timedelta(days=3)


def service(facts: ServerFacts) -> Verdict:
    """The service runs."""
    if facts.served:
        return kept("the service runs")
    return broken("the service does not run: nothing is backed up", "start it with `pbs serve`")


def scheduler(facts: ServerFacts) -> Verdict:
    """Somebody looks at what is due."""
    if not facts.served or facts.planned is None:
        return broken("nobody looks at what is due", "start the service with `pbs serve`")
    if facts.now - facts.planned > PLAN_LATE:
        return broken(
            f"nobody has looked at what is due for {duration((facts.now - facts.planned).total_seconds())}",
            "see var/log/controller.log; the disk of the ledger may be full or its file locked",
        )
    return kept("what is due is looked at all the time")


def controller(facts: ServerFacts) -> Verdict:
    """The controller can do what it wants to."""
    if facts.faults:
        return broken(
            "; ".join(facts.faults)[:600], "see var/log/controller.log; it is tried again and again"
        )
    return kept("nothing that the service tried failed")


def queue(facts: ServerFacts) -> Verdict:
    """No run waits for hours for its turn."""
    if facts.waiting is None:
        return kept("no run waits")
    waited = facts.now - facts.waiting
    said = f"the run that has waited for the longest time has done so for {duration(max(waited.total_seconds(), 0.0))}"
    if waited > WAIT_LATE:
        return warning(
            said,
            "raise `max_runs` and `workers`, spread the schedules, or see what the runs that go on wait for",
        )
    return kept(said)


def disk(facts: ServerFacts) -> Verdict:
    """The disk of the backups has room."""
    space = facts.space
    if space is None or not space.total:
        return broken("the disk of the backups cannot be looked at", "is it mounted? see `df`")
    hint = "make room or give it a larger disk; keeping less helps after the next pruning"
    if short := shortage(facts.reserve, space):
        return broken(short, hint)
    share = space.free / space.total
    said = f"{size(space.free)} of {size(space.total)} are free ({share:.0%}) where the backups lie"
    days = days_to_full(space.free - kept_free(facts.reserve, space), facts.per_day)
    if days is not None and days <= FULL_SOON:
        return warning(f"{said}; only the reserve will be left in {days} days", hint)
    near = shortage(facts.reserve, space, NEAR) is not None or share < DISK_WARNING
    return warning(said, hint) if near else kept(said)


def copy(facts: ServerFacts) -> Verdict:
    """Ledger, keys and configuration were copied lately."""
    if not facts.copies:
        return kept('the configuration says copies = "off"')
    hint = "`pbs copy make` makes one now and says what is wrong"
    if facts.copied is None:
        return warning("the server itself was never copied", hint)
    age = facts.now - facts.copied
    said = f"the server itself was copied {duration(max(age.total_seconds(), 0.0))} ago"
    if age > COPY_BROKEN:
        return broken(said, hint)
    return warning(said, hint) if age > COPY_LATE else kept(said)


def sheet(facts: ServerFacts) -> Verdict:
    """The recovery sheet of the server was printed."""
    if facts.sheet or not facts.copies:
        return kept("the recovery sheet was printed")
    return broken(
        "the recovery sheet of the server was never printed: without it no copy of the server can be opened",
        "`pbs key recovery` prints it; keep it away from this server",
    )


def certificate(facts: ServerFacts) -> Verdict:
    """The certificate that people are shown is right for some time."""
    if not wanted(facts.base_url):
        return kept("base_url is no https address, so none is shown")
    if not facts.served:
        return warning("only the service looks at the certificate", "start it with `pbs serve`")
    shown = facts.certificate
    if shown is None or shown.address != facts.base_url:
        return kept("the certificate was not looked at yet")
    if shown.wrong is not None:
        return (broken if "expired" in shown.wrong else warning)(
            f"browsers are shown a certificate at {shown.address} that is not right: {shown.wrong}",
            "renew it in the proxy; where an authority of your own issued it: `update-ca-certificates` on this server",
        )
    if shown.until is None:
        return warning(
            f"nobody answers with TLS at {shown.address}, as seen from this server",
            "is the proxy up, and does base_url of [server] say where it listens?",
        )
    left = shown.until - facts.now
    said = f"the certificate at {shown.address} is right until {shown.until:%Y-%m-%d}"
    if left > CERTIFICATE_WARNING:
        return kept(said)
    hint = "renew it in the proxy, and see why nothing renews it by itself"
    return warning(said, hint) if left > CERTIFICATE_BROKEN else broken(said, hint)


Judge = Callable[[ServerFacts], Verdict]
PROMISES: dict[str, Judge] = {
    "service": service,
    "scheduler": scheduler,
    "controller": controller,
    "queue": queue,
    "disk": disk,
    "copy": copy,
    "recovery-sheet": sheet,
    "certificate": certificate,
}


def channel(name: str, fault: str | None) -> Verdict:
    """A channel takes messages."""
    if fault is None:
        return kept("it took the last message, or none was sent yet")
    return broken(fault, f"`pbs notify test {name}` tries it and says what is wrong")


def judge(facts: ServerFacts) -> dict[str, Verdict]:
    """Every promise of the server."""
    channels = {f"notify-{name}": channel(name, fault) for name, fault in facts.channels.items()}
    return {name: promise(facts) for name, promise in PROMISES.items()} | channels

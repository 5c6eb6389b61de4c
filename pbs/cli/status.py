"""`pbs status`: services, what goes on now, sources; once, or again and again until Ctrl-C. It only reads."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from pbs.cli.show import Json, amount, columns, document, lasted, note, when
from pbs.errors import ServiceDown, UsageError
from pbs.home import Home

LOOK_SECONDS = 1.0
PLAIN_SECONDS = 10.0
# The list of all sources costs the more the more there are; what goes on now costs next to nothing.
SOURCES_SECONDS = 10.0
MOST_LINES = 50
LEAST_LINES = 5
MOST_FROZEN = 5
# The worst first; whatever is not named here is in order.
BROKEN = ("refused", "failed", "missed", "interrupted", "partial", "cancelled")
HEAD = (
    "SOURCE",
    "STATE",
    "LAST",
    "ENDED (UTC)",
    "LAST OK (UTC)",
    "SNAPSHOTS",
    "SIZE",
    "UNREAD",
    "FULL IN",
    "SCHEDULE",
    "NEXT (UTC)",
)
# What is asked for now and then.
SLOW = ("health", "disk", "sources")
RIGHT = frozenset({5, 6, 7, 8})
Facts = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("status")(status)


def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it until Ctrl-C.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every source, also where that fills more than a screen.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show the services, what goes on now, the sources and their last runs; exit 6 when the service is not running."""
    home: Home = context.obj
    if watch:
        if as_json:
            raise UsageError(
                "--watch and --json go ill together",
                "ask /api/v1/runs/RUN/events, or `pbs status --json` now and then",
            )
        _watch(home, everything=everything)
    facts = _facts(home, None)
    if as_json:
        document(facts)
    else:
        _print(facts, everything=everything)
        if not facts["sources"]:
            note("no source yet: `pbs source add NAME --host HOST`")
    return 0 if facts["running"] else ServiceDown.exit_code


def _print(facts: Facts, *, everything: bool) -> None:
    live = sys.stdout.isatty()
    room = None if everything else _room(live)
    head, *rest = _lines(facts, room)
    print(head) if facts["running"] else note(head)
    if live:
        from pbs.cli.terminal import console, least

        console(least(HEAD, _parts(facts, room)[1])).print(_drawn(facts, room, headed=False))
        return
    for line in rest:
        print(line)


def _watch(home: Home, *, everything: bool) -> None:
    """Until Ctrl-C: in place on a terminal, as lines elsewhere."""
    clock, pause = _time()
    live = sys.stdout.isatty()
    known: Facts | None = None
    asked = clock()
    with _screen(live) as show:
        while True:
            if clock() - asked >= SOURCES_SECONDS:
                known, asked = None, clock()
            known = _facts(home, known)
            show(_drawn(known, None if everything else _room(live)) if live else _now_lines(known))
            pause(LOOK_SECONDS if live else PLAIN_SECONDS)


def _time() -> tuple[Callable[[], float], Callable[[float], None]]:
    from pbs.clock import SystemClock, pause

    return SystemClock().monotonic, pause


class _Screen:
    """Shows something in the place of what was there before, or lines below each other."""

    def __init__(self, live: bool) -> None:
        self._live: Any = None
        if live:
            # Imported only where there is a terminal to draw on.
            from rich.live import Live

            from pbs.cli.terminal import console

            self._live = Live(console=console(), auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Callable[[Any], None]:
        if self._live is not None:
            self._live.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _show(self, what: Any) -> None:
        if self._live is None:
            print("\n".join(what), flush=True)
        else:
            self._live.update(what, refresh=True)


_screen = _Screen


def _room(live: bool) -> int:
    """How many sources fit: on a terminal, beside the rest of the screen."""
    return max(LEAST_LINES, shutil.get_terminal_size().lines - 6) if live else MOST_LINES


def _facts(home: Home, known: Facts | None) -> Facts:
    """Everything that is shown; what costs the more the more sources there are is as it was `known` shortly before."""
    from pbs.cli.client import Service
    from pbs.endpoint import Supervisor
    from pbs.stopping import draining

    try:
        programs = Supervisor(home.supervisor_socket, home.etc / "supervisord.d").all()
        service = Service(home.controller_socket)
        slow = {each: known[each] for each in SLOW} if known is not None else _slow(service)
        running = service.get("/api/v1/runs?state=running&limit=1000")["runs"]
    except ServiceDown:
        programs, running = [], []
        found, disk = _stopped(home)
        slow = {"health": None, "disk": disk, "sources": found}
    services = [
        {"name": each["name"], "state": each["statename"].lower(), "pid": each["pid"] or None}
        for each in programs
    ]
    return {
        "home": str(home.root),
        "running": bool(programs),
        "stopping": draining(home),
        "services": services,
        "runs": [_with_progress(home, run) for run in running],
        **slow,
    }


def _slow(service: Any) -> Facts:
    """How promises stand, the disk, and the sources."""
    promises = service.get("/api/v1/promises?kept=no")
    return {
        "health": {word: promises[word] for word in ("state", "kept", "warning", "broken")},
        "disk": service.get("/api/v1/disk"),
        "sources": service.get("/api/v1/sources")["sources"],
    }


def _with_progress(home: Home, run: Facts) -> Facts:
    from pbs.journal import newest

    found = newest(home.run_log(run["source"], run["id"]), "progress", "stage")
    return {**run, "stage": found.get("stage", {}).get("stage"), "progress": found.get("progress")}


def stopped_sources(home: Home) -> list[Facts]:
    """The sources as configuration and ledger tell them, without the service."""
    return _stopped(home)[0]


def _stopped(home: Home) -> tuple[list[Facts], Facts]:
    """The sources and the disk of the repositories, without the service."""
    from pbs.clock import SystemClock
    from pbs.config import load
    from pbs.ledger import open_ledger
    from pbs.standing import disk_view, source_views

    sources, ledger = load(home).sources, open_ledger(home.ledger)
    rates = ledger.overview.rates(sources, SystemClock().now())
    # Nobody serves: nobody looked how large a repository is, what comes next, or at promises.
    nobody: dict[str, Any] = {}
    views = source_views(ledger, sources, sorted(sources), nobody.get, nobody.get, nobody.get, rates.get)
    return views, disk_view(sources, home.backups, rates)


def _lines(facts: Facts, room: int | None) -> list[str]:
    """One screen as plain lines."""
    before, rows, after = _parts(facts, room)
    return [*before, *(columns(HEAD, rows, right=RIGHT) if rows else []), *after]


def _drawn(facts: Facts, room: int | None, *, headed: bool = True) -> Any:
    """The same for a terminal."""
    from pbs.cli.terminal import drawn, screen

    before, rows, after = _parts(facts, room)
    return screen(before if headed else before[1:], drawn(HEAD, rows, right=RIGHT) if rows else None, after)


def _parts(facts: Facts, room: int | None) -> tuple[list[str], list[tuple[object, ...]], list[str]]:
    """One screen: the services and what goes on; of the sources the broken ones first; what stands against something."""
    lines = [_headline(facts), _disk_line(facts["disk"]), *(f"  {line}" for line in _going_on(facts))]
    ranked = sorted(facts["sources"], key=lambda each: (_rank(each), each["name"]))
    if room is None or len(ranked) <= room:
        shown = ranked
    else:
        shown = ranked[: max(LEAST_LINES, room - len(lines))]
    after = []
    if rest := ranked[len(shown) :]:
        broken = sum(_rank(each) < len(BROKEN) for each in rest)
        word = f", {broken} of them not in order" if broken else ", all in order"
        after.append(f"… and {len(rest)} more sources{word}: `pbs status --all`")
    held = [each for each in shown if each["frozen"]]
    after += [f"{each['name']}: no snapshot is removed: {each['frozen']}" for each in held[:MOST_FROZEN]]
    if len(held) > MOST_FROZEN:
        after.append(f"… nor of {len(held) - MOST_FROZEN} more sources: `pbs retain NAME --dry-run` says why")
    return lines, [_row(each) for each in shown], after


def _now_lines(facts: Facts) -> list[str]:
    """What changes, for where lines follow each other."""
    from pbs.clock import SystemClock, stamp

    broken = sum(_rank(each) < len(BROKEN) for each in facts["sources"])
    count = f"{len(facts['runs'])} runs go on, {broken} of {len(facts['sources'])} sources not in order"
    return [
        f"{when(stamp(SystemClock().now()))}  {_state(facts)}; {count}",
        *(f"  {line}" for line in _going_on(facts)),
    ]


def _state(facts: Facts) -> str:
    if not facts["running"]:
        return "the service is not running: start it with `pbs serve`"
    return "being stopped: no run begins any more" if facts["stopping"] else "running"


def _headline(facts: Facts) -> str:
    services = facts["services"]
    resting = sum(each["state"] != "running" and each["name"].startswith("worker-") for each in services)
    bad = [f"{each['name']} is {each['state']}" for each in services
           if each["state"] not in ("running", "starting") and not each["name"].startswith("worker-")]  # fmt: skip
    if not facts["running"] or facts["stopping"]:
        return f"{facts['home']}: {_state(facts)}"
    health = [_well(facts["health"])] if facts["health"] else []
    return "; ".join([f"{facts['home']}: {len(services) - resting} programs run", *bad, *health])


def _well(health: Facts) -> str:
    """Whether all is well."""
    from pbs.promises import State, in_words

    said, detail = in_words({state: health[state] for state in State})
    return f"{said.lower()}: {detail}" + ("" if health["state"] == "kept" else " (`pbs health` says which)")


def _disk_line(disk: Facts) -> str:
    """How much room there is, and for how long that will do."""
    room = f"disk of the repositories: {amount(disk['free'])} of {amount(disk['total'])} free"
    kept = f", {amount(disk['reserve'])} of it kept free" if disk["reserve"] else ""
    return f"{room}{kept}; {_full_in(disk, 'how long that will do is not known yet', 'full in about')}"


def _full_in(each: Facts, unknown: str, word: str = "") -> str:
    """When there is no room left, as far as it can be told."""
    if each["days_to_full"] is not None:
        return f"{word} {each['days_to_full']} d".strip()
    return unknown if each["growth_per_day"] is None else "not soon"


def _going_on(facts: Facts) -> Iterator[str]:
    """Each run that goes on: what it does, and how far it is."""
    from pbs.telling import progress_text, stage_text

    for run in facts["runs"]:
        words = [f"{run['id']}: {stage_text(run['stage']) if run['stage'] else 'begins'}"]
        if run["progress"] and run["stage"] in ("backup", "import"):
            words.append(progress_text(run["progress"]))
        if run["cancel"]:
            words.append(f"cancelled by {run['cancelled_by']}")
        yield " · ".join(words)


def _rank(source: Facts) -> int:
    outcome = (source["last_run"] or {}).get("outcome")
    if source["held"]:
        return 0
    return BROKEN.index(outcome) if outcome in BROKEN else len(BROKEN) + (outcome is not None)


def _unread(each: Facts) -> str:
    """For how long there may have been a byte that nobody read again; a dash where nothing lies there yet."""
    from pbs.clock import SystemClock

    since = each["unread_since"]
    if since is None or not each["snapshots"]:
        return "–"
    return lasted(max(0.0, (SystemClock().now() - datetime.fromisoformat(since)).total_seconds()))


def _quota(each: Facts) -> str:
    """When its quota is used up."""
    return _full_in(each, "?") if each["quota"] is not None else "–"


def _row(each: Facts) -> tuple[object, ...]:
    last = each["last_run"] or {}
    return (each["name"], each["state"], last.get("outcome") or "–", when(last.get("ended")), when(each["last_ok"]),
            each["snapshots"], amount(each["repository_bytes"]), _unread(each), _quota(each), each["schedule"], when(each["next"]))  # fmt: skip

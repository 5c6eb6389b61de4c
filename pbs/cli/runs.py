"""Verbs that ask for runs, look at them and end them: pull, migrate, runs, log, cancel."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pbs.cli.show import Json, Name, amount, document, lasted, note, run_line, table, when
from pbs.errors import NotFound, UsageError
from pbs.home import Home
from pbs.model import valid_name
from pbs.text import clean_line

# The worst first: several sources are as bad as the worst of them.
EXIT_CODES = {"failed": 1, "refused": 4, "cancelled": 5, "interrupted": 5, "partial": 3, "missed": 1, "ok": 0}
WORST = (1, 4, 5, 3, 0)
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only queue it.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("pull")(pull)
    app.command("migrate")(migrate)
    app.command("runs")(runs)
    app.command("log")(log)
    app.command("cancel")(cancel)


def pull(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every source.")] = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> int:
    """Back up sources now: queues a pull of each and follows it; the exit code tells the outcome."""
    home: Home = context.obj
    if bool(names) == everything:
        raise UsageError("name the sources to pull, or say --all", "for example: pbs pull web1")
    wanted = list(dict.fromkeys(names or []))
    if everything or len(wanted) > 1:
        there = [each["name"] for each in _service(home).get("/api/v1/sources")["sources"]]
        unknown = [name for name in wanted if name not in there]
        if unknown:  # said before anything is asked for: half of a command is none
            raise NotFound(f"there is no source {unknown[0]!r}", "`pbs source list` names them")
        wanted = wanted or there
    if not wanted:
        raise NotFound("there is no source yet", "`pbs source add NAME --host HOST` adds one")
    return ask_all(home, wanted, "pull", no_wait=no_wait, as_json=as_json)


def migrate(context: typer.Context, name: Name, no_wait: NoWait = False, as_json: Json = False) -> int:
    """Import the newest state of a legacy rdiff-backup tree now (a first pull does it by itself)."""
    return ask_all(context.obj, [name], "migrate", no_wait=no_wait, as_json=as_json)


def _service(home: Home) -> Any:
    from pbs.cli.client import Service

    return Service(home.controller_socket)


def ask_all(
    home: Home,
    names: list[str],
    kind: str,
    options: dict[str, Any] | None = None,
    *,
    no_wait: bool,
    as_json: bool,
) -> int:
    """Ask for all of them at once, then follow one after the other."""
    from pbs.cli.follow import follow

    service = _service(home)
    more = {"options": options} if options else {}
    asked = [service.post("/api/v1/runs", {"source": name, "kind": kind, **more}) for name in names]
    if no_wait:
        ended = asked
    else:
        try:
            ended = [follow(service, run, home) for run in asked]
        except KeyboardInterrupt:
            _goes_on(asked)
            raise
    if as_json:
        document(ended[0] if len(ended) == 1 else {"runs": ended})
    else:
        for run in ended:
            _tell(run)
    codes = {0 if no_wait else EXIT_CODES.get(str(run["outcome"]), 1) for run in ended}
    return next(code for code in WORST if code in codes or code == 0)


def _goes_on(asked: list[dict[str, Any]]) -> None:
    """Whoever stops watching has not stopped the work."""
    if len(asked) == 1:
        run = asked[0]["id"]
        note(f"no longer followed; the run goes on: `pbs log {run} -f` shows it, `pbs cancel {run}` ends it")
    else:
        note("no longer followed; the runs go on: `pbs status` shows them, `pbs cancel RUN` ends one:")
        for each in asked:
            note(f"  {each['id']}")


def cancel(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's id, or a source for the run that it has now.", show_default=False
        ),
    ],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only ask; do not wait for its end.")] = False,
    as_json: Json = False,
) -> int:
    """Ask a run to stop, and wait for its end. What was admitted stays; the next run sends what is missing."""
    from pbs.cli.follow import follow

    home: Home = context.obj
    service = _service(home)
    wanted = _live_run(service, run)
    ended = service.post(f"/api/v1/runs/{wanted}/cancel", {})
    if not no_wait and ended["state"] != "ended":
        ended = follow(service, ended, home)
    if as_json:
        document(ended)
        return 0
    print(run_line(ended))
    if ended["outcome"] not in (None, "cancelled"):
        note(f"  it came to its end before it could be stopped: {clean_line(ended['message'] or '', 4000)}")
    return 0


def _live_run(service: Any, word: str) -> str:
    """The id that was given; for a source, the run of it that goes on, else the one that waits.

    Raises:
        NotFound: the source has neither.
    """
    from urllib.parse import quote

    if not valid_name(word):  # `latest` is of the past
        return quote(word, safe="")
    try:
        newest = service.get(f"/api/v1/runs?source={word}&limit=100")["runs"]
    except NotFound:
        return word
    for state in ("running", "queued"):
        found = next((str(each["id"]) for each in newest if each["state"] == state), None)
        if found is not None:
            return found
    raise NotFound(f"no run of {word} goes on or waits", "`pbs runs` lists what there was")


def _tell(run: dict[str, Any]) -> None:
    print(run_line(run))
    if run["outcome"] not in (None, "ok"):
        note(f"  {clean_line(run['message'] or '', 4000)}")
        if run["hint"]:
            note(f"  {clean_line(run['hint'], 4000)}")
        note(f"  pbs log {run['id']}")


def runs(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100000, help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest runs, newest first; works with the service stopped."""
    from pbs.ledger import open_ledger
    from pbs.views import run_view

    ledger = open_ledger(context.obj.ledger)
    if name is not None:
        ledger.require_source(name)
    found = [run_view(each) for each in ledger.runs(name, limit=limit)]
    if as_json:
        document({"runs": found})
        return
    if not found:
        note("nothing has run yet: `pbs pull NAME` asks for the first run")
        return
    lines = [
        (run["id"], run["outcome"] or run["state"], when(run["ended"]), lasted(run["seconds"]), run["files"],
         amount(run["bytes"]), amount(run["added_bytes"]), amount(run["stored_bytes"]), amount(run["tunnel_bytes"]))
        for run in found
    ]  # fmt: skip
    head = ("RUN", "OUTCOME", "ENDED (UTC)", "TIME", "FILES", "SIZE", "NEW", "STORED", "SENT")
    table(head, lines, right=frozenset({3, 4, 5, 6, 7, 8}))


def log(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or a source for its newest run.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Show what one run did; works with the service stopped and a lost ledger."""
    from pbs.cli.follow import line_of
    from pbs.clock import pause
    from pbs.journal import Follower, find_log

    home: Home = context.obj
    path = find_log(home.log / "runs", run)
    if path is None:
        path, kept = _log_in_ledger(home, run)
        if kept:
            if as_json:
                document({"events": kept})
            else:
                print("\n".join(filter(None, map(line_of, kept))))
            return
    follower = Follower(path)
    events = []
    while True:
        ended = False
        for event in follower.new():
            ended = ended or event["event"] == "ended"
            if as_json:
                events.append(event)
            elif (line := line_of(event)) is not None:
                print(line, flush=True)
        if ended or not follow or _over(home, follower.path.stem):
            break
        pause(0.1)
    if as_json:
        document({"events": events})


def _over(home: Home, run_id: str) -> bool:
    """Whether a run that wrote no last line is over all the same (its worker was killed)."""
    from pbs.ledger import open_ledger

    return open_ledger(home.ledger).run(run_id).state == "ended"


def _log_in_ledger(home: Home, name: str) -> tuple[Any, list[dict[str, Any]]]:
    """Where the log of a run lies that is named by its id or source; where it is gone, what the ledger keeps of it."""
    from pbs.clock import stamp
    from pbs.journal import log_of
    from pbs.ledger import open_ledger

    ledger = open_ledger(home.ledger)
    found = ledger.runs(None if name == "latest" else name, limit=1)
    try:
        known = found[0] if found else ledger.run(name)
    except NotFound as error:
        raise NotFound(
            f"there is no run {name!r} and no run of a source of that name", "`pbs runs` lists them"
        ) from error
    path, end = log_of(home.log, known), stamp(known.ended)
    if path.exists() or known.state != "ended":
        return path, []
    gone = f"the log of {known.id} is no longer kept; this is what the ledger has of it"
    texts = [("remark", gone), *(("log", line) for line in (known.output or "").splitlines())]
    kept: list[dict[str, Any]] = [{"time": end, "event": event, "text": text} for event, text in texts]
    last = {"outcome": known.outcome, "message": known.message, "hint": known.hint}
    return path, [*kept, {"time": end, "event": "ended", **last}]

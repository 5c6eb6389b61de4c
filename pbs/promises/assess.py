"""From facts to the health of everything, with since when each promise stands as it does. It writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pbs.config import Config
from pbs.home import Home
from pbs.ledger import Held, Ledger
from pbs.promises import gather, server, source
from pbs.promises.facts import Facts, ServerFacts
from pbs.promises.nouns import Health, Promise, Verdict

# What stands for the server where others have the name of a source.
SERVER = ""
Verdicts = dict[tuple[str, str], Verdict]


def verdicts(of_sources: Mapping[str, Facts], of_the_server: ServerFacts) -> Verdicts:
    """Every promise, by source and name: those of the server first. Pure."""
    found = {(SERVER, name): each for name, each in server.judge(of_the_server).items()}
    for name, facts in of_sources.items():
        found |= {(name, promise): each for promise, each in source.judge(facts, of_the_server.now).items()}
    return found


def health(found: Verdicts, held: Mapping[tuple[str, str], Held], now: datetime) -> Health:
    """The promises, each with since when it stands so: what stood so before still does. Pure."""

    def since(which: tuple[str, str], verdict: Verdict) -> datetime:
        before = held.get(which)
        # A moment that is still to come was written down before the clock was set right.
        return min(before.since, now) if before is not None and before.state == verdict.state else now

    return Health(
        now,
        tuple(
            Promise(name, about or None, each.state, since((about, name), each), each.reason, each.hint)
            for (about, name), each in found.items()
        ),
    )


def without_service(home: Home, ledger: Ledger, config: Config, now: datetime) -> Health:
    """The health of a home that is not served: what can be told then, and that nobody looks after it."""
    vitals = ledger.vitals.of_all()
    found = verdicts(
        gather.of_sources(home, ledger, config.sources, vitals, now, copies=config.server.copies == "daily"),
        gather.of_the_server(home, ledger, config.server, now, served=False),
    )
    return health(found, ledger.vitals.promises(), now)

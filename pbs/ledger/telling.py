"""What was told of which promise, and when, by each channel of messages. It decides nothing and sends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, delete, func, insert, select, update

from pbs.ledger.engine import writer
from pbs.ledger.schema import run as runs
from pbs.ledger.schema import told

Which = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """In which state a promise was told for the last time, and when."""

    state: str
    time: datetime


class Telling:
    """What each channel told, so that a restart tells nothing twice."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writer(engine)

    def all(self) -> dict[str, dict[Which, Told]]:
        """What each channel told of which source (none = the server) and promise."""
        found: dict[str, dict[Which, Told]] = {}
        with self._engine.connect() as db:
            for row in db.execute(select(told)):
                found.setdefault(row.channel, {})[row.source, row.name] = Told(row.state, row.time)
        return found

    def tell(self, channel: str, now: Mapping[Which, Told], over: Iterable[Which]) -> None:
        """Write down what a channel told, and forget what is over."""
        with self._writer.begin() as db:
            for (about, name), each in now.items():
                which = (told.c.channel == channel) & (told.c.source == about) & (told.c.name == name)
                values = {"state": each.state, "time": each.time}
                if db.execute(update(told).where(which).values(**values)).rowcount == 0:
                    db.execute(insert(told).values(channel=channel, source=about, name=name, **values))
            for about, name in over:
                which = (told.c.channel == channel) & (told.c.source == about) & (told.c.name == name)
                db.execute(delete(told).where(which))

    def keep(self, channels: Collection[str]) -> None:
        """Forget every other channel."""
        with self._writer.begin() as db:
            db.execute(delete(told).where(told.c.channel.not_in(channels)))

    def ended_since(self, moment: datetime) -> Counter[tuple[str, str]]:
        """How many runs of each source ended how, from then on."""
        query = (
            select(runs.c.source, runs.c.outcome, func.count().label("number"))
            .where(runs.c.ended >= moment)
            .group_by(runs.c.source, runs.c.outcome)
        )
        with self._engine.connect() as db:
            return Counter({(row.source, row.outcome): row.number for row in db.execute(query)})

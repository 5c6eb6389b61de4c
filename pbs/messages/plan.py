"""What there is to say on a channel now: pure, from how promises stand, what was told, and a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pbs.config import Channel
from pbs.ledger import Told
from pbs.promises import RANK, Health, Promise, State
from pbs.schedule.window import Window

Which = tuple[str, str]
# What stands in the ledger for the daily summary, where others have the name of a promise.
DIGEST = ("", "(digest)")
PING = ("", "(ping)")
OWN = frozenset({DIGEST, PING})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to say.

    Attributes:
        new: What has come to stand so badly, or worse than was told.
        still: What was told a while ago and still does.
        mended: What was told and is kept again, or stands better than the channel asks for.
        now: What to write down once it was said.
        over: What to forget then.
    """

    new: tuple[Promise, ...]
    still: tuple[Promise, ...]
    mended: tuple[Promise, ...]
    now: Mapping[Which, Told]
    over: frozenset[Which]

    @property
    def silent(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.new or self.still or self.mended)


def which(promise: Promise) -> Which:
    """What a promise has in the ledger."""
    return promise.source or "", promise.name


def relevant(channel: Channel, health: Health) -> list[Promise]:
    """The promises that a channel is for."""
    if not channel.sources:
        return list(health.promises)
    return [each for each in health.promises if each.source in channel.sources]


def bad(channel: Channel, promise: Promise) -> bool:
    """Whether it stands so badly that the channel wants to know."""
    return RANK[promise.state] >= RANK[State(channel.level)]


def plan(channel: Channel, health: Health, told: Mapping[Which, Told], now: datetime) -> Plan:
    """What there is to say about promises now; nothing in quiet hours."""
    if quiet(channel, now):
        return Plan((), (), (), {}, frozenset())
    delay = timedelta(seconds=channel.delay)
    new, still, mended, over = [], [], [], set()
    given = relevant(channel, health)
    for each in given:
        before = told.get(which(each))
        settled = now - each.since >= delay
        if not bad(channel, each):
            if before is not None and settled:
                over.add(which(each))
                mended += [each] if channel.mended else []
        elif before is None or RANK[each.state] > RANK[State(before.state)]:
            new += [each] if settled else []
        elif channel.repeat is not None and now - before.time >= timedelta(seconds=channel.repeat):
            still.append(each)
    # A source that is gone needs no word: somebody removed it.
    over |= told.keys() - {which(each) for each in given} - OWN
    written = {which(each): Told(each.state, now) for each in (*new, *still)}
    return Plan(tuple(new), tuple(still), tuple(mended), written, frozenset(over))


def quiet(channel: Channel, now: datetime) -> bool:
    """Whether nothing may be sent now."""
    if channel.quiet is None:
        return False
    window = Window(*channel.quiet, _zone(channel))
    return window.opens(now) == now


def digest_due(channel: Channel, told: Mapping[Which, Told], now: datetime) -> bool:
    """Whether the summary of the day is to be sent. The first one comes with the first time of day that passes."""
    if channel.digest is None:
        return False
    before = told.get(DIGEST)
    return before is not None and before.time < _newest_time_of_day(channel, now) <= now


def _newest_time_of_day(channel: Channel, now: datetime) -> datetime:
    local = now.astimezone(_zone(channel))
    minutes = channel.digest or 0
    moment = local.replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0)
    if moment > local:
        moment = (moment - timedelta(days=1)).replace(hour=minutes // 60, minute=minutes % 60)
    return moment.astimezone(UTC)


def ping_due(channel: Channel, state: State, told: Mapping[Which, Told], now: datetime) -> bool:
    """Whether to tell a service that notices silence how all stands: now and then, and at once when that changed."""
    before = told.get(PING)
    if before is None or before.time > now or (before.state == State.BROKEN) != (state is State.BROKEN):
        return True
    return now - before.time >= timedelta(seconds=channel.every)


def _zone(channel: Channel) -> ZoneInfo:
    return ZoneInfo(channel.timezone)

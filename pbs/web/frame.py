"""What every page has: the way to the others, who looks at it, and times as clocks show them where that person is.

Text from a source is escaped by the templates. It answers nothing by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiohttp import web

from pbs.clock import parse_stamp
from pbs.render import render
from pbs.text import duration, size
from pbs.web.assets import assets
from pbs.web.declare import Asked, Media, Role
from pbs.web.face import FACE
from pbs.web.guard import who_asks

PAGE = Media("text/html", "A page.")
ZONE_COOKIE = "pbs_timezone"
# Where the first part of a path leads to, and what it is called: the navigation of every page.
PLACES = (
    ("/", "Sources"),
    ("/runs", "Runs"),
    ("/promises", "Promises"),
    ("/quarantine", "Quarantine"),
    ("/settings", "Settings"),
)
AREAS = {"sources": "/", "browse": "/", "audit": "/settings"}


class OfAForm(Asked):
    """What a form of a page sends besides its own fields."""

    csrf: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """Moments as the person who looks would write them."""

    zone: tzinfo
    now: datetime

    @property
    def name(self) -> str:
        """Whose clocks."""
        return getattr(self.zone, "key", "UTC")

    def local(self, value: str | datetime) -> datetime:
        """This moment there."""
        return (parse_stamp(value) if isinstance(value, str) else value).astimezone(self.zone)

    def clock(self, value: str | datetime) -> str:
        """Day and time of day, without seconds."""
        return f"{self.local(value):%Y-%m-%d %H:%M}"

    def exact(self, value: str | datetime) -> str:
        """The same with seconds, and how far from UTC."""
        there = self.local(value)
        return f"{there:%Y-%m-%d %H:%M:%S} {there.tzname() or ''}".strip()

    def away(self, value: str | datetime) -> str:
        """How far from now, in its largest unit: `3 min ago`, `in 5 h`."""
        seconds = (self.now - self.local(value)).total_seconds()
        if abs(seconds) < 10:
            return "now"
        told = duration(abs(round(seconds))).replace(".0", "")
        short = told if abs(seconds) < 86400 else " ".join(told.split()[:2])
        return f"{short} ago" if seconds > 0 else f"in {short}"


def zone_named(name: str) -> tzinfo | None:
    """The time zone of this name, if there is one."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name) if name.isascii() and 0 < len(name) <= 64 else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def times_of(request: web.Request) -> Times:
    """The time as whoever asks wants to read it."""
    zone = zone_named(request.cookies.get(ZONE_COOKIE, "UTC")) or UTC
    return Times(zone, request.app[FACE].time.now())


def may_act(request: web.Request) -> bool:
    """Whether whoever asks may change something."""
    return who_asks(request).role >= Role.OPERATOR


def page(request: web.Request, template: str, status: int = 200, **values: object) -> web.Response:
    """A page."""
    who, area = who_asks(request), request.path.split("/")[1]
    text = render(
        template,
        **{
            "who": who, "may": may_act(request), "csrf": who.csrf, "status": status, "size": size, "duration": duration,
            "times": times_of(request), "assets": assets(), "places": PLACES, "area": AREAS.get(area, f"/{area}"),
            **values,
        },
    )  # fmt: skip
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def go_to(path: str) -> web.Response:
    """Send a browser to another page."""
    return web.Response(status=303, headers={"Location": path})

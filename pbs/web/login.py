"""Logging in with a browser: a token is typed once, a cookie stands for it. It never shows a token again."""

from __future__ import annotations

import secrets
from typing import Annotated
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from pbs.errors import UsageError
from pbs.render import render
from pbs.web.assets import assets
from pbs.web.declare import Asked, OfAPage, Role, operation
from pbs.web.frame import PAGE, OfAForm, go_to
from pbs.web.guard import LONGEST, WHO, Failures, Keys, digest_of, refuse_wrong, who_asks

LONGEST_NEXT = 2000


class Desk:
    """What the login needs: who holds which key, how often it was tried, and how the cookie is called."""

    def __init__(self, keys: Keys, failures: Failures, *, secure: bool) -> None:
        self.keys = keys
        self.failures = failures
        self.secure = secure

    @property
    def cookie(self) -> str:
        """Its name. Behind TLS it has the prefix that keeps others of the same domain from setting it."""
        return "__Host-pbs_session" if self.secure else "pbs_session"


DESK: web.AppKey[Desk | None] = web.AppKey("desk")


class Place(OfAPage):
    """Where to go after it."""

    next: Annotated[str, Field(description="A path of this server.")] = "/"


class Given(Asked):
    """What was typed."""

    token: Annotated[str, Field(description="A token.")] = ""
    next: Annotated[str, Field(description="A path of this server.")] = "/"


def own_path(path: str) -> str:
    """This path where it is one of this server's; else its first page. What browsers take for another host is none."""
    plain = path.isascii() and path.isprintable() and " " not in path and "\\" not in path
    if not plain or not path.startswith("/") or path.startswith("//") or len(path) > LONGEST_NEXT:
        return "/"
    return "/" if path.partition("?")[0] in ("/login", "/logout") else path


def way_in(request: web.Request) -> web.StreamResponse | None:
    """For a browser without login: the way to the page for it. None for anybody else, who gets a refusal."""
    if request.method != "GET" or "text/html" not in request.headers.get("Accept", ""):
        return None
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        # Our cookie stays away from what another site began, such as a link in a feed reader. Asking once more is our own doing.
        return web.Response(text=render("again.html.j2"), content_type="text/html", charset="utf-8")
    here = quote(own_path(request.raw_path), safe="")
    return go_to(f"/login?next={here}" if here != "%2F" else "/login")


@operation("GET", "/login", PAGE, role=Role.NOBODY)
async def login(request: web.Request, asked: Place) -> web.StreamResponse:
    """The page for logging in."""
    if request.app[DESK] is None:  # the unix socket asks for none
        return go_to(own_path(asked.next))
    return _page(own_path(asked.next), 200, "")


def _page(next_path: str, status: int, said: str) -> web.Response:
    text = render("login.html.j2", next=next_path, said=said, assets=assets())
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


@operation("POST", "/login", PAGE, status=303, role=Role.NOBODY, form=True)
async def enter(request: web.Request, asked: Given) -> web.StreamResponse:
    """Log in with a token."""
    desk = request.app[DESK]
    if desk is None:
        raise UsageError("the socket needs no login", "ask without one")
    secret = secrets.token_urlsafe(32)
    who = desk.keys.log_in(asked.token.strip(), secret)
    if who is None:
        refuse_wrong(request, desk.failures)
        return _page(own_path(asked.next), 401, "This token is not right, or no longer.")
    request[WHO] = who
    # Whoever had the cookie before, or put it there, has nothing of the new login.
    if old := request.cookies.get(desk.cookie):
        desk.keys.access.end_session(digest_of(old))
    response = go_to(own_path(asked.next))
    response.set_cookie(
        desk.cookie, secret, max_age=int(LONGEST.total_seconds()), path="/", httponly=True, secure=desk.secure,
        samesite="Strict",
    )  # fmt: skip
    return response


@operation("POST", "/logout", PAGE, status=303, role=Role.VIEWER, form=True)
async def leave(request: web.Request, asked: OfAForm) -> web.StreamResponse:  # noqa: ARG001 - the guard looked at it
    """Log out."""
    desk, who = request.app[DESK], who_asks(request)
    if desk is None or who.session is None:
        raise UsageError("there is no login to end", "only a browser that logged in has one")
    desk.keys.access.end_session(who.session.digest)
    response = go_to("/login")
    response.del_cookie(desk.cookie, path="/", httponly=True, secure=desk.secure, samesite="Strict")
    return response


OPERATIONS = (login, enter, leave)

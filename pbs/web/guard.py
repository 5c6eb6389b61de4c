"""Who asks, and whether they may: tokens and logins over TCP, roles, requests of other sites, too many wrong tries.

It answers nothing by itself, and keeps nothing but a bounded count of failures.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from pbs.clock import Clock
from pbs.ledger.access import Access, Session
from pbs.web.declare import Handler, Operation, Role, form

OPERATOR = "operator"  # the name of whoever holds etc/keys/admin.token
IDLE = timedelta(hours=12)
LONGEST = timedelta(days=30)
WINDOW_SECONDS = 60.0
MOST_FAILURES = 10
MOST_FAILURES_OVERALL = 200
MOST_ADDRESSES = 1000
HARMLESS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks. `session` is set for a browser that logged in; `csrf` is what its forms must send."""

    name: str
    role: Role
    via: str
    session: Session | None = None
    csrf: str = ""


WHO: web.RequestKey[Who] = web.RequestKey("who")
NOBODY = Who("nobody", Role.NOBODY, "tcp")
SOCKET = Who("socket", Role.OPERATOR, "socket")


def who_asks(request: web.Request) -> Who:
    """Who asks this."""
    who: Who = request.get(WHO, NOBODY)
    return who


def digest_of(secret: str) -> str:
    """What is kept of a secret that has so many random bits that nobody finds it by trying."""
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def operation_of(request: web.Request) -> Operation | None:
    """The operation that answers this request; None where nothing does."""
    answers = getattr(request.match_info.handler, "__self__", None)
    return answers if isinstance(answers, Operation) else None


class Failures:
    """Counts wrong tries, of each address and of all, for a minute. Bounded, however many addresses try."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._all = 0
        self._of: OrderedDict[str, int] = OrderedDict()

    def count(self, address: str | None) -> bool:
        """Count one; True where there were too many already."""
        now = self._clock.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._since, self._all = now, 0
            self._of.clear()
        place = _neighbourhood(address)
        self._all += 1
        self._of[place] = self._of.pop(place, 0) + 1
        while len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)
        return self._of[place] > MOST_FAILURES or self._all > MOST_FAILURES_OVERALL


def _neighbourhood(address: str | None) -> str:
    """What counts as one address: of IPv6 a whole network, since whoever has one address has them all."""
    try:
        known = ip_address(address or "")
    except ValueError:
        return ""
    return str(ip_network((known, 64), strict=False)) if isinstance(known, IPv6Address) else str(known)


class Keeper(Protocol):
    """What tells who holds a secret."""

    def by_token(self, secret: str) -> Who | None:
        """Whoever holds this token."""
        ...

    def by_cookie(self, secret: str) -> Who | None:
        """Whoever logged in and got this cookie."""
        ...


class Keys:
    """The operator's token, the tokens of the ledger, and the logins made with them."""

    def __init__(self, access: Access, clock: Clock, admin: str) -> None:
        self.access = access
        self.clock = clock
        self._admin = digest_of(admin)

    @property
    def own(self) -> str:
        """What stands for the operator's token where others have an id; another token has another one."""
        return digest_of(self._admin)[:32]

    def by_token(self, secret: str) -> Who | None:
        """Whoever holds this token."""
        digest = digest_of(secret)
        if hmac.compare_digest(digest, self._admin):
            return Who(OPERATOR, Role.OPERATOR, "token")
        found = self.access.token(digest, self.clock.now())
        return Who(found.name, Role[found.role.upper()], "token") if found is not None else None

    def by_cookie(self, secret: str) -> Who | None:
        """Whoever logged in and got this cookie."""
        found = self.access.session(digest_of(secret), self.clock.now(), IDLE, self.own)
        if found is None:
            return None
        return Who(found.name, Role[found.role.upper()], "login", found, csrf_of(secret))

    def log_in(self, token: str, secret: str) -> Who | None:
        """Make a login of a token; `secret` is what the browser will send. None where the token is wrong."""
        who = self.by_token(token)
        if who is None:
            return None
        now = self.clock.now()
        found = None if who.name == OPERATOR else self.access.token(digest_of(token), now)
        identity = found.id if found is not None else self.own
        until = now + LONGEST
        if found is not None and found.expires is not None:
            until = min(until, found.expires)
        self.access.add_session(
            Session(digest_of(secret), who.name, identity, who.role.name.lower(), now, now, until)
        )
        return who


def csrf_of(secret: str) -> str:
    """What forms of a login must send: other sites do not know it, and it tells nothing of the cookie."""
    return hmac.new(secret.encode("utf-8", "surrogateescape"), b"form", sha256).hexdigest()


def on_socket() -> Middleware:
    """The middleware of the unix socket: whoever can open it may do everything."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[WHO] = SOCKET
        return await handler(request)

    return admit


def on_tcp(keys: Keeper, failures: Failures, unlocked: frozenset[str], cookie: str) -> Middleware:
    """The middleware of the TCP listener: a token, or a login, that has the role which the operation needs."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        answers = operation_of(request)
        needed = answers.role if answers is not None else Role.VIEWER
        resource = request.match_info.route.resource
        # From the route that matched, not from what the address looks like.
        area = resource.canonical.split("/")[1] if resource is not None else ""
        if answers is not None and answers.area:
            area = answers.area
        if needed is Role.NOBODY or area in unlocked:
            return await handler(request)
        request[WHO] = who = _identify(request, keys, failures, cookie)
        if who.role is Role.NOBODY:
            raise web.HTTPUnauthorized(reason="this needs a token or a login")
        if who.session is not None and request.method not in HARMLESS:
            await _own_form(request, who)
        if who.role < needed:
            raise web.HTTPForbidden(reason=f"this is for operators; {who.name} is a viewer")
        return await handler(request)

    return admit


def _identify(request: web.Request, keys: Keeper, failures: Failures, cookie: str) -> Who:
    """Who asks; a login counts where no token is given.

    Raises:
        HTTPUnauthorized, HTTPTooManyRequests: the token is wrong.
    """
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    # Anything but `Bearer` may be meant for a proxy before us.
    if scheme.lower() == "bearer" and secret.strip():
        who = keys.by_token(secret.strip())
        if who is None:
            refuse_wrong(request, failures)
            raise web.HTTPUnauthorized(reason="this token is not right, or no longer")
        return who
    secret = request.cookies.get(cookie, "")
    return (keys.by_cookie(secret) if secret else None) or NOBODY


def refuse_wrong(request: web.Request, failures: Failures) -> None:
    """Count a wrong try.

    Raises:
        HTTPTooManyRequests: there were too many.
    """
    if failures.count(request.remote):
        raise web.HTTPTooManyRequests(
            reason="too many wrong tokens", headers={"Retry-After": f"{WINDOW_SECONDS:g}"}
        )


async def _own_form(request: web.Request, who: Who) -> None:
    """A browser's login is sent along by itself; that a page of ours sends this, only its form can tell."""
    said = request.headers.get("X-CSRF-Token", "")
    if not said:
        said = (await form(request)).get("csrf", "")
    if not hmac.compare_digest(said.encode("utf-8", "surrogateescape"), who.csrf.encode()):
        raise web.HTTPForbidden(reason="this form is not of this login")


def of_this_site(base_url: str) -> Middleware:
    """The middleware that lets a page of another site change nothing, whatever cookies or network position it has."""
    home = base_url.partition("://")[2].partition("/")[0]

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in HARMLESS:
            origin = request.headers.get("Origin")
            # SCHEME://HOST[:PORT] or `null`, by its standard: anything else is foreign too.
            foreign = origin is not None and origin.partition("://")[2] not in (request.host, home)
            if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
                raise web.HTTPForbidden(reason="cross-site requests are refused")
        return await handler(request)

    return check

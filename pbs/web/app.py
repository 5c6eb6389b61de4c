"""Who may ask what: the application, its two listeners, and the checks that stand before every answer.

On the unix socket whoever can open it may do everything; on TCP it takes the operator's token. It holds no state.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Middleware

from pbs.errors import HomeError, PbsError
from pbs.files import explained
from pbs.home import Home, operator_token
from pbs.model import ServerSettings
from pbs.views import error_view
from pbs.web import api, pages
from pbs.web.declare import routes_of
from pbs.web.face import FACE, Face

BODY_LIMIT = 1 << 16
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
}
ADVICE = {
    401: "send it as `Authorization: Bearer TOKEN`; it lies in etc/keys/admin.token",
    403: "ask from a program, or from a page of this server",
    404: "see the list of paths in the documentation",
    405: "nothing that changes state answers to GET, and nothing else to POST",
    413: f"send at most {BODY_LIMIT} bytes",
}
log = logging.getLogger("pbs.web")


@web.middleware
async def one_error_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal is JSON of one shape; a fault of ours is logged and says no more than that."""
    try:
        response = await handler(request)
    except PbsError as error:
        response = web.json_response(error_view(error), status=error.http_status)
    except web.HTTPException as error:
        problem = PbsError(error.reason, ADVICE.get(error.status))
        problem.code = "http"
        response = web.json_response(error_view(problem), status=error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    except Exception:
        log.exception("%s %s", request.method, request.path)
        response = web.json_response(
            error_view(PbsError("a fault of pbs itself", "see var/log/controller.log")), status=500
        )
    response.headers.update(HEADERS)
    return response


@web.middleware
async def no_cross_site(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A page of another site may not change anything here, whatever cookies or network position it has."""
    if request.method not in ("GET", "HEAD"):
        origin = request.headers.get("Origin")
        # SCHEME://HOST[:PORT] or `null`, by its standard: anything else is foreign too.
        foreign = origin is not None and origin.partition("://")[2] != request.host
        if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(reason="cross-site requests are refused")
    return await handler(request)


def token_wanted(token: str, unlocked: frozenset[str]) -> Middleware:
    """The middleware of the TCP listener: the operator's token, except for what the configuration opens."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        # From the route that matched, not from what the address looks like.
        resource = request.match_info.route.resource
        area = resource.canonical.split("/")[1] if resource is not None else ""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        right = hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())
        if area not in unlocked and not right:
            raise web.HTTPUnauthorized(reason="this needs the operator's token")
        return await handler(request)

    return check


def make_app(face: Face, *middlewares: Middleware) -> web.Application:
    """The application for one listener."""
    app = web.Application(
        client_max_size=BODY_LIMIT, middlewares=[one_error_shape, no_cross_site, *middlewares]
    )
    app[FACE] = face
    app.add_routes([*routes_of(api.OPERATIONS), *pages.routes()])
    return app


@asynccontextmanager
async def serve(face: Face, home: Home, server: ServerSettings) -> AsyncIterator[None]:
    """Answer on the controller's socket and, unless `listen` is off, on TCP.

    Raises:
        HomeError: a socket cannot be bound, or there is no token to ask for.
    """
    runners = [web.AppRunner(make_app(face), access_log=None)]
    if server.listen is not None:
        token = operator_token(home)
        runners.append(
            web.AppRunner(make_app(face, token_wanted(token, frozenset(server.open))), access_log=None)
        )
    try:
        for runner in runners:
            await runner.setup()
        home.controller_socket.unlink(missing_ok=True)
        with explained("listen on the controller's socket", home.controller_socket):
            await web.UnixSite(runners[0], str(home.controller_socket)).start()
            home.controller_socket.chmod(0o600)
        if server.listen is not None:
            await _listen(runners[1], *server.listen)
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise HomeError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            'choose another `listen` in [server] of pbs.toml, or "off" for the socket alone',
        ) from error

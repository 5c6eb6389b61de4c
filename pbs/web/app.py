"""The application, its two listeners, and the checks that stand before every answer.

On the unix socket whoever can open it may do everything; on TCP it takes a token or a login. It holds no state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Middleware

from pbs.clock import Clock
from pbs.errors import HomeError, PbsError
from pbs.files import explained
from pbs.home import Home
from pbs.keyring import operator_token
from pbs.model import ServerSettings
from pbs.views import error_view
from pbs.web import api, audit, events, feeds, pages
from pbs.web.again import Again
from pbs.web.content import AT_A_TIME, SLOTS
from pbs.web.declare import Handler, routes_of
from pbs.web.door import Doors, answering
from pbs.web.face import FACE, Face
from pbs.web.frame import page
from pbs.web.guard import Failures, Keys, of_this_site, on_socket, on_tcp, operation_of
from pbs.web.login import DESK, Desk, way_in

BODY_LIMIT = 1 << 16
BACKLOG = 128
# How long a download that goes on may hold up the end of the service.
GRACE_SECONDS = 3.0
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not `no-referrer`: with it browsers hide from us that a form of our own pages is our own.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ADVICE = {
    401: "send `Authorization: Bearer TOKEN`, or log in at /login; the operator's token lies in etc/keys/admin.token",
    403: "ask from a program, or from a page of this server, with a token that may do this",
    404: "see the list of paths in /api/v1/openapi.json",
    405: "nothing that changes state answers to GET, and nothing else to POST",
    408: "send the whole request at once",
    413: f"send at most {BODY_LIMIT} bytes",
    429: "wait a minute, then send the right one: `pbs token list` names those that there are",
}
PASSED_ON = ("Allow", "Retry-After")
log = logging.getLogger("pbs.web")


@web.middleware
async def one_error_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal is JSON of one shape, or a page for a browser; a fault of ours is logged and says no more than that."""
    headers: dict[str, str] = {}
    try:
        with answering(request.transport):
            return await handler(request)
    except PbsError as error:
        problem, status = error, error.http_status
    except web.HTTPException as error:
        if error.status == 401 and (way := way_in(request)) is not None:
            return way
        problem, status = PbsError(error.reason, ADVICE.get(error.status)), error.status
        problem.code = "http"
        headers = {name: error.headers[name] for name in PASSED_ON if name in error.headers}
    except Exception:
        known = operation_of(request)  # not what was sent: a path may hold a token
        log.exception("%s %s", request.method, known.path if known is not None else "")
        problem, status = PbsError("a fault of pbs itself", "see var/log/controller.log"), 500
    if "text/html" in request.headers.get("Accept", ""):
        response = page(request, "error.html.j2", status, error=error_view(problem)["error"])
    else:
        response = web.json_response(error_view(problem), status=status)
    response.headers.update(headers)
    return response


async def _with_headers(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001
    """What stands in the head of every answer, also of one that is sent bit by bit."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def make_app(
    face: Face, *middlewares: Middleware, desk: Desk | None = None, aliases: Mapping[str, str] | None = None
) -> web.Application:
    """The application for one listener."""
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[one_error_shape, *middlewares])
    app[FACE] = face
    app[DESK] = desk
    app[SLOTS] = asyncio.Semaphore(AT_A_TIME)
    app.on_response_prepare.append(_with_headers)
    events.prepare(app)
    ours = (*api.OPERATIONS, *pages.OPERATIONS)
    taken = {each.path for each in ours}
    older = tuple(each for each in feeds.of_older(aliases or {}) if each.path not in taken)
    app.add_routes(routes_of((*ours, *older)))
    return app


def _apps(face: Face, home: Home, server: ServerSettings, clock: Clock) -> list[web.Application]:
    """What answers on the socket, and what answers on TCP where anything does."""
    written, own = audit.written(face.ledger.access, clock), of_this_site(server.base_url)
    again = Again(clock, face.ledger.upkeep.changes).middleware()
    apps = [make_app(face, written, on_socket(), own, again, aliases=server.feed_aliases)]
    if server.listen is not None:
        keys, failures = Keys(face.ledger.access, clock, operator_token(home)), Failures(clock)
        desk = Desk(keys, failures, secure=server.base_url.startswith("https://"))
        admit = on_tcp(keys, failures, frozenset(server.open), desk.cookie)
        apps.append(make_app(face, written, admit, own, again, desk=desk, aliases=server.feed_aliases))
    return apps


@asynccontextmanager
async def serve(face: Face, home: Home, server: ServerSettings) -> AsyncIterator[None]:
    """Answer on the controller's socket and, unless `listen` is off, on TCP.

    Raises:
        HomeError: a socket cannot be bound, or there is no token to ask for.
    """
    runners = [
        web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_SECONDS)
        for app in _apps(face, home, server, face.time)
    ]
    async with AsyncExitStack() as stack:
        for runner in runners:
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
        home.controller_socket.unlink(missing_ok=True)
        with explained("listen on the controller's socket", home.controller_socket):
            await web.UnixSite(runners[0], str(home.controller_socket)).start()
            home.controller_socket.chmod(0o600)
        if server.listen is not None:
            stack.callback(await _listen(runners[1], *server.listen))
        yield


async def _listen(runner: web.AppRunner, host: str, port: int) -> Callable[[], None]:
    """Listen on TCP; returns what ends it."""
    doors = Doors(cast("Callable[[], asyncio.Protocol]", runner.server))
    try:
        server = await asyncio.get_running_loop().create_server(doors, host, port, backlog=BACKLOG)
    except OSError as error:
        doors.close()
        raise HomeError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            'choose another `listen` in [server] of pbs.toml, or "off" for the socket alone',
        ) from error

    def end() -> None:
        doors.close()
        server.close()

    return end

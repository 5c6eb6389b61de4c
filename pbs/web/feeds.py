"""Feeds over HTTP: for whoever may look, for readers that can send no token, and at addresses that an older server had.

What a reader has already is not sent again.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from aiohttp import web
from pydantic import Field

from pbs import keyring
from pbs.errors import HomeError, NotFound
from pbs.publish import ALL, TYPES
from pbs.web.declare import Asked, Media, OfAPage, Operation, Role, operation
from pbs.web.face import FACE, known

# Compared with where there is no secret, so that the answer takes as long: nobody knows it.
NOTHING = secrets.token_bytes(32)
UNCHANGED = {304: "It is as the reader has it."}
RSS = Media(TYPES["xml"], "An RSS document.")


class OneFeed(Asked):
    """A feed."""

    file: Annotated[str, Field(description="NAME.xml or NAME.json for a source, all.xml or all.json.")]


class OneSecretFeed(OneFeed):
    """A feed, at an address that nobody can guess."""

    secret: Annotated[str, Field(description="What `pbs feed NAME --address` made.")]


@operation("GET", "/feeds/{file}", RSS, empty=UNCHANGED)
async def feed(request: web.Request, asked: OneFeed) -> web.StreamResponse:
    """The feed of one source, or of all."""
    name, kind = _meant(asked.file)
    if name != ALL:
        known(request.app[FACE], name)
    return _answer(request, name, kind)


@operation("GET", "/feeds/{secret}/{file}", RSS, role=Role.NOBODY, empty=UNCHANGED)
async def feed_by_address(request: web.Request, asked: OneSecretFeed) -> web.StreamResponse:
    """The feed of one source, or of all, for a reader that can send no token."""
    name, kind = _meant(asked.file)
    face = request.app[FACE]
    there = name == ALL or name in face.sources
    if not holds(face.home.feed_secret(name) if there else None, asked.secret):
        # The same for a source that is not there: nobody learns names here.
        raise web.HTTPUnauthorized(reason="this is the address of no feed, or no longer")
    return _answer(request, name, kind)


def of_older(aliases: Mapping[str, str]) -> tuple[Operation, ...]:
    """Operations for addresses of an older server: each answers with the feed of its source as it is now."""

    def one(path: str, name: str) -> Operation:
        @operation("GET", path, RSS, empty=UNCHANGED, area="feeds")
        async def alias(request: web.Request, asked: OfAPage) -> web.StreamResponse:  # noqa: ARG001
            """The feed that had this address before."""
            if name != ALL:
                known(request.app[FACE], name)
            return _answer(request, name, "xml")

        return alias

    return tuple(one(path, name) for path, name in aliases.items())


def _meant(file: str) -> tuple[str, str]:
    """The source and the form that a file's name means.

    Raises:
        NotFound: there is no such feed.
    """
    name, _, kind = file.rpartition(".")
    if not name or kind not in TYPES:
        raise NotFound("there is no such feed", "/feeds/NAME.xml, /feeds/NAME.json, and the same of all")
    return name, kind


def _answer(request: web.Request, name: str, kind: str) -> web.Response:
    face = request.app[FACE]
    newest = face.ledger.runs(None if name == ALL else name, limit=1, ended=True)
    return unless_known(request, face.feed(name, kind), TYPES[kind], newest[0].ended if newest else None)


def holds(path: Path | None, given: str) -> bool:
    """Whether somebody shows what is kept there; it takes as long where nothing is."""
    try:
        wanted = (keyring.read(path).strip() if path is not None else b"") or NOTHING
    except (OSError, HomeError):
        wanted = NOTHING
    shown = given.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(sha256(shown).digest(), sha256(wanted).digest())


def unless_known(request: web.Request, body: bytes, kind: str, changed: datetime | None) -> web.Response:
    """This document; for a reader that says it has it already, only that it still holds."""
    tag = sha256(body).hexdigest()[:32]
    has = request.if_none_match
    if has is not None:
        fresh = any(each.value in (tag, "*") for each in has)
    else:
        since = request.if_modified_since
        fresh = since is not None and changed is not None and changed.replace(microsecond=0) <= since
    response = (
        web.Response(status=304) if fresh else web.Response(body=body, content_type=kind, charset="utf-8")
    )
    response.etag = tag
    response.last_modified = changed
    response.headers["Cache-Control"] = "private, no-cache"
    return response


OPERATIONS = (feed, feed_by_address)

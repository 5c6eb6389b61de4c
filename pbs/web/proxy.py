"""The configuration of a reverse proxy before this server, as text. It installs nothing, and answers nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pbs.errors import UsageError
from pbs.model import ServerSettings
from pbs.render import render

# What stands in a proxy's configuration as it is: no quote, no variable, no end of a statement.
PLAIN = re.compile(r"[A-Za-z0-9/._:\[\]+@-]+")
# Where to ask a server that listens on every address.
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here


def nginx(server: ServerSettings, certificate: Path | None = None, key: Path | None = None) -> str:
    """A server block of nginx: TLS under the name of `base_url`, everything passed on to where we listen.

    Raises:
        UsageError: we do not listen, or `base_url` is not where a proxy could be.
    """
    where = urlsplit(server.base_url)
    if where.scheme != "https" or where.path:
        raise UsageError(
            f"base_url of [server] is {server.base_url}, and no proxy with TLS answers there",
            'write the address that people will open, such as base_url = "https://backup.example.org", then ask again',
        )
    if server.listen is None:
        raise UsageError('listen of [server] is "off", so no proxy reaches this server', "give it a port")
    host, port = server.listen
    host, name = ANY.get(host, host), where.hostname or ""
    return render(
        "nginx.conf.j2",
        port=where.port or 443,
        name=_plain(f"[{name}]" if ":" in name else name),
        upstream=_plain(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
        certificate=_plain(str(certificate or f"/etc/ssl/{name}.pem")),
        key=_plain(str(key or f"/etc/ssl/private/{name}.key")),
    )


def _plain(text: str) -> str:
    if not PLAIN.fullmatch(text):
        raise UsageError(
            f"{text!r} cannot stand in nginx's configuration",
            "use letters, digits, dots, dashes and slashes in names and paths",
        )
    return text

"""Asks for a restore on the server, as the console's button does, and follows it to its end: HOME NAME. There is no verb for it."""

from __future__ import annotations

import sys

from pbs.cli.client import Service
from pbs.cli.follow import follow
from pbs.cli.runs import EXIT_CODES
from pbs.errors import ServiceDown
from pbs.home import Home


def main(root: str, name: str) -> int:
    """The exit code tells the outcome, as that of a verb does."""
    home = Home.at(root)
    service = Service(home.controller_socket)
    try:
        asked = service.post(f"/api/v1/sources/{name}/snapshots/latest/restore", {"path": "/"})
        return EXIT_CODES[follow(service, asked, home)["outcome"]]
    except ServiceDown as error:
        print(error.message)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

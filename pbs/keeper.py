"""supervisord, as a process that a full disk does not end: what its logs cannot take is lost, and nothing else.

By itself it tells its standard error of a log that cannot be written; that lies on the same disk, and the error of
telling it ended supervisord with everything below it. It changes nothing else, and decides nothing.
"""

from __future__ import annotations

from supervisor import loggers, supervisord


def _lost(_handler: loggers.Handler) -> None:
    """The line is lost; the next one is tried again."""


def main() -> None:
    """Keep the processes that the configuration names."""
    loggers.Handler.handleError = _lost
    supervisord.main()


if __name__ == "__main__":
    main()

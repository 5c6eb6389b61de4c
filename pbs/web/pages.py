"""The list of all pages for people. They are routed and guarded like every operation, but stand in no document for programs."""

from __future__ import annotations

from pbs.web import actions, assets, browse, fleet, login, operating, restoring, runpage, source

OPERATIONS = (
    *fleet.OPERATIONS,
    *source.OPERATIONS,
    *runpage.OPERATIONS,
    *operating.OPERATIONS,
    *actions.OPERATIONS,
    *browse.OPERATIONS,
    *restoring.PAGES,
    *assets.OPERATIONS,
    *login.OPERATIONS,
)

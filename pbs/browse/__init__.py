"""Looking into snapshots as a person does: folders page by page, names searched for, versions of a file, two snapshots compared.

Everything is told from receipts and the admitted view; what takes long says how far it came. It changes nothing but a cache.
"""

from pbs.browse.comparing import Became, Differences, differences
from pbs.browse.history import Version, Versions, versions
from pbs.browse.looking import LONGEST_LISTING, Looker, Spot
from pbs.browse.measuring import Amount, amount
from pbs.browse.searching import Found, Match, search
from pbs.browse.shelf import Listed, Order
from pbs.browse.telling import differences_view, found_view, versions_view

__all__ = [
    "LONGEST_LISTING",
    "Amount",
    "Became",
    "Differences",
    "Found",
    "Listed",
    "Looker",
    "Match",
    "Order",
    "Spot",
    "Version",
    "Versions",
    "amount",
    "differences",
    "differences_view",
    "found_view",
    "search",
    "versions",
    "versions_view",
]

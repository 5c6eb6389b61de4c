"""Which snapshots are kept, and by which rule: a pure function of receipts and our clock. It never removes anything.

What a source claims (times, hosts, tags) is not even looked at: only the receipts that admission gave count.
"""

from pbs.retention.gather import (
    CONFIRMED,
    UNREADABLE,
    Custody,
    Note,
    all_frozen,
    facts_of,
    held_words,
    plan_now,
)
from pbs.retention.holds import Facts, doubtful, frozen, grew
from pbs.retention.plan import Plan, Verdict, make_plan
from pbs.retention.simulate import EXPECTED, simulate
from pbs.retention.upkeep import (
    Upkeep,
    due,
    folders_to_read,
    oldest_unread,
    prune_due,
    share_to_read,
    tree_stays,
)

__all__ = [
    "CONFIRMED",
    "EXPECTED",
    "UNREADABLE",
    "Custody",
    "Facts",
    "Note",
    "Plan",
    "Upkeep",
    "Verdict",
    "all_frozen",
    "doubtful",
    "due",
    "facts_of",
    "folders_to_read",
    "frozen",
    "grew",
    "held_words",
    "make_plan",
    "oldest_unread",
    "plan_now",
    "prune_due",
    "share_to_read",
    "simulate",
    "tree_stays",
]

"""Which snapshots are kept, and by which rule: a pure function of receipts and our clock. It never removes anything.

What a source claims (times, hosts, tags) is not even looked at: only the receipts that admission gave count.
"""

from pbs.retention.gather import CONFIRMED, UNREADABLE, Custody, facts_of, plan_now
from pbs.retention.holds import Facts, doubtful, frozen, grew
from pbs.retention.plan import Plan, Verdict, make_plan
from pbs.retention.simulate import EXPECTED, simulate

__all__ = [
    "CONFIRMED",
    "EXPECTED",
    "UNREADABLE",
    "Custody",
    "Facts",
    "Plan",
    "Verdict",
    "doubtful",
    "facts_of",
    "frozen",
    "grew",
    "make_plan",
    "plan_now",
    "simulate",
]

"""What is known of a source when the ledger is not: from the logs of its runs, and from its repository itself.

It adds what the ledger lacks and never changes what stands there; it never writes to a repository.
"""

from pbs.recover.finding import Recovered, recover

__all__ = ["Recovered", "recover"]

"""Promises: is everything as it should be, since when not, why, and what to do. Judged by pure functions from facts.

It reads the ledger and the disk, and writes only what it found. It starts nothing, mends nothing and tells nobody by
itself. Only the nouns are named here, so that whoever shows promises need not load what judges them.
"""

from pbs.promises.nouns import RANK, Health, Promise, State, in_words, worst, worst_first

__all__ = ["RANK", "Health", "Promise", "State", "in_words", "worst", "worst_first"]

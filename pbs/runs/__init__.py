"""Runs: what a pull and an import do, step by step, and how each becomes an outcome.

This room knows the nouns and the Protocols of `ports`, never a tool: restic, ssh and supervisord are handed in.
"""

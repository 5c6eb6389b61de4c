"""Runs: what each kind of them does, step by step, and how it becomes an outcome.

This room knows the nouns and the Protocols of `ports`, never a tool: restic, ssh and supervisord are handed in.
"""

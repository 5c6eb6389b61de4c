"""The source side of a pull-based backup: a forced command that knows five words.

Standard library only, grammar of Python 3.9, so that one file can be copied to any machine. It never imports the
server, never starts a shell, and never does anything but what its profile and its five words say.
"""

__version__ = "0.1.0"

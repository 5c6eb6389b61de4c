"""The tunnel: one SSH connection to a source that lends it a socket and says words to its agent.

The only door to asyncssh. It takes every byte from the other side as hostile, and never decides what a run is.
"""

from pbs.tunnel.connection import Connection, connect, host_key_of, key_line, make_key, public_key
from pbs.tunnel.talk import Talk

__all__ = ["Connection", "Talk", "connect", "host_key_of", "key_line", "make_key", "public_key"]

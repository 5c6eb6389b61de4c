"""Endpoints: one append-only rest-server a source, on a unix socket, kept by supervisord.

The only door to supervisord and to rest-server. It never looks into a repository.
"""

from pbs.endpoint.door import Endpoint, listening, remove_socket
from pbs.endpoint.supervisor import Supervisor

__all__ = ["Endpoint", "Supervisor", "listening", "remove_socket"]

"""What a source may ask of its endpoint: each request's head is read here before rest-server sees a byte of it.

A backup needs few requests, and everything else ends its connection. It judges heads alone: what is uploaded is sealed,
so a gate can never tell an honest pack from a forged one. Admission does; this only makes the door narrower.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

MOST_HEAD_BYTES = 16 << 10
# What it takes to run for weeks with a lock renewed every five minutes, one kept beside it while it is renewed.
MOST_LOCKS = 10_000
LOCKS_AT_ONCE = 16
LARGEST_LOCK = 64 << 10
LARGEST_SNAPSHOT = 16 << 20
# restic's packs have 128 MiB at most and one blob more; its indexes stay far below.
LARGEST_FILE = 1 << 30
# A pack has 4 MiB at least unless it is the last one: so many may be smaller, and one more for each of these bytes.
MOST_SMALL_FILES = 5000
FILE_BYTES = 256 << 10
# A backup asks for each index that is there and sends packs: so many requests, and one more for each of these bytes.
MOST_REQUESTS, REQUEST_BYTES = 200_000, 64 << 10
MOST_DENIALS = 100
KEPT_DENIALS = 20
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_HEAD = re.compile(rb"([A-Z]{1,10}) ([!-~]{1,500}) HTTP/1\.[01]\r\n((?:[A-Za-z0-9-]+:[\t -~]*\r\n)*)\r\n")
_FILE = re.compile(r"/(data|index|keys|locks|snapshots)/([0-9a-f]{64})")
_LIST = frozenset({"/index/", "/keys/", "/locks/", "/snapshots/"})
_LENGTH = re.compile(rb"[0-9]{1,15}")
# Each would make rest-server read the rest of the connection otherwise than we do.
_BENT = frozenset({b"transfer-encoding", b"upgrade", b"trailer", b"te", b"expect", b"connection"})
_READS = frozenset({"GET", "HEAD"})
_LARGEST = {"locks": LARGEST_LOCK, "snapshots": LARGEST_SNAPSHOT}


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that was not let through: what it was, in words of ours, and why."""

    request: str
    reason: str


class Denied(Exception):
    """The connection must end; the request has been noted."""


@dataclass(slots=True)
class Gate:
    """What the connections of one run share: what was asked for so far, and how much may still go back.

    Attributes:
        read_budget: How many bytes may be read back; None = any number.
        denials: The first requests that were not let through.
        denied: How many there were.
        cut: Why nothing is let through any more; None while something is.
        written: Bytes of contents that were let through.
    """

    read_budget: int | None = None
    denials: deque[Denial] = field(default_factory=deque)
    denied: int = 0
    cut: str | None = None
    written: int = 0
    _returned: int = 0
    _files: int = 0
    _requests: int = 0
    _snapshot: str | None = None
    _locks: set[str] = field(default_factory=set)
    _held: set[str] = field(default_factory=set)

    def returned(self, count: int) -> bool:
        """Count bytes on their way to the source; whether they may go."""
        self._returned += count
        if self.cut is None and self.read_budget is not None and self._returned > self.read_budget:
            self.cut = "it read more from its repository than `read_budget` allows"
        return self.cut is None

    def judge(self, method: str, path: str, length: int) -> None:
        """Let a request through, or not.

        Raises:
            Denied: it is none that a backup makes.
        """
        self._requests += 1
        if self._requests > MOST_REQUESTS + (self.written + self._returned) // REQUEST_BYTES:
            self.cut = self.cut or "it asked far more often than a backup does"
        if self.cut is not None:
            raise Denied
        found = _FILE.fullmatch(path)
        kind, name = found.groups() if found else (path, "")
        reason = self._reason(method, kind, name, length)
        if reason is not None:
            self.deny(f"{method} {f'/{kind}/{name[:8]}…' if found else path}", reason)

    def deny(self, request: str, reason: str) -> None:
        """Note what was not let through.

        Raises:
            Denied: always.
        """
        self.denied += 1
        if len(self.denials) < KEPT_DENIALS:
            self.denials.append(Denial(request, reason))
        if self.denied >= MOST_DENIALS:
            self.cut = f"{self.denied} of its requests were none that a backup makes"
        raise Denied

    def _reason(self, method: str, kind: str, name: str, length: int) -> str | None:
        if method in _READS:
            known = bool(name) or kind == "/config" or kind in _LIST
            return _empty(length) if known else "a backup reads no such path"
        if not name:
            return "a backup changes no such path"
        if method == "DELETE":
            return self._delete(kind, name, length)
        if method != "POST":
            return "a backup does not use this method"
        if length < 1:
            return "it does not say how long it is"
        if length > _LARGEST.get(kind, LARGEST_FILE):
            return "it is too large for what it says it is"
        return self._flood() if kind in ("data", "index") else self._post(kind, name)

    def _flood(self) -> str | None:
        """Files cost more than their bytes: a flood of small ones could fill a disk far beyond any quota.

        What counts is what came, not what a head says will come: nobody is made to keep that word.
        """
        self._files += 1
        if self._files <= MOST_SMALL_FILES + self.written // FILE_BYTES:
            return None
        self.cut = "it sent far more files than a backup is made of"
        return "a backup is made of fewer files"

    def _delete(self, kind: str, name: str, length: int) -> str | None:
        if kind != "locks" or name not in self._locks:
            return "a backup removes nothing but its own lock"
        self._held.discard(name)
        return _empty(length)

    def _post(self, kind: str, name: str) -> str | None:
        if kind == "keys":
            return "a backup adds no key"
        if kind == "snapshots":
            # The same one again is another try after a lost answer.
            if self._snapshot not in (None, name):
                return "a run makes one snapshot"
            self._snapshot = name
        if kind == "locks":
            self._locks.add(name)
            self._held.add(name)
            if len(self._locks) > MOST_LOCKS or len(self._held) > LOCKS_AT_ONCE:
                return "a backup does not need so many locks"
        return None


def _empty(length: int) -> str | None:
    return "it carries a content where there is none" if length > 0 else None


@dataclass(slots=True)
class Stream:
    """The requests of one connection: bytes go in as they come, and come out once they may go on."""

    gate: Gate
    _head: bytearray = field(default_factory=bytearray)
    _body: int = 0

    def feed(self, data: bytes) -> bytes:
        """What may go on to the endpoint now; what is part of an unfinished head is kept.

        Raises:
            Denied: a request is not let through; the connection must end.
        """
        if len(data) <= self._body:  # nearly always: inside an upload
            self._body -= len(data)
            self.gate.written += len(data)
            return data
        passed = bytearray(data[: self._body])
        self.gate.written += len(passed)
        self._head += data[self._body :]
        self._body = 0
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._head[: end + 4])
            length = self._judge(head)
            content = bytes(self._head[len(head) : len(head) + length])
            self._body = length - len(content)
            self.gate.written += len(content)
            passed += head + content
            del self._head[: len(head) + len(content)]
            if self._body:
                break
        if len(self._head) > MOST_HEAD_BYTES:
            self.gate.deny("a request without end", "its head is too long")
        return bytes(passed)

    def _judge(self, head: bytes) -> int:
        """The length of the content that follows a head that is let through."""
        found = _HEAD.fullmatch(head) if len(head) <= MOST_HEAD_BYTES else None
        if found is None:
            self.gate.deny("something that is no plain request", "it is not HTTP as a backup speaks it")
        assert found is not None  # noqa: S101 - deny raises
        method, path, fields = found.groups()
        length = self._length(fields)
        self.gate.judge(method.decode(), path.decode(), length)
        return max(length, 0)

    def _length(self, fields: bytes) -> int:
        """How long the content is; -1 where nothing says so."""
        length = -1
        for line in fields.split(b"\r\n")[:-1]:
            name, _, value = line.lower().partition(b":")
            value = value.strip(b" \t")
            if name == b"connection" and value in (b"close", b"keep-alive"):
                continue
            twice = name == b"content-length" and (length >= 0 or not _LENGTH.fullmatch(value))
            if name in _BENT or twice:
                self.gate.deny(
                    "a request with a header that is not let through", "it could be read in two ways"
                )
            if name == b"content-length":
                length = int(value)
        return length

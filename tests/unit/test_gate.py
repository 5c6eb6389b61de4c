"""The gate before an endpoint: what a backup asks for goes through byte for byte, anything else ends the connection."""

from __future__ import annotations

import http.server
import io
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs.tunnel import gate as module
from pbs.tunnel.gate import Denied, Gate, Stream

ID, OTHER = "a1" * 32, "b2" * 32


def head(line: str, *fields: str, content: bytes = b"") -> bytes:
    """A request."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", "User-Agent: Go-http-client/1.1", *fields]
    if content:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode() + content


def upload(kind: str, name: str = ID, content: bytes = b"sealed") -> bytes:
    """A new file."""
    return head(f"POST /{kind}/{name}", content=content)


HONEST = [
    b"GET /config HTTP/1.0\r\nHost: localhost\r\n\r\n",
    head("HEAD /config"),
    head("GET /keys/", "Accept: application/vnd.x.restic.rest.v2", "Accept-Encoding: identity"),
    head(f"GET /keys/{ID}"),
    upload("locks"),
    head("GET /locks/"),
    head("GET /index/"),
    head(f"GET /data/{ID}", "Range: bytes=0-100"),
    upload("data", content=b"GET /nothing HTTP/1.1\r\n\r\n" * 9),
    upload("index"),
    upload("snapshots"),
    upload("snapshots"),
    head(f"DELETE /locks/{ID}"),
    head(f"DELETE /locks/{ID}", "Connection: close"),
]
HOSTILE = [
    upload("keys"),
    head("POST /config", content=b"{}"),
    head("POST /?create=true", "Content-Length: 0"),
    head("POST /sub/?create=true", "Content-Length: 0"),
    head("POST /?create=true", content=b"x"),
    head("DELETE /config"),
    head(f"DELETE /data/{ID}"),
    head(f"DELETE /locks/{OTHER}"),
    head(f"DELETE /snapshots/{ID}"),
    head("GET /data/"),
    head("GET /"),
    head("GET /sub/config"),
    head("GET /../other/config"),
    head("GET //config"),
    head("GET /config?x=1"),
    head(f"GET /data/{ID.upper()}"),
    head(f"GET /data/{ID}/"),
    head(f"GET /data/{ID[:-2]}%61%31"),
    head("GET http://localhost/config"),
    head(f"PUT /data/{ID}", content=b"x"),
    head(f"PATCH /data/{ID}", content=b"x"),
    head("OPTIONS /config"),
    head("CONNECT localhost:80"),
    head(f"POST /data/{ID}"),
    head(f"POST /data/{ID}", "Content-Length: 0"),
    head(f"POST /data/{ID}", "Content-Length: 9999999999"),
    head(f"POST /data/{ID}", "Content-Length: -1"),
    head(f"POST /data/{ID}", "Content-Length: +5"),
    head(f"POST /data/{ID}", "Content-Length: 5, 5"),
    head(f"POST /data/{ID}", "Content-Length: 5", "Content-Length: 5"),
    head(f"POST /data/{ID}", "Content-Length: 5", "content-length: 6"),
    head(f"POST /data/{ID}", "Content-Length: 0x5"),
    head(f"POST /data/{ID}", "Transfer-Encoding: chunked"),
    head(f"POST /data/{ID}", "Content-Length: 5", "transfer-encoding:chunked"),
    head(f"POST /data/{ID}", "Content-Length: 5", "Expect: 100-continue"),
    head("GET /config", "Upgrade: h2c", "Connection: upgrade"),
    head("GET /config", "Connection: close, Transfer-Encoding"),
    head("GET /config", content=b"body"),
    head("GET /config", " folded: over a line"),
    head("GET /config", "Content-Length : 5"),
    head("GET /config", "Nul: \0"),
    head("GET /config", "Bare: a\rb"),
    head("GET /config").replace(b"\r\n", b"\n") + b"\r\n\r\n",
    b"\r\n" + head("GET /config"),
    b"GET  /config HTTP/1.1\r\n\r\n",
    b"get /config HTTP/1.1\r\n\r\n",
    b"GET /config\r\n\r\n",
    b"GET /config HTTP/2.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00" * 9 + b"\r\n\r\n",
    upload("locks", content=b"x" * (module.LARGEST_LOCK + 1)),
    head(f"POST /snapshots/{ID}", f"Content-Length: {module.LARGEST_SNAPSHOT + 1}"),
    b"A" * (module.MOST_HEAD_BYTES + 1),
    b"GET /config HTTP/1.1\r\n" + b"X: y\r\n" * module.MOST_HEAD_BYTES,
]  # fmt: skip


def through(data: bytes, cuts: list[int], gate: Gate) -> tuple[bytes, bool]:
    """What of it goes on when it arrives in these pieces, and whether the connection is ended."""
    stream, passed = Stream(gate), b""
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(bounds):
        try:
            passed += stream.feed(data[start:end])
        except Denied:
            return passed, True
    return passed, False


def test_a_backup_goes_through_unchanged() -> None:
    """Everything that an honest backup asks for goes on, on one connection or many, byte for byte."""
    gate = Gate()
    assert (b"".join(HONEST), False) == through(b"".join(HONEST), [], gate)
    for request in HONEST:
        assert (request, False) == through(request, [], gate)
    assert 0 == gate.denied


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_it_does_not_matter_how_bytes_arrive(cuts: list[int]) -> None:
    """However a conversation is cut into pieces, the same goes on."""
    assert (b"".join(HONEST), False) == through(b"".join(HONEST), cuts, Gate())


@pytest.mark.parametrize("request_", HOSTILE, ids=lambda each: repr(each[:50]))
def test_anything_else_ends_the_connection(request_: bytes) -> None:
    """What no backup asks for is not let through, alone or behind an honest request, and is noted in plain words."""
    gate = Gate()
    assert (b"", True) == through(request_, [], gate)
    assert (HONEST[0], True) == through(HONEST[0] + request_, [7, len(HONEST[0])], gate)
    assert 2 == gate.denied
    assert all(each.request.isprintable() and each.reason.isprintable() for each in gate.denials)


class _Server(http.server.BaseHTTPRequestHandler):
    """Another reader of the same bytes: what does the standard library make of them?"""

    def __init__(self, data: bytes) -> None:
        self.rfile, self.wfile = io.BytesIO(data), io.BytesIO()
        self.seen: list[str] = []

    def requests(self) -> list[str]:
        self.close_connection = False
        while not self.close_connection:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                break
            self.seen.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return self.seen

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass


PIECES = st.sampled_from([
    b"GET ", b"POST ", b"DELETE ", b"/config", b"/keys/", f"/data/{ID}".encode(), f"/locks/{ID}".encode(), b"/keys/" + ID.encode(),
    b" HTTP/1.1", b"\r\n", b"\n", b"\r\n\r\n", b"Content-Length: 5", b"Content-Length: 4000", b"Transfer-Encoding: chunked", b"hello",
    b"Host: x", b":", b" ", b"\0", b"?", b"..", b"POST /config HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        PIECES | st.sampled_from(HONEST) | st.sampled_from(HOSTILE[:40]) | st.binary(max_size=20), max_size=12
    )
)
def test_what_goes_on_is_read_by_others_as_we_read_it(pieces: list[bytes]) -> None:
    """Another parser finds in what goes on nothing but requests that a backup makes."""
    passed, _ = through(b"".join(pieces), [], Gate())
    for seen in _Server(passed).requests():
        method, path = seen.split(" ")
        Gate(_locks={ID}).judge(method, path, 5 if method == "POST" else -1)


def test_one_snapshot_and_few_locks() -> None:
    """A second snapshot is refused, the same one again is not; locks are counted; only what was posted may be removed."""
    gate = Gate()
    assert not through(upload("snapshots") * 3, [], gate)[1]
    assert through(upload("snapshots", OTHER), [], gate)[1]
    names = [f"{number:064x}" for number in range(module.LOCKS_AT_ONCE + 1)]
    assert [False] * module.LOCKS_AT_ONCE + [True] == [
        through(upload("locks", name), [], gate)[1] for name in names
    ]
    assert not through(head(f"DELETE /locks/{names[0]}"), [], gate)[1]
    assert ["a run makes one snapshot", "a backup does not need so many locks"] == [
        each.reason for each in gate.denials
    ]


def test_who_goes_on_asking_is_cut_off() -> None:
    """After many requests that were not let through nothing is any more, and the notes stay few."""
    gate = Gate()
    for _ in range(module.MOST_DENIALS):
        assert gate.cut is None
        through(HOSTILE[0], [], gate)
    assert gate.cut == "100 of its requests were none that a backup makes"
    assert (b"", True) == through(HONEST[0], [], gate)
    assert module.KEPT_DENIALS == len(gate.denials)


def test_a_flood_of_small_files_is_cut_off() -> None:
    """T13: files cost more than their bytes; honest packs are let through in any number, crumbs are not."""
    gate = Gate()
    stream, body = Stream(gate), bytes(1 << 20)
    for number in range(20_000):
        stream.feed(b"POST /data/%064x HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n" % number)
        for _ in range(4):
            stream.feed(body)
    assert gate.cut is None
    for claimed in (1, 1 << 30):
        gate = Gate()
        with pytest.raises(module.Denied):
            for number in range(20_000):
                # What a head says of the content that never comes buys nothing.
                gate.judge("POST", f"/data/{number:064x}", claimed)
        assert number < 5010
        assert gate.cut == "it sent far more files than a backup is made of"


def test_a_flood_of_requests_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """T18: asking without end for what is small ends; one that moves bytes may go on."""
    monkeypatch.setattr(module, "MOST_REQUESTS", 100)
    gate = Gate()
    for number in range(300):
        gate.judge("GET", f"/index/{number:064x}", -1)
        gate.returned(module.REQUEST_BYTES)
    with pytest.raises(module.Denied):
        for _ in range(300):
            gate.judge("HEAD", "/config", -1)
    assert gate.cut == "it asked far more often than a backup does"


def test_a_read_budget_ends_reading() -> None:
    """Up to its budget a source reads; beyond it nothing goes back, and nothing is let through any more."""
    gate = Gate(read_budget=100)
    assert gate.returned(100)
    assert not gate.returned(1)
    assert not gate.returned(0)
    assert (b"", True) == through(HONEST[0], [], gate)
    assert Gate().returned(1 << 60)

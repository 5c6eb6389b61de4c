"""The controller's HTTP: who may ask, what changes nothing, one shape for every refusal, and text that stays text."""

from __future__ import annotations

import json
import socket
from html.parser import HTMLParser

import pytest
from liar import lie
from shared import add, ends, fresh, http, snapshots
from stage import Pbs, SourceHost, eventually

pytestmark = pytest.mark.slow
READABLE = ("/", "/api/v1/sources", "/api/v1/runs", "/feeds/all.xml")


@pytest.fixture
def bearer(home: Pbs) -> str:
    """What an operator sends."""
    return f"Bearer {(home.home / 'etc/keys/admin.token').read_text().strip()}"


def shaped(answer: tuple[int, dict[str, str], bytes], status: int, code: str | None = None) -> str:
    """Every refusal is one JSON document of one shape, with advice and the usual headers; its message."""
    found, headers, body = answer
    assert status == found, body
    error = json.loads(body)["error"]
    assert {"code", "message", "hint"} == set(error)
    assert code is None or code == error["code"]
    assert error["message"]
    assert error["hint"], error
    assert "nosniff" == headers["x-content-type-options"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"Traceback" not in body
    return str(error["message"])


def raw(home: Pbs, request: bytes, *, tcp: bool = True) -> bytes:
    """What comes back for these very bytes."""
    with socket.create_connection(("127.0.0.1", home.port)) if tcp else socket.socket(socket.AF_UNIX) as link:
        link.settimeout(30)
        if not tcp:
            link.connect(str(home.home / "var/run/controller.sock"))
        link.sendall(request)
        link.shutdown(socket.SHUT_WR)
        answer = b""
        while data := link.recv(65536):
            answer += data
        return answer


def test_tcp_asks_for_the_operators_token(home: Pbs, bearer: str) -> None:
    """Without the right token nothing is told over TCP, not even what is there; the socket asks for none."""
    for path in (*READABLE, "/nothing", "/runs/x", "/api/v1/sources/x/snapshots"):
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": bearer[:-1]}, {"Authorization": "Bearer"},
                       {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer \xe9\xff"}):  # fmt: skip
            answer = http(home, "GET", path, tcp=True, **header)
            # After ten wrong ones in a minute whoever sends them is told to wait.
            assert answer[0] in ((401, 429) if "Bearer" in str(header) else (401,))
            assert "token" in shaped(answer, answer[0])
    shaped(http(home, "POST", "/api/v1/runs", b'{"source":"x"}', tcp=True), 401)
    for path in READABLE:
        assert 200 == http(home, "GET", path, tcp=True, Authorization=bearer)[0]
        assert 200 == http(home, "GET", path)[0]


def test_odd_requests_are_refused_without_a_trace(home: Pbs, bearer: str) -> None:
    """Bytes that are hardly HTTP get a refusal, never a fault of ours, and the service goes on."""
    token = f"Authorization: {bearer}\r\n".encode()
    for request in (
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n" + token + b"\r\n",
        b"GET //feeds/../api/v1/runs HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /runs/%ff%00%1b HTTP/1.1\r\nHost: x\r\n" + token + b"\r\n",
        b"GET /feeds/%2e%2e%2fall.xml HTTP/1.1\r\nHost: x\r\n" + token + b"\r\n", b"\x00\xff\x16\x03\x01 garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"x" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n" + token + b"\r\n",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nOrigin: http://[\r\nContent-Length: 2\r\n" + token + b"\r\n{}",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /api/v1/runs?limit=%ff HTTP/1.1\r\nHost: x\r\n" + token + b"\r\n",
        b"GET http://other/api/v1/runs HTTP/1.1\r\nHost: x\r\n\r\n", b"get / http/1.1\r\n\r\n",
    ):  # fmt: skip
        answer = raw(home, request)
        assert b" 500 " not in answer.partition(b"\r\n")[0], (request, answer)
        assert b" 200 " not in answer.partition(b"\r\n")[0], (request, answer)
        assert b"Traceback" not in answer, answer
    assert 200 == http(home, "GET", "/api/v1/sources")[0]
    log = (home.home / "var/log/controller.log").read_text()
    assert "Traceback" not in log, log


def test_what_changes_something_takes_a_post_of_this_site(home: Pbs, bearer: str, source: SourceHost) -> None:
    """T30: other sites may not ask for runs, whatever they send; GET asks for nothing."""
    name = fresh("web")
    add(home, name, source)
    wish = json.dumps({"source": name}).encode()
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                    {"Origin": "http://["}, {"Sec-Fetch-Site": "same-site"}, {"Origin": f"https://127.0.0.1:{home.port}.evil"}):  # fmt: skip
        for more in ({"tcp": False}, {"tcp": True}):
            answer = http(home, "POST", "/api/v1/runs", wish, Authorization=bearer, **more, **headers)  # type: ignore[arg-type]
            assert "cross-site" in shaped(answer, 403)
    for method, path in (("GET", "/api/v1/reload"), ("PUT", "/api/v1/runs"), ("DELETE", "/api/v1/runs"),
                         ("DELETE", f"/api/v1/sources/{name}/snapshots"), ("POST", "/"), ("POST", "/feeds/all.xml")):  # fmt: skip
        answer = http(home, method, path)
        shaped(answer, 405)
        assert answer[1]["allow"]
    assert [] == json.loads(http(home, "GET", f"/api/v1/runs?source={name}")[2])["runs"]
    own = {
        "Origin": f"http://127.0.0.1:{home.port}",
        "Sec-Fetch-Site": "same-origin",
        "Host": f"127.0.0.1:{home.port}",
    }
    status, _, body = http(home, "POST", "/api/v1/runs", wish, tcp=True, Authorization=bearer, **own)
    assert 202 == status, body
    run = json.loads(body)["id"]
    eventually(
        lambda: json.loads(http(home, "GET", f"/api/v1/runs/{run}")[2])["state"] == "ended", what="its end"
    )


def test_a_wish_that_makes_no_sense_is_refused(home: Pbs, source: SourceHost) -> None:
    """No JSON, no source, no such kind, too much: each its own refusal, none of them a run."""
    name = fresh("web")
    add(home, name, source)
    for body in (b"", b"{", b"[]", b"null", b"7", b'"x"', b"{}", b'{"source":7}', b'{"source":null}', b"\xff\xfe",
                 b"[" * 60000, b'{"source":"x","kind":' + b"[" * 40000 + b"]" * 20000, b'{"source":"x' + b"9" * 30000):  # fmt: skip
        shaped(http(home, "POST", "/api/v1/runs", body), 400, "usage")
    for kind in ("push", "", "PULL", 7, None, [], {}, True, "pull\n", "\ud800", "x" * 1000):
        wish = json.dumps({"source": name, "kind": kind}).encode()
        shaped(http(home, "POST", "/api/v1/runs", wish), 400, "usage")
    shaped(http(home, "POST", "/api/v1/runs", b'{"source":"' + b"x" * (1 << 20) + b'"}'), 413)
    shaped(http(home, "POST", "/api/v1/runs", b'{"source":"\\ud800"}'), 400, "usage")
    shaped(
        http(home, "POST", "/api/v1/runs", json.dumps({"source": name, "knid": "pull"}).encode()),
        400,
        "usage",
    )
    for nobody in ("nobody", "", "../x", "x" * 5000, "a\nb\x1b[31m"):
        shaped(http(home, "POST", "/api/v1/runs", json.dumps({"source": nobody}).encode()), 404, "not_found")
    for query in (
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1001",
        "limit=" + "9" * 4000,
        "limit=0001000000",
        "limit=",
        "limit=1e3",
    ):
        shaped(http(home, "GET", f"/api/v1/runs?{query}"), 400, "usage")
    assert [] == json.loads(http(home, "GET", f"/api/v1/runs?source={name}")[2])["runs"]
    assert [] == snapshots(home, name)


def test_what_is_not_there_is_404(home: Pbs) -> None:
    """A page, run, source or feed that is not there is one refusal of the usual shape."""
    for path in ("/nothing", "/api/v1/runs/x", "/runs/x", "/api/v1/sources/x/snapshots", "/feeds/x.xml", "/feeds/all.atom",
                 "/feeds/.xml", "/feeds/all.xml.xml", "/feeds/", "/api/v2/runs", "/api/v1/runs?source=x",
                 "/runs/%00", "/runs/%F0%9F%92%A9", "/static/../../etc/passwd", "/favicon.ico"):  # fmt: skip
        shaped(http(home, "GET", path), 404)


def test_feeds_are_open_only_where_that_is_written(pbs: Pbs, source: SourceHost) -> None:
    """`open` lets anybody read the feeds, and nothing else."""
    pbs.configure(f'listen = "127.0.0.1:{pbs.port}"\nopen = ["feeds"]\n')
    pbs.start()
    add(pbs, "web", source)
    for path in ("/feeds/all.xml", "/feeds/web.xml"):
        status, headers, body = http(pbs, "GET", path, tcp=True)
        assert (200, True) == (status, body.startswith(b"<?xml"))
        assert headers["content-type"].startswith("application/rss+xml")
    for path in (
        "/",
        "/api/v1/runs",
        "/feeds",
        "//feeds/all.xml",
        "/feeds/../api/v1/runs",
        "/Feeds/all.xml",
        "/runs/x",
    ):
        shaped(http(pbs, "GET", path, tcp=True), 401)
    shaped(http(pbs, "GET", "/feeds/nothing.xml", tcp=True), 404)
    shaped(http(pbs, "POST", "/api/v1/reload", b"{}", tcp=True), 401)


def test_the_socket_alone_serves_where_listen_is_off(pbs: Pbs) -> None:
    """`listen = "off"` opens no port."""
    pbs.configure('listen = "off"')
    pbs.start()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", pbs.port)) != 0
    assert 200 == http(pbs, "GET", "/")[0]


class Markup(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.text += data


def test_text_of_a_source_stays_text_on_every_page(home: Pbs, source: SourceHost) -> None:
    """T20: what a hostile source prints is shown as it is, makes no tag, no attribute and no script."""
    name = fresh("web")
    add(home, name, source)
    plant = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt;{{7*7}}"
    lie(source, f"""
PLANT = {plant!r}
def job():
    greet()
    request()
    say("log", text=PLANT)
    say("warning", path=PLANT, reason=PLANT)
    end(outcome="failed", exit=1, message=PLANT)
""")  # fmt: skip
    run = ends(home, name, "failed", 1)
    for path in ("/", f"/runs/{run['id']}"):
        status, headers, body = http(home, "GET", path)
        page = Markup(body.decode())
        assert 200 == status
        assert "default-src 'none'" in headers["content-security-policy"]
        assert not page.tags & {"img", "iframe", "object", "b"}
        assert not {each for each in page.attributes if each.startswith("on")}
        assert body.count(b"<script") == body.count(b'<script src="/assets/')
    assert plant in page.text
    assert "49" not in page.text.partition("{{")[2][:10]

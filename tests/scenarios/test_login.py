"""Who may ask over TCP: tokens and their roles, logins of browsers, and what those who may not are told."""

from __future__ import annotations

import json
import re
import sqlite3
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from shared import here, http, refused_here
from stage import Pbs, processes

pytestmark = pytest.mark.slow
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = "application/x-www-form-urlencoded"


def token(home: Pbs, name: str, *more: str) -> str:
    """A new token."""
    code, said, told = here(home, "token", "add", name, "--json", *more)
    assert 0 == code, told
    return str(json.loads(said)["token"])


def admin(home: Pbs) -> str:
    """The operator's token."""
    return (home.home / "etc/keys/admin.token").read_text().strip()


def asks(
    home: Pbs, secret: str, method: str = "GET", path: str = "/api/v1/version", body: bytes | None = None
) -> int:
    """The status of what the holder of a token asks."""
    return http(home, method, path, body, tcp=True, Authorization=f"Bearer {secret}")[0]


def log_in(home: Pbs, secret: str, next_path: str = "/", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send the form of the login."""
    body = urlencode({"token": secret, "next": next_path}).encode()
    return http(
        home, "POST", "/login", body, tcp=True, Content_Type=FORM, Origin=own(home), **BROWSER, **headers
    )


def own(home: Pbs) -> str:
    """The origin of our own pages."""
    return f"http://127.0.0.1:{home.port}"


def cookie(answer: tuple[int, dict[str, str], bytes]) -> str:
    """The cookie that a login gave."""
    assert 303 == answer[0], answer
    return f"pbs_session={SimpleCookie(answer[1]['set-cookie'])['pbs_session'].value}"


def csrf(home: Pbs, session: str) -> str:
    """What the forms of this login hold."""
    page = http(home, "GET", "/", tcp=True, Cookie=session, **BROWSER)[2].decode()
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found, page
    return found[1]


def ledger(home: Pbs, statement: str) -> list[Any]:
    """What the ledger holds."""
    with sqlite3.connect(home.home / "var/lib/ledger.sqlite") as db:
        return list(db.execute(statement))


def test_a_token_is_what_its_role_says(home: Pbs) -> None:
    """A viewer looks and changes nothing, an operator does both; each is known by name; nobody else gets in."""
    viewer, operator = token(home, "eyes"), token(home, "hands", "--role", "operator")
    for secret, name, role in (
        (viewer, "eyes", "viewer"),
        (operator, "hands", "operator"),
        (admin(home), "operator", "operator"),
    ):
        answer = json.loads(
            http(home, "GET", "/api/v1/version", tcp=True, Authorization=f"bearer {secret}")[2]
        )
        assert (name, role) == (answer["name"], answer["role"])
    for path in ("/", "/api/v1/sources", "/api/v1/runs", "/feeds/all.xml", "/api/v1/openapi.json"):
        assert 200 == asks(home, viewer, path=path)
    for method, path in (("POST", "/api/v1/reload"), ("POST", "/api/v1/runs"), ("GET", "/api/v1/audit")):
        assert 403 == asks(home, viewer, method, path, b'{"source":"x"}' if method == "POST" else None)
    assert 404 == asks(home, operator, "POST", "/api/v1/runs", b'{"source":"x"}')
    assert 200 == asks(home, operator, path="/api/v1/audit")
    for wrong in (viewer[:-1], viewer + "x", viewer.upper(), "pbs_", "x"):
        assert asks(home, wrong) in (401, 429)


def test_a_token_ends(home: Pbs) -> None:
    """A removed token and an expired one let nobody in, nor does a login that was made with it; the name is free again."""
    first = token(home, "gone", "--role", "operator", "--expires", "30d")
    session = cookie(log_in(home, first))
    assert 200 == http(home, "GET", "/", tcp=True, Cookie=session)[0]
    assert 0 == here(home, "token", "remove", "gone")[0]
    assert 401 == asks(home, first)
    assert 401 == http(home, "GET", "/", tcp=True, Cookie=session)[0]
    refused_here(home, "token", "remove", "gone", code=7)
    short = token(home, "gone", "--expires", "1h")
    session = cookie(log_in(home, short))
    assert 200 == asks(home, short)
    ledger(
        home,
        "UPDATE token SET expires = '2026-01-01T00:00:00.000000Z' WHERE name = 'gone' AND removed IS NULL",
    )
    assert 401 == asks(home, short)
    assert 401 == http(home, "GET", "/", tcp=True, Cookie=session)[0]
    listed = {each["name"]: each for each in json.loads(here(home, "token", "list", "--json")[1])["tokens"]}
    assert listed["gone"]["expired"] is True


def test_a_token_is_kept_nowhere(home: Pbs) -> None:
    """What was shown once stands in no file of the home, and neither does the cookie of a login."""
    secret = token(home, "secret")
    value = cookie(log_in(home, secret)).partition("=")[2]
    for path in home.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            assert secret.encode() not in data, path
            assert value.encode() not in data, path
    assert secret not in here(home, "token", "list")[1]


def test_words_of_the_token_verbs(home: Pbs) -> None:
    """What makes no sense is refused with advice, and makes no token."""
    before = here(home, "token", "list", "--json")[1]
    for words in (["x", "--role", "root"], ["../x"], ["operator"], ["Socket"], ["x", "--expires", "soon"],
                  ["x", "--expires", "999999999w"], ["a\x1b[31m"]):  # fmt: skip
        refused_here(home, "token", "add", *words, code=2)
    token(home, "twice")
    refused_here(home, "token", "add", "twice", code=2)
    assert 0 == here(home, "token", "remove", "twice")[0]
    assert before == here(home, "token", "list", "--json")[1]


def test_a_browser_is_led_to_the_login_and_back(home: Pbs) -> None:
    """The link of a feed asks for a login, the login leads back to it; the cookie is for this server's pages alone."""
    way = "/runs/20260101T000000Z-web-pull-aaaa?x=1&y=%2F"
    status, headers, _ = http(home, "GET", way, tcp=True, **BROWSER)
    assert (303, f"/login?next={quote(way, safe='')}") == (status, headers["location"])
    status, headers, page = http(home, "GET", headers["location"], tcp=True, **BROWSER)
    assert 200 == status
    assert b'name="token" type="password"' in page
    assert "form-action 'self'" in headers["content-security-policy"]
    answer = log_in(home, token(home, "person"), way)
    assert way == answer[1]["location"]
    flags = answer[1]["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/"} <= set(flags)
    assert "secure" not in flags
    session = cookie(answer)
    status, _, page = http(
        home, "GET", "/?utm_source=feed&utm_source=mail", tcp=True, Cookie=session, **BROWSER
    )
    assert (200, True) == (status, b"person, viewer" in page)
    assert (
        403
        == http(
            home, "POST", "/api/v1/reload", b"{}", tcp=True, Cookie=session, X_CSRF_Token=csrf(home, session)
        )[0]
    )


def test_the_login_leads_nowhere_else(home: Pbs) -> None:
    """A link to the login cannot send anybody to another server."""
    secret = token(home, "careful")
    for evil in ("http://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example",
                 "/\t/evil.example", "javascript:alert(1)", " //evil.example", "/\r\nSet-Cookie: x=y", "/ü", "", "/" + "x" * 5000,
                 "/login?next=/login", "/logout"):  # fmt: skip
        answer = log_in(home, secret, evil)
        assert (303, "/") == (answer[0], answer[1]["location"]), evil
        status, _, page = http(home, "GET", f"/login?next={quote(evil, safe='')}", tcp=True, **BROWSER)
        assert b"evil" not in page, page
        assert status in (200, 400)


def test_a_link_from_another_site_asks_once_more(home: Pbs) -> None:
    """The strict cookie stays away from a link in a feed reader: the answer has the browser ask again by itself, once."""
    status, headers, page = http(home, "GET", "/runs/x", tcp=True, Sec_Fetch_Site="cross-site", **BROWSER)
    assert (200, True) == (status, b'http-equiv="refresh" content="0"' in page)
    assert "no-store" == headers["cache-control"]
    assert 303 == http(home, "GET", "/runs/x", tcp=True, Sec_Fetch_Site="same-origin", **BROWSER)[0]
    assert 401 == http(home, "GET", "/runs/x", tcp=True, Sec_Fetch_Site="cross-site")[0]


def test_a_session_cannot_be_planted(home: Pbs) -> None:
    """A cookie that was there before a login is worth nothing after it; each login has its own; logging out ends it."""
    secret = token(home, "planted", "--role", "operator")
    planted = "pbs_session=" + "a" * 43
    session = cookie(log_in(home, secret, Cookie=planted))
    assert session != planted
    assert 401 == http(home, "GET", "/", tcp=True, Cookie=planted)[0]
    again = cookie(log_in(home, secret, Cookie=session))
    assert again != session
    assert 401 == http(home, "GET", "/", tcp=True, Cookie=session)[0]
    body = urlencode({"csrf": csrf(home, again)}).encode()
    answer = http(home, "POST", "/logout", body, tcp=True, Cookie=again, Content_Type=FORM, Origin=own(home))
    assert (303, "/login") == (answer[0], answer[1]["location"])
    assert "max-age=0" in answer[1]["set-cookie"].lower()
    assert 401 == http(home, "GET", "/", tcp=True, Cookie=again)[0]


def test_a_login_cannot_be_used_by_another_site(home: Pbs) -> None:
    """With the cookie alone nothing is changed: the request must come from our page and hold what only its form knows."""
    session = cookie(log_in(home, admin(home)))
    right = csrf(home, session)
    other = csrf(home, cookie(log_in(home, admin(home))))
    assert right != other
    for headers in ({}, {"Origin": own(home)}, {"X_CSRF_Token": other}, {"X_CSRF_Token": "\xff"}, {"Sec_Fetch_Site": "same-origin"},
                    {"X_CSRF_Token": right, "Origin": "http://evil.example"}, {"X_CSRF_Token": right, "Sec_Fetch_Site": "cross-site"}):  # fmt: skip
        assert 403 == http(home, "POST", "/api/v1/reload", b"{}", tcp=True, Cookie=session, **headers)[0], (
            headers
        )
    for value in ("", other, "x"):
        body = urlencode({"csrf": value}).encode()
        assert 403 == http(home, "POST", "/logout", body, tcp=True, Cookie=session, Content_Type=FORM)[0]
    for origin in ("http://evil.example", "null"):
        body = urlencode({"token": admin(home)}).encode()
        assert 403 == http(home, "POST", "/login", body, tcp=True, Content_Type=FORM, Origin=origin)[0]
    answer = http(
        home, "POST", "/api/v1/reload", b"{}", tcp=True, Cookie=session, X_CSRF_Token=right, Origin=own(home)
    )
    assert 200 == answer[0], answer


def test_a_login_ends_by_itself(home: Pbs) -> None:
    """Left alone for half a day, or thirty days old, a login counts no more."""
    for column, value in (
        ("seen", "2026-01-01T00:00:00.000000Z"),
        ("expires", "2026-01-01T00:00:00.000000Z"),
    ):
        session = cookie(log_in(home, admin(home)))
        assert 200 == http(home, "GET", "/", tcp=True, Cookie=session)[0]
        ledger(home, f"UPDATE session SET {column} = '{value}'")
        assert 401 == http(home, "GET", "/", tcp=True, Cookie=session)[0]


def test_the_audit_tells_who_did_what(home: Pbs) -> None:
    """What changed something, or was refused, stands in the audit: who, from where, what, how it ended; no secret does."""
    operator, viewer = token(home, "doer", "--role", "operator"), token(home, "looker")
    asks(home, operator, "POST", "/api/v1/reload", b"{}")
    asks(home, viewer, "POST", "/api/v1/reload", b"{}")
    asks(home, operator, "POST", "/api/v1/runs", json.dumps({"source": "no\x1b[31m" + "x" * 500}).encode())
    log_in(home, viewer)
    entries = json.loads(http(home, "GET", "/api/v1/audit?limit=8")[2])["entries"]
    told = [(each["who"], each["via"], each["did"], each["status"]) for each in entries]
    assert [
        ("looker", "token", "POST /login", 303),
        ("doer", "token", "POST /api/v1/runs", 404),
        ("looker", "token", "POST /api/v1/reload", 403),
        ("doer", "token", "POST /api/v1/reload", 200),
        ("command line", "home", "pbs token add", 200),
    ] == told[:5]
    assert all(each["address"] == "127.0.0.1" for each in entries[:4])
    assert "\x1b" not in entries[1]["asked"]["source"]
    older = json.loads(http(home, "GET", f"/api/v1/audit?limit=1&before={entries[2]['number']}")[2])[
        "entries"
    ]
    assert entries[3] == older[0]
    text = json.dumps(entries)
    assert operator not in text
    assert viewer not in text


def test_ten_thousand_wrong_tries(home: Pbs) -> None:
    """Whoever tries and tries is told to wait, fills neither memory nor ledger, and keeps nobody with a right token out."""
    secret = token(home, "patient")
    controller = next(iter(processes(str(home.home), "controller")))

    def memory() -> int:
        status = Path(f"/proc/{controller}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    from http.client import HTTPConnection

    link = HTTPConnection("127.0.0.1", home.port, timeout=60)
    statuses = set()
    before = 0
    for number in range(10_000):
        if number % 2:
            body = urlencode({"token": f"wrong-{number}"})
            link.request("POST", "/login", body, {"Content-Type": FORM, "Cookie": f"pbs_session={number}"})
        else:
            link.request("GET", "/", headers={"Authorization": f"Bearer wrong-{number}"})
        answer = link.getresponse()
        answer.read()
        statuses.add(answer.status)
        if number == 1000:
            before = memory()
    link.close()
    assert statuses <= {401, 429}
    assert 429 == answer.status
    assert answer.headers["Retry-After"]
    assert memory() - before < 8 << 20
    assert 200 == asks(home, secret)
    assert 303 == log_in(home, secret)[0]
    refused = ledger(home, "SELECT count(*) FROM event WHERE name = 'audit' AND detail LIKE '%nobody%'")
    assert refused[0][0] < 200


def test_errors_are_pages_for_browsers(home: Pbs) -> None:
    """A person who opens what is not there gets a page, a program gets JSON; text of the address makes no tag."""
    session = cookie(log_in(home, admin(home)))
    path = "/runs/" + quote("<script>alert(1)</script>", safe="")
    status, headers, page = http(home, "GET", path, tcp=True, Cookie=session, **BROWSER)
    assert (404, True) == (status, headers["content-type"].startswith("text/html"))
    assert b"<script" not in page
    assert b"What to do" in page
    status, headers, _ = http(home, "GET", path, tcp=True, Cookie=session)
    assert (404, True) == (status, headers["content-type"].startswith("application/json"))

"""The console behind a real nginx, with exactly the configuration that `pbs proxy` prints and the docs show."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from shared import home_in_service
from stage import Pbs, SourceHost, big, eventually, find, free_port, grow, short_folder
from visitor import visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# What surrounds a server block, without any file of the system's.
AROUND = """daemon off; pid {folder}/pid; error_log {folder}/error.log;
{user}events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    include {folder}/site;
}}
"""


class Proxied:
    """A served home with a source, and the address that people know it by."""

    def __init__(self, pbs: Pbs, host: SourceHost, port: int, certificate: Path) -> None:
        self.pbs, self.host, self.port = pbs, host, port
        self.address = f"https://localhost:{port}"
        self._context = ssl.create_default_context(cafile=certificate)

    @contextlib.contextmanager
    def asking(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that comes through the proxy."""
        line = http.client.HTTPSConnection("localhost", self.port, context=self._context, timeout=60)
        with contextlib.closing(line):
            line.request(
                method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
            )
            with line.getresponse() as answer:
                yield answer

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str, str]:
        """One exchange through the proxy: status, cookie that is set, body."""
        with self.asking(method, path, body, **headers) as answer:
            return (
                answer.status,
                answer.headers.get("Set-Cookie", "").partition(";")[0],
                answer.read().decode(),
            )


@pytest.fixture(scope="module")
def proxied(certificate: Callable[..., tuple[Path, Path]]) -> Iterator[Proxied]:
    """nginx before a home, as `pbs proxy` says."""
    port, (shown, key) = free_port(), certificate("localhost")
    program = shutil.which("nginx") or find("nginx")
    assert program, "./bootstrap install --tests brings it"
    with short_folder() as folder, home_in_service(base_url=f"https://localhost:{port}") as pbs:
        told = pbs("proxy", "--certificate", str(shown), "--key", str(key)).stdout
        (folder / "site").write_text(told)
        (folder / "nginx").write_text(AROUND.format(folder=folder, user=_user()))
        process = subprocess.Popen([program, "-p", folder, "-e", "error.log", "-c", folder / "nginx"])
        host = SourceHost(folder / "src")
        grow(host.data, files=4)
        host.start()
        pbs.add("web", host, "--set", 'limits={upload="2MB/s"}')
        pbs.pull("web")
        try:
            made = Proxied(pbs, host, port, shown)
            eventually(lambda: _answers(made), what="nginx")
            yield made
        finally:
            process.terminate()
            process.wait()
            host.stop()


def _user() -> str:
    """Who its workers are, where a root would have them be somebody that this system may not know."""
    import os

    return "user root;" if os.geteuid() == 0 else ""


def _answers(proxied: Proxied) -> bool:
    try:
        return proxied.ask("GET", "/login")[0] == 200
    except OSError:
        return False


def test_a_person_works_through_a_proxy(browser: Browser, proxied: Proxied) -> None:
    """Login, a pull watched as it goes on, a file taken out, logout; the cookie is for TLS and this host alone."""
    pbs, host = proxied.pbs, proxied.host
    big(host.data / "more", 12)
    with visit(browser, proxied.address, pbs.home, ignore_https_errors=True) as visitor:
        page = visitor.enter(path="/sources/web")
        (cookie,) = [each for each in visitor.context.cookies() if "session" in each.get("name", "")]
        assert "__Host-pbs_session" == cookie.get("name")
        assert (cookie.get("secure"), cookie.get("httpOnly"), cookie.get("sameSite")) == (
            True,
            True,
            "Strict",
        )
        page.get_by_role("button", name="Pull now").click()
        page.wait_for_url(re.compile("/runs/.*-web-pull-"))
        page.evaluate("window.stayed = true")
        # Events that a proxy holds back would come all at once, with the end.
        expect(page.get_by_text("sent ")).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("running")
        expect(page.get_by_role("status")).to_have_text("ok", timeout=60_000)
        assert page.evaluate("window.stayed")
        page.goto("/browse/web/in/latest?path=/more/big-0")
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download").first.click()
        assert (host.data / "more/big-0").read_bytes() == Path(waiting.value.path()).read_bytes()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()


def test_another_site_presses_no_button_through_a_proxy(proxied: Proxied) -> None:
    """What a page of another site sends is refused behind a proxy too; what a proxy adds makes nobody anybody else."""
    token = (proxied.pbs.home / "etc/keys/admin.token").read_text().strip()
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    _, session, _ = proxied.ask("POST", "/login", f"token={token}", Origin=proxied.address, **form)
    page = proxied.ask("GET", "/", Cookie=session, Accept="text/html")[2]
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found, page

    def press(wish: str, **headers: str) -> int:
        return proxied.ask("POST", "/sources/web/runs", wish, Cookie=session, **form, **headers)[0]

    wish = f"csrf={found[1]}&kind=check"
    for foreign in (
        {"Origin": "https://evil.example"}, {"Origin": f"https://localhost:{proxied.port + 1}"}, {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example", "X_Forwarded_Host": "evil.example"},
    ):  # fmt: skip
        assert 403 == press(wish, **foreign), foreign
    assert 403 == press("kind=check", Origin=proxied.address)
    assert (
        401 == proxied.ask("GET", "/api/v1/sources", X_Forwarded_For="127.0.0.1", X_Remote_User="operator")[0]
    )
    assert 303 == press(wish, Origin=proxied.address)
    newest = json.loads(proxied.ask("GET", "/api/v1/audit?limit=1", Cookie=session)[2])["entries"][0]
    assert ("operator", "login", 303) == (newest["who"], newest["via"], newest["status"])


def test_events_come_through_a_proxy_as_they_happen(proxied: Proxied) -> None:
    """A follower gets the first event of a run long before its last; a feed's link leads to where people are."""
    pbs, host = proxied.pbs, proxied.host
    token = (pbs.home / "etc/keys/admin.token").read_text().strip()
    big(host.data / "again", 8)
    run: Any = pbs.json("pull", "web", "--no-wait")
    with proxied.asking("GET", f"/api/v1/runs/{run['id']}/events", Authorization=f"Bearer {token}") as answer:
        times = [time.monotonic() for line in answer if line.startswith(b"data:")]
    assert times[-1] - times[0] > 1.5
    feed = proxied.ask("GET", "/feeds/web.xml", Authorization=f"Bearer {token}")[2]
    assert f"<link>{proxied.address}/runs/{run['id']}</link>" in feed

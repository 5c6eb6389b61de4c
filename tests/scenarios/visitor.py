"""Somebody who looks at the console with the system's own Chromium, and what went wrong in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

PICTURES = Path(__file__).parents[2] / ".ci/artefacts/console"
# What a machine finds of what shuts people out, and how bad it is.
SERIOUS = ("serious", "critical")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Without its sandbox: it may run as root here, and sees only our own pages."""
    path = shutil.which("chromium")
    assert path, "./bootstrap install --tests installs it"
    expect.set_options(timeout=30_000)
    with sync_playwright() as player:
        made = player.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


class Visitor:
    """Somebody with a browser, and what went wrong in it."""

    def __init__(self, browser: Browser, address: str, home: Path, **more: Any) -> None:
        self.address, self.home = address, home
        self.context: BrowserContext = browser.new_context(base_url=address, **more)
        self.context.set_default_timeout(30_000)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.asked: set[str] = set()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.asked.add(urlsplit(request.url).netloc))

    def enter(self, secret: str = "", path: str = "/") -> Page:
        """Log in on the way to a page."""
        self.page.goto(path)
        self.page.get_by_label("Token").fill(
            secret or (self.home / "etc/keys/admin.token").read_text().strip()
        )
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(lambda url: "/login" not in url)
        return self.page

    def see(self, name: str) -> None:
        """Have this page looked at: nothing shuts anybody out, nothing runs out of a phone, a picture is kept."""
        found = Axe().run(self.page).response["violations"]
        bad = [(each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in SERIOUS]
        assert [] == bad, name
        width = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert width <= 0, f"{name} is {width} px too wide"
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def leave(self) -> None:
        """Close, and see that nothing of another server was asked for and nothing failed in the page."""
        self.context.close()
        assert [] == self.faults
        assert {urlsplit(self.address).netloc} == self.asked


@contextlib.contextmanager
def visit(browser: Browser, address: str, home: Path, **more: Any) -> Iterator[Visitor]:
    """A browser for the length of a block."""
    visitor = Visitor(browser, address, home, **more)
    yield visitor
    visitor.leave()

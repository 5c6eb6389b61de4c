"""The console in a real browser: what people do there works, is readable by everybody, and runs nothing of a source's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from gallery import gallery
from liar import lie
from playwright.sync_api import Browser, expect
from shared import ask, home_in_service
from stage import Pbs, SourceHost, big, eventually, grow, short_folder
from visitor import visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PLANT = "</script><script>window.ran=1</script><img src=x onerror=window.ran=1>{{7*7}}"

# Playwright keeps a loop running in this thread: verbs are run as programs here, never in this process.


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Pbs, SourceHost]]:
    """A served home with a source on a slow line."""
    channel = (
        '[notify.tell]\nkind = "command"\ncommand = ["/bin/sh", "-c", "cat > /dev/null"]\ndelay = "1h"\n'
    )
    with short_folder() as folder, home_in_service(rest=channel) as pbs:
        host = SourceHost(folder / "src")
        grow(host.data, files=6)
        host.start()
        pbs.add("slow", host, "--set", 'limits={upload="2MB/s"}')
        pbs.pull("slow")
        yield pbs, host
        host.stop()


def at(pbs: Pbs) -> tuple[str, Path]:
    """Address and folder of a served home."""
    return f"http://127.0.0.1:{pbs.port}", pbs.home


def test_a_person_logs_in_with_the_keyboard_alone(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """The page asked for comes after the login; the first step of the keyboard leads past the navigation; out is out."""
    with visit(browser, *at(place[0])) as visitor:
        page = visitor.enter(path="/runs?kind=pull")
        assert page.url.endswith("/runs?kind=pull")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto("/")
        expect(page.get_by_label("Token")).to_be_visible()


def test_a_pull_is_started_and_watched(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """A button starts it; its page tells of each stage and of the end by itself, without being loaded again."""
    pbs, host = place
    big(host.data / "more", 4)
    with visit(browser, *at(pbs)) as visitor:
        page = visitor.enter(path="/sources/slow")
        page.get_by_role("button", name="Pull now").click()
        page.wait_for_url(re.compile("/runs/.*-slow-pull-"))
        page.evaluate("window.stayed = true")
        expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        expect(page.get_by_text("backing up")).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("ok", timeout=60_000)
        expect(page.get_by_text("every file was read").first).to_be_visible()
        expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
        assert page.evaluate("window.stayed")
        visitor.see("run")


def test_a_run_is_cancelled(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """The button on its page ends it, and the page says so; it can be asked for once more."""
    pbs, host = place
    big(host.data / "much", 40)
    with visit(browser, *at(pbs)) as visitor:
        page = visitor.enter(path=f"/runs/{ask(pbs, 'slow')['id']}")
        expect(page.get_by_text("backing up")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("status")).to_have_text("cancelled", timeout=60_000)
        expect(page.get_by_role("button", name="Run it again")).to_be_visible()
    shutil.rmtree(host.data / "much")


def test_retention_is_simulated(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """A rule and a day are filled in: the page tells what would be kept then; nothing happens. Nonsense is explained."""
    with visit(browser, *at(place[0])) as visitor:
        page = visitor.enter(path="/sources/slow/retention")
        page.get_by_label("Under the rule").fill("3B")
        page.get_by_label("With a snapshot every").fill("1d")
        page.get_by_label("On", exact=True).fill("2030-01-31")
        page.get_by_role("button", name="Simulate").click()
        expect(page.get_by_role("status")).to_contain_text("3 snapshots kept")
        visitor.see("retention")
        page.get_by_label("Under the rule").fill("soon")
        page.get_by_role("button", name="Simulate").click()
        expect(page.get_by_role("alert")).to_contain_text("keep")
        visitor.faults.clear()  # the browser tells of the refusal as of an error
        assert [] == [each for each in place[0].json("runs", "slow")["runs"] if each["kind"] == "retain"]


def test_a_snapshot_is_pinned(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """A button holds it, another lets it go again; the audit tells who did."""
    with visit(browser, *at(place[0])) as visitor:
        page = visitor.enter(path="/sources/slow")
        page.get_by_role("button", name="Pin ").last.click()
        expect(page.get_by_role("button", name="Unpin ")).to_have_count(1)
        page.get_by_role("button", name="Unpin ").click()
        expect(page.get_by_role("button", name="Unpin ")).to_have_count(0)
        page.goto("/audit")
        expect(page.get_by_role("cell", name="POST /sources/{name}/pin")).to_have_count(2)


def test_a_source_is_held_and_resumed(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """A person says why nothing shall be removed; it stands on the page and in the list until somebody has looked."""
    with visit(browser, *at(place[0])) as visitor:
        page = visitor.enter(path="/sources/slow")
        page.get_by_label("Why no snapshot").fill("somebody <b>deleted</b> half of it")
        page.get_by_role("button", name="Hold", exact=True).click()
        expect(page.get_by_text("somebody <b>deleted</b> half of it", exact=True)).to_be_visible()
        expect(page.locator(".promises")).to_contain_text("It is held: somebody <b>deleted</b> half of it")
        visitor.see("held")
        page.goto("/?show=trouble")
        expect(page.get_by_role("link", name="held")).to_be_visible()
        page.goto("/sources/slow")
        page.get_by_role("button", name="I have looked").click()
        expect(page.get_by_text("somebody <b>")).to_have_count(0)


def test_a_channel_is_tried(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """A button has a test message sent, and says that it was taken."""
    with visit(browser, *at(place[0])) as visitor:
        page = visitor.enter(path="/settings")
        page.get_by_role("button", name="Send a test message to tell").click()
        expect(page.get_by_role("status")).to_have_text("The channel tell took a test message.")


def test_times_are_those_of_the_reader(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """A zone that is chosen in one browser is what its pages tell times in."""
    with visit(browser, *at(place[0])) as visitor:
        page = visitor.enter(path="/settings")
        page.get_by_label("Show times in").select_option("Asia/Kathmandu")
        page.get_by_role("button", name="Use it").click()
        page.goto("/runs")
        expect(page.get_by_text("Times are in Asia/Kathmandu.")).to_be_visible()
        told = page.locator("tbody time").first
        moment = datetime.fromisoformat(told.get_attribute("datetime") or "").astimezone(
            ZoneInfo("Asia/Kathmandu")
        )
        expect(told).to_have_text(f"{moment:%Y-%m-%d %H:%M}")


def test_nothing_of_a_source_runs(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """T20: names, messages and logs that hold markup are shown as they are, while the run goes on and afterwards."""
    pbs, _ = place
    with short_folder() as folder:
        evil = SourceHost(folder / "src")
        evil.start()
        pbs.add("evil", evil)
        lie(evil, f"""
PLANT = {PLANT!r}
def job():
    greet()
    request()
    say("log", text=PLANT)
    say("warning", path=PLANT, reason=PLANT)
    time.sleep(3)
    end(outcome="failed", exit=1, message=PLANT)
""")  # fmt: skip
        with visit(browser, *at(pbs)) as visitor:
            page = visitor.enter(path=f"/runs/{ask(pbs, 'evil')['id']}")
            expect(page.locator(".log")).to_contain_text("<img src=x")
            expect(page.get_by_role("status")).to_have_text("failed", timeout=60_000)
            for path in (page.url, "/runs", "/", "/sources/evil"):
                page.goto(path)
                assert page.evaluate("window.ran") is None, path
                assert 0 == page.locator("img").count()
        evil.stop()


def test_a_viewer_sees_and_presses_nothing(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """Without the role there are no buttons, no configuration, and what a button would send is refused."""
    pbs, _ = place
    with visit(browser, *at(pbs)) as visitor:
        page = visitor.enter(pbs.json("token", "add", "eyes")["token"])
        for path in ("/sources/slow", "/sources/slow/retention", "/runs", "/settings"):
            page.goto(path)
            forms = page.locator(
                'form[method="post"]:not([action="/logout"]):not([action="/settings/timezone"])'
            )
            assert 0 == forms.count(), path
        csrf = page.locator('input[name="csrf"]').first.get_attribute("value") or ""
        for path in (
            "/sources/slow/runs",
            "/runs/x/cancel",
            "/sources/slow/pin",
            "/sources/slow/hold",
            "/quarantine/1/discard",
        ):
            assert 403 == page.request.post(path, form={"csrf": csrf}).status, path
        assert 403 == page.request.get("/sources/slow/configuration").status


def test_it_reads_without_a_script(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """Login, lists, a run and its buttons work where JavaScript does not."""
    pbs, _ = place
    with visit(browser, *at(pbs), java_script_enabled=False) as visitor:
        page = visitor.enter(path="/")
        page.get_by_role("link", name="slow").first.click()
        page.get_by_role("button", name="Check").click()
        page.wait_for_url(re.compile("/runs/.*-slow-check-"))
        run = page.url.rpartition("/")[2]
        eventually(lambda: pbs.json("runs", "slow")["runs"][0]["state"] == "ended", 60, "its end")
        page.goto(f"/runs/{run}")
        expect(page.get_by_role("status")).to_have_text("ok")


LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.mark.parametrize("looks", [
    pytest.param(LIGHT, id="light"), pytest.param(DARK | PHONE, id="phone-dark"),
    pytest.param(DARK, id="dark", marks=pytest.mark.long), pytest.param(LIGHT | PHONE, id="phone", marks=pytest.mark.long),
])  # fmt: skip
def test_every_page_can_be_used_by_everybody(
    browser: Browser, place: tuple[Pbs, SourceHost], looks: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """On a wide screen and a phone, light and dark: a machine finds nothing serious, nothing runs out of the screen."""
    pbs, _ = place
    run = pbs.json("runs", "slow")["runs"][0]["id"]
    word = request.node.callspec.id
    with visit(browser, *at(pbs), **looks) as visitor:
        visitor.page.goto("/login")
        visitor.see(f"login-{word}")
        page = visitor.enter()
        for name, path in {
            "sources": "/", "source": "/sources/slow", "configuration": "/sources/slow/configuration", "runs": "/runs",
            "one-run": f"/runs/{run}", "none": "/?q=nothing", "promises": "/promises", "quarantine": "/quarantine",
            "settings": "/settings", "audit": "/audit",
            "browse": "/browse/slow", "folder": "/browse/slow/in/latest", "file": "/browse/slow/in/latest?path=/hard",
            "find": "/browse/slow/find?text=file", "compare": "/browse/slow/compare", "restore": "/browse/slow/in/latest/restore",
        }.items():  # fmt: skip
            assert (page.goto(path) or pytest.fail(path)).status == 200, path
            visitor.see(f"{name}-{word}")


def test_no_source_yet(browser: Browser) -> None:
    """The first page of a new home says what to do."""
    with gallery(0) as (address, home), visit(browser, address, home) as visitor:
        page = visitor.enter()
        expect(page.get_by_text("No source yet")).to_be_visible()
        expect(page.locator(".verdict")).to_contain_text("Not all is well: 1 promise broken, 1 warning")
        visitor.see("empty")


def test_a_thousand_sources(browser: Browser) -> None:
    """The worst come first, a part at a time; name, order and trouble are chosen; the page stays small."""
    with gallery(1000) as (address, home), visit(browser, address, home) as visitor:
        page = visitor.enter()
        answer = page.goto("/")
        assert answer is not None
        assert len(answer.body()) < 80_000
        expect(page.get_by_role("link", name="1000 in all")).to_be_visible()
        expect(page.locator("tbody tr").first.locator(".outcome")).to_have_text("failed")
        expect(page.locator("tbody tr").first).to_contain_text("last-run broken")
        expect(page.locator(".verdict")).to_contain_text("Not all is well")
        visitor.see("thousand")
        page.get_by_role("link", name="After").click()
        expect(page.get_by_text("part 2 of 20")).to_be_visible()
        page.get_by_label("Name or host").fill("mail777")
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="mail777").click()
        expect(page.get_by_role("heading", name="mail777")).to_be_visible()
        visitor.see("grown")
        page.goto("/?show=never&sort=name")
        expect(page.locator("tbody tr")).to_have_count(20)


def test_why_not_all_is_well(browser: Browser) -> None:
    """From the first line to what is broken, since when, why and what to do, and to the run that says it: three steps."""
    with gallery(5) as (address, home), visit(browser, address, home) as visitor:
        page = visitor.enter()
        expect(page.locator(".verdict")).to_contain_text("Not all is well: 2 promises broken")
        visitor.see("broken")
        page.get_by_role("link", name="last-run broken").click()
        card = page.locator(".promises .alert")
        expect(card).to_contain_text("broken · files3 · last-run · since")
        expect(card).to_contain_text("The last pull was refused: not all was as it should be")
        expect(card).to_contain_text("What to do: look at the log of the run")
        page.get_by_text("kept", exact=False).first.click()
        expect(page.get_by_role("row", name="fresh the newest backup is")).to_be_visible()
        visitor.see("broken-promises")
        card.get_by_role("link", name="files3").click()
        expect(page.get_by_role("link", name="not kept")).to_be_visible()
        page.get_by_role("link", name="refused").first.click()
        expect(page.get_by_role("status")).to_have_text("refused")


def test_an_older_version_is_found_and_taken_out(browser: Browser, place: tuple[Pbs, SourceHost]) -> None:
    """Part of a name leads to a file, its versions to the bytes of then; what is hostile beside it is shown and runs nothing."""
    pbs, host = place
    papers = host.data / "papers"
    papers.mkdir()
    hostile = PLANT.replace("/", "|")
    (papers / hostile).write_text(f"<script>window.ran=1</script>{PLANT}")
    for content in (b"as it was signed\n", b"overwritten by mistake\n"):
        (papers / "contract.txt").write_bytes(content)
        pbs.pull("slow")
    with visit(browser, *at(pbs)) as visitor:
        page = visitor.enter(path="/sources/slow")
        page.get_by_role("link", name="Look into snapshots").click()
        page.get_by_label("Look for a name").fill("contract")
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="/papers/contract.txt")).to_be_visible()
        visitor.see("browse-found")
        page.get_by_role("link", name="/papers/contract.txt").click()
        expect(page.get_by_role("row", name="Download")).to_have_count(2)
        for number, content in ((1, b"as it was signed\n"), (0, b"overwritten by mistake\n")):
            with page.expect_download() as waiting:
                page.get_by_role("row").get_by_role("link", name="Download").nth(number).click()
            assert content == Path(waiting.value.path()).read_bytes()
            assert "contract.txt" == waiting.value.suggested_filename
        page.get_by_role("link", name="papers").click()
        page.get_by_role("link", name="window.ran=1").click()
        page.get_by_role("link", name="Look at it").click()
        expect(page.locator("pre.preview")).to_contain_text("<script>window.ran=1</script>")
        visitor.see("browse-hostile")
        assert page.evaluate("window.ran") is None
        page.goto("/browse/slow/find?text=window.ran")
        assert page.evaluate("window.ran") is None

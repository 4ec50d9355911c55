"""The screens of lanes in a real browser: live, calm while they change, honest when they are not live, accessible."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

import streamstop_server
from streamstop import Command
from streamstop.operations import StopMPUTask
from streamstop_simulator.child_process import end
from tests.support.browser import NARROW, WIDE, Scheme, browser, visit
from tests.support.http_service import HttpService, http_service
from tests.support.world import ALIYUN, World, world

pytestmark = pytest.mark.browser

LANE = f"/lanes/{ALIYUN}/live.StopMPUTask"
#: Lets a tab be seen, or hidden behind another one.
_SEEN = """(seen) => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => !seen});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
_COUNT_STREAMS = """() => {
    const Source = EventSource, close = Source.prototype.close;
    window.created = 0;
    Source.prototype.close = function () { close.call(this); document.body.dataset.stream = "closed"; };
    EventSource = class extends Source { constructor(...all) { super(...all); window.created += 1; } };
}"""
SCREENS = ("/", LANE, f"/drain?account={ALIYUN}", "/workers", "/events")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), limits={"live.StopMPUTask": 0.5}) as running:
        running.simulator.settings(auto_start=True)
        running.await_account(ALIYUN)
        running.client.enqueue_many(
            [
                Command(operation=StopMPUTask(app_id="app", task_id=f"<img src=x onerror=alert({n})>"), account=ALIYUN)
                for n in range(600)
            ]
        )
        yield running


@pytest.fixture(scope="module")
def service(made: World) -> Iterator[HttpService]:
    with http_service(made.server.url, made.folder) as running:
        yield running


@pytest.mark.long
def test_what_others_do_appears_and_nothing_that_a_person_has_opened_or_typed_goes(
    made: World, service: HttpService, chromium: Browser
) -> None:
    with visit(chromium, service, "operator") as tab:
        tab.go(LANE)
        page = tab.page
        page.click("summary:has-text('Pause')")
        page.fill("details[open] input[name=reason]", "half a sent")
        page.click("summary:has-text('As a table')")
        made.client.pause(ALIYUN, reason="seen live", by="ann@ops")
        expect(page.locator("#now")).to_contain_text(f"paused {ALIYUN} by ann@ops: seen live")
        expect(page.locator("#events")).to_contain_text("ann@ops")
        assert page.input_value("details[open] input[name=reason]") == "half a sent"
        assert page.locator("details[open]").count() == 2
        page.click("[id^=resume-]")
        expect(page.locator("#now")).not_to_contain_text("seen live")
        assert tab.complaints == []


@pytest.mark.long
def test_a_screen_that_is_not_live_says_so_until_it_is_again(made: World, chromium: Browser, tmp_path: Path) -> None:
    with http_service(made.server.url, tmp_path, with_tokens=False) as first, visit(chromium, first) as tab:
        tab.go("/")
        note = tab.page.locator("#not-live")
        expect(tab.page.locator("#lanes")).to_contain_text(ALIYUN)
        assert note.is_hidden()
        end(first.process, within_s=40)
        expect(note).to_be_visible()
        port = int(first.url.rpartition(":")[2])
        with http_service(made.server.url, tmp_path, with_tokens=False, port=port):
            expect(note).to_be_hidden()


@pytest.mark.long
def test_a_tab_that_nobody_sees_gives_up_its_connection_and_is_live_again_when_seen(
    made: World, service: HttpService, chromium: Browser
) -> None:
    script = (Path(streamstop_server.__file__).parent / "page" / "static" / "live.js").read_text()
    assert "HIDDEN_MS = 20000" in script
    soon = script.replace("HIDDEN_MS = 20000", "HIDDEN_MS = 100")
    with visit(chromium, service, "operator") as tab:
        page, held = tab.page, tab.page.locator("#held")
        page.route("**/live.js", lambda route: route.fulfill(body=soon, content_type="text/javascript"))
        tab.go("/")
        made.client.pause("vendor:tencent", reason="first")
        expect(held).to_contain_text("first")
        page.evaluate(_COUNT_STREAMS)
        page.evaluate(_SEEN, False)
        expect(page.locator("body")).to_have_attribute("data-stream", "closed")
        made.client.pause("vendor:tencent", reason="second")
        page.evaluate(_SEEN, True)
        expect(held).to_contain_text("second")
        assert page.evaluate("window.created") == 1, "another stream is open"
        made.client.resume("vendor:tencent")
        expect(held).not_to_contain_text("second")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (NARROW, "dark"),
        pytest.param(NARROW, "light", marks=pytest.mark.long),
        pytest.param(WIDE, "dark", marks=pytest.mark.long),
        pytest.param(WIDE, "light", marks=pytest.mark.long),
    ],
)
def test_screens_are_accessible_and_fit(width: int, scheme: Scheme, service: HttpService, chromium: Browser) -> None:
    with visit(chromium, service, "operator", width=width, scheme=scheme) as tab:
        for path in SCREENS:
            tab.go(path)
            tab.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert (path, tab.axe(), tab.overflow()) == (path, {}, 0)
        assert tab.complaints == []


def test_without_scripts_a_person_reads_and_acts(made: World, service: HttpService, chromium: Browser) -> None:
    with visit(chromium, service, "operator", scripts=False) as tab:
        tab.go(LANE)
        tab.page.click("summary:has-text('Drain')")
        tab.page.click("text=Count the jobs")
        tab.page.click("button:has-text('Cancel all')")
        expect(tab.page.locator("[role=status]:visible")).to_contain_text("cancelled")
    assert any(event.kind == "drained" and event.by == "operator" for event in made.client.events(account=ALIYUN))

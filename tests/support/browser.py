"""A real browser for the tests of the page: Debian's Chromium, driven by Playwright, and axe for accessibility."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect, sync_playwright

from tests.support.http_service import HttpService

Scheme = Literal["light", "dark"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_AXE = Path(__file__).parent / "axe" / "axe-4.14.1.min.js"
#: How long tests wait for the browser, in ms: far beyond what anything takes on a busy machine.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
#: The heights of the windows of a telephone and of a large screen do not matter; their widths do.
NARROW, WIDE = 360, 1600


def chromium_path() -> str:
    """Return the browser's executable; fail where there is none, and say how to get it."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found is not None, "the tests of the page need Chromium: apt-get install chromium"
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Run the browser. It is slow to start: one for each module of tests."""
    executable = chromium_path()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS, timeout=PATIENCE_MS)
        try:
            yield running
        finally:
            running.close()


@dataclass
class Visit:
    """A tab of somebody who is signed in."""

    page: Page
    #: What the console reported as wrong: errors of scripts, breaches of the content security policy, failed requests.
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str, *, status: int = 200) -> None:
        """Open a screen. A failed answer is a complaint of the console, unless it is the one expected."""
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == status, (path, answer.status, self.page.inner_text("body")[:500])

    def overflow(self) -> int:
        """Return by how many pixels the screen is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def axe(self) -> Mapping[str, list[str]]:
        """Return what is inaccessible: for each rule of axe that is broken, the elements.

        The script is evaluated by the browser's debugger, so the page's policy holds for everything else.
        """
        self.page.evaluate(_axe())
        found: Any = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return {
            f"{one['id']}: {one['help']}": [
                f"{node['html'][:200]} {node.get('failureSummary', '')[:300]}" for node in one["nodes"]
            ]
            for one in found["violations"]
        }


@contextmanager
def visit(
    running: Browser,
    service: HttpService,
    token: str | None = "everything",
    *,
    width: int = WIDE,
    scheme: Scheme = "light",
    scripts: bool = True,
) -> Iterator[Visit]:
    """Open a tab, and sign in with the token of this name; None: do not sign in. `scripts` False: no JavaScript."""
    context = running.new_context(
        base_url=service.url,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )
    try:
        context.set_default_timeout(PATIENCE_MS)
        visiting = Visit(context.new_page())
        visiting.page.on("console", lambda message: _note(visiting.complaints, message))
        visiting.page.on("pageerror", lambda error: visiting.complaints.append(f"script: {error}"))
        visiting.page.on("dialog", lambda dialog: _refuse(visiting.complaints, dialog))
        if token is not None and service.tokens:
            visiting.page.goto("/sign-in")
            visiting.page.fill("input[name=token]", service.tokens[token])
            visiting.page.click("main button")
            visiting.page.wait_for_url("**/")
        yield visiting
    finally:
        context.close()


def _note(complaints: list[str], message: ConsoleMessage) -> None:
    if message.type in {"error", "warning"}:
        complaints.append(f"{message.type}: {message.text}")


def _refuse(complaints: list[str], dialog: Dialog) -> None:
    """Note that a script has opened a dialog: the page has none, so the script was planted."""
    complaints.append(f"dialog: {dialog.message}")
    dialog.dismiss()


@cache
def _axe() -> str:
    return _AXE.read_text()

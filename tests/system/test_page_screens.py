"""Every screen of the page, in a real browser: accessible, as wide as its window, without a complaint, small.

A new screen is a line of :data:`SCREENS`; a test fails where one is missing.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from streamstop import AsyncClient
from streamstop_server.app import create
from streamstop_server.settings import ServerSettings
from tests.support.browser import NARROW, WIDE, Scheme, browser, visit
from tests.support.http_app import routes
from tests.support.page_world import PLANTED, ROOM, PageWorld, page_world

pytestmark = [pytest.mark.browser, pytest.mark.long]

#: The paths of routes, and what is shown of each: ``{…}`` are the names of :class:`PageWorld`.
SCREENS = {
    "/": ["/"],
    "/sign-in": ["/sign-in?next=/rooms"],
    "/lanes/{account}/{operation}": ["/lanes/{account}/{operation}"],
    "/drain": ["/drain?account={account}&operation={operation}"],
    "/rooms": ["/rooms", "/rooms?page=2"],
    "/rooms/{room:segment}": ["/rooms/concert", "/rooms/concert?act=stop", "/rooms/{odd_room}", "/rooms/nothing"],
    "/shutdowns/{shutdown_id}": [
        "/shutdowns/{ended}",
        "/shutdowns/{ended}?show=all",
        "/shutdowns/{running}",
        "/shutdowns/{running}?act=cancel",
    ],
    "/jobs": ["/jobs", "/jobs?task=relay-599", "/jobs?task={planted}"],
    "/jobs/{job_id:path}": ["/jobs/{waiting}", "/jobs/{stopped}", "/jobs/{refused}"],
    "/dead-letters": ["/dead-letters", "/dead-letters?act=requeue", "/dead-letters?code={planted}"],
    "/dead-letters/{letter_id:path}": ["/dead-letters/{dead}"],
    "/workers": ["/workers"],
    "/events": ["/events"],
}
#: Parts of screens, streams and files are none of their own.
_NO_SCREENS = re.compile(r"^/(live|static|v1)/|^/(healthz|readyz|metrics|openapi.json)$")
#: How many lists of a screen must be scrolled sideways to see all columns.
_CUT = "Array.from(document.querySelectorAll('.scroll')).filter(each => each.querySelector('.stack') && each.scrollWidth > each.clientWidth).length"  # noqa: E501
#: The largest that a screen may be, in bytes.
LARGEST = 200_000


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageWorld]:
    with page_world(tmp_path_factory.mktemp("page")) as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browser() as made:
        yield made


def paths(seen: PageWorld) -> list[str]:
    """Return the paths of all screens."""
    return [path.format(**seen.names) for examples in SCREENS.values() for path in examples]


def test_every_screen_is_looked_at() -> None:
    app = create(ServerSettings("127.0.0.1", None, "s" * 40), client=AsyncClient)
    screens = {path for method, path in routes(app) if method == "GET" and not _NO_SCREENS.search(path)}
    assert screens == set(SCREENS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_every_screen_is_accessible_and_fits(seen: PageWorld, running: Browser, width: int, scheme: Scheme) -> None:
    wrong = {}
    with visit(running, seen.service, width=width, scheme=scheme) as visiting:
        for path in paths(seen):
            visiting.go(path)
            title = visiting.page.title()
            found = {
                "complaints": list(visiting.complaints),
                "overflow": visiting.overflow(),
                "cut": width == NARROW and visiting.page.evaluate(_CUT),
                "axe": visiting.axe(),
                "planted": title == "planted" or not title.endswith(" · streamstop"),
            }
            visiting.complaints.clear()
            if any(found.values()):
                wrong[path] = found
    assert wrong == {}, wrong


def test_what_people_and_vendors_say_is_shown_and_never_run(seen: PageWorld, running: Browser) -> None:
    with visit(running, seen.service) as visiting:
        for path in paths(seen):
            visiting.go(path)
            assert visiting.page.locator("img[onerror], main script, b").count() == 0, path
        for path, text in {
            "/": PLANTED,
            "/events": PLANTED,
            f"/rooms/{seen.names['odd_room']}": f"Room {ROOM}",
            f"/shutdowns/{seen.ended.id}": f"Refused: {PLANTED}",
            f"/jobs/{seen.waiting}": PLANTED,
            f"/jobs/{seen.refused}": f"Later: {PLANTED}",
            f"/dead-letters/{seen.refused}": f"Refused: {PLANTED}",
            f"/dead-letters?code={seen.names['planted']}": "No dead letter matches.",
        }.items():
            visiting.go(path)
            assert text in visiting.page.inner_text("main"), path
        visiting.go(f"/dead-letters?code={seen.names['planted']}")
        assert visiting.page.input_value("input[name=code]") == PLANTED
        visiting.go(f"/jobs?task={seen.names['planted']}")
        assert visiting.page.input_value("input[name=task]") == PLANTED
        assert visiting.complaints == []


def test_no_screen_is_large(seen: PageWorld, running: Browser) -> None:
    with visit(running, seen.service) as visiting:
        sizes = {path: len(visiting.page.request.get(path).body()) for path in paths(seen)}
    assert max(sizes.values()) < LARGEST, sizes
    assert all(sizes.values())

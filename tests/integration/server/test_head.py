"""HEAD over HTTP, on a real Redis: it answers as GET does, without a body, and holds nothing."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from streamstop import Client, Command
from streamstop.operations import StopMPUTask
from tests.support.http_app import routes
from tests.support.http_thread import ServedApp, served
from tests.support.polling import eventually

STOP = StopMPUTask(app_id="app", task_id="t")
#: They differ between two answers, or say how the body is sent.
_OTHER = {"date", "content-length", "transfer-encoding"}


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[ServedApp]:
    with served(redis_url, tmp_path) as running:
        yield running


def paths(service: ServedApp, client: Client) -> list[str]:
    """Return a path of every route that answers GET with an end."""
    values = {
        "job_id": client.enqueue(STOP, account="live-cn").id,
        "room": "room",
        "shutdown_id": client.stop_room("room", [Command(operation=STOP, account="live-cn")]).id,
        "account": "live-cn",
        "operation": "live.StopMPUTask",
        "letter_id": "none",
        "digest": "0",
        "name": "x",
    }
    found = [path for method, path in routes(service.app) if method == "GET" and not path.endswith("/events")]
    found = [path for path in found if not path.startswith("/live/")]
    return [re.sub(r"\{(\w+)(?::\w+)?\}", lambda name: values[name[1]], path) for path in found]


def test_every_path_answers_head_as_get_without_a_body(service: ServedApp, client: Client) -> None:
    found = paths(service, client)
    assert len(found) > 30
    with service.http() as http:
        for path in found:
            got, head = http.get(path), http.head(path)
            assert head.status_code == got.status_code, path
            assert head.content == b""
            shown = [{k: v for k, v in each.headers.items() if k not in _OTHER} for each in (got, head)]
            assert shown[0] == shown[1], path
            if path.startswith("/v1/operations"):
                assert int(head.headers["content-length"]) == len(got.content)
        refused = http.head("/v1/pauses/live-cn")
        assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE")
        assert http.delete("/v1/lanes").headers["allow"] == "GET, HEAD"


def test_head_of_a_stream_ends_with_its_headers(service: ServedApp, client: Client) -> None:
    shutdown = client.stop_room("room", [Command(operation=STOP, account="live-cn")])
    events = {"Accept": "text/event-stream"}
    with service.http() as http:
        for path in (f"/v1/shutdowns/{shutdown.id}/events", "/v1/events"):
            for _ in range(3):
                head = http.head(path, headers=events)
                assert (head.status_code, head.content) == (200, b"")
                assert head.headers["content-type"].startswith("text/event-stream")
        assert http.head("/v1/lanes").status_code == httpx.codes.OK, "the connection is of use after it"
    eventually(lambda: (service.waits.open, service.following.count, service.listeners) == (0, 0, 0), "nothing is held")

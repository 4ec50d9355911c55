"""Who may do what, tried by every route there is: read-only tokens change nothing, other accounts' tokens neither."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from streamstop import Client, Command
from streamstop._redis.accounts import KnownAccounts
from streamstop.operations import StopMPUTask
from tests.support.http_app import FOR_PEOPLE, SAME_ORIGIN, UNSAFE, HttpApp, http_app, routes
from tests.support.http_service import TOKENS

#: Answered without a token or a session: probes, the description, scripts and styles, the sign-in.
OPEN = {"/healthz", "/readyz", "/openapi.json", "/static/{digest}/{name}", "/sign-in", "/sign-out"}
ACCOUNT = "live-cn"
STOP = StopMPUTask(app_id="app", task_id="relay-1")
#: Streams end only with their client.
_STREAMS = re.compile(r"/live/|/events$")


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[HttpApp]:
    with http_app(redis_url, tmp_path) as running:
        yield running


@pytest.fixture
def queued(client: Client) -> dict[str, str]:
    """Fill the queue; return what the parameters of paths are named by."""
    job, _ = client.enqueue_many([Command(operation=STOP, account=ACCOUNT) for _ in range(2)])
    client.register("room-1", STOP, account=ACCOUNT)
    shutdown = client.stop_room("room-2", [Command(operation=STOP, account=ACCOUNT)])
    client.pause(ACCOUNT)
    client.set_limit(ACCOUNT, STOP.spec.id, 2)
    return {
        "job_id": job.id,
        "letter_id": job.id,
        "room": "room-1",
        "shutdown_id": shutdown.id,
        "account": ACCOUNT,
        "operation": STOP.spec.id,
        "scope": ACCOUNT,
        "digest": "0",
        "name": "x",
    }


def filled(path: str, values: dict[str, str]) -> str:
    """Return a path with its parameters."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: values[found[1]], path)


def content(redis: Redis) -> dict[bytes, bytes | None]:
    """Return everything in Redis."""
    return {key: redis.dump(key) for key in redis.scan_iter()}


def bodies(account: str) -> list[object]:
    """Return bodies of which each unsafe route takes one."""
    command = {"operation": STOP.spec.id, "account": account, "params": {"AppId": "app", "TaskId": "t"}}
    return [
        command,
        [command],
        {},
        {"scope": account},
        {"scope": "all"},
        {"limit": 1},
        {"dry_run": False},
        {"dry_run": False, "account": account},
        {"commands": [command]},
    ]


def test_every_route_but_the_open_ones_needs_a_token_or_a_session(service: HttpApp, queued: dict[str, str]) -> None:
    for method, path in routes(service.app):
        if path in OPEN:
            continue
        answer = service.client.request(method, filled(path, queued), headers=SAME_ORIGIN)
        assert answer.status_code == httpx.codes.UNAUTHORIZED, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        if path.startswith("/v1/"):
            assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("name", [name for name, (scopes, _) in TOKENS.items() if list(scopes) == ["read"]])
def test_a_token_that_may_only_read_changes_nothing_by_any_route(
    name: str, service: HttpApp, queued: dict[str, str], real_redis: Redis
) -> None:
    service.sign_in(name)
    before, tried = content(real_redis), 0
    for method, path in routes(service.app):
        if method not in UNSAFE or path in OPEN:
            continue
        for body in bodies(ACCOUNT):
            for headers in ({**service.bearer(name), **SAME_ORIGIN}, SAME_ORIGIN):
                answer = service.client.request(method, filled(path, queued), json=body, headers=headers)
                assert answer.status_code in {httpx.codes.FORBIDDEN, httpx.codes.UNAUTHORIZED}, (method, path, body)
                tried += 1
    assert tried > 0
    assert content(real_redis) == before


def test_looking_changes_nothing(service: HttpApp, queued: dict[str, str], real_redis: Redis) -> None:
    service.sign_in("reader")
    before = content(real_redis)
    for method, path in routes(service.app):
        if method == "GET" and not _STREAMS.search(path):
            for accept in ({}, FOR_PEOPLE, {"HX-Request": "true"}):
                headers = {**service.bearer("reader"), **accept}
                answer = service.client.get(filled(path, queued), headers=headers)
                assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, (path, answer.text)
    assert content(real_redis) == before


def test_a_token_for_another_account_changes_nothing_of_this_one(
    service: HttpApp, queued: dict[str, str], real_redis: Redis
) -> None:
    service.sign_in("elsewhere")
    before = content(real_redis)
    for method, path in routes(service.app):
        if method not in UNSAFE or path in OPEN:
            continue
        for body in bodies(ACCOUNT):
            for headers in ({**service.bearer("elsewhere"), **SAME_ORIGIN}, SAME_ORIGIN):
                service.client.request(method, filled(path, queued), json=body, headers=headers)
    assert content(real_redis) == before


def test_an_act_on_the_page_needs_a_request_from_the_page_itself(
    service: HttpApp, queued: dict[str, str], real_redis: Redis
) -> None:
    service.sign_in("everything")
    before, tried = content(real_redis), 0
    for method, path in routes(service.app):
        if method not in UNSAFE or path.startswith("/v1/"):
            continue
        for site in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}):
            answer = service.client.request(method, filled(path, queued), headers=site)
            assert answer.status_code == httpx.codes.FORBIDDEN, (method, path, site)
            tried += 1
    assert tried > 0
    assert content(real_redis) == before


def test_a_session_is_no_token_of_the_api(service: HttpApp, queued: dict[str, str]) -> None:
    service.sign_in("everything")
    for method, path in routes(service.app):
        if path.startswith("/v1/"):
            answer = service.client.request(method, filled(path, queued), headers=SAME_ORIGIN)
            assert answer.status_code == httpx.codes.UNAUTHORIZED, (method, path)


def test_a_refusal_names_no_account_that_the_token_does_not_cover(
    service: HttpApp, queued: dict[str, str], real_redis: Redis
) -> None:
    KnownAccounts(real_redis).publish({ACCOUNT: "aliyun", "near-live": "aliyun"})
    service.sign_in("elsewhere")
    tasks = {"operation": STOP.spec.id, "account": "another-account", "params": {"AppId": "a", "TaskId": "t"}}
    shutdown = queued["shutdown_id"]
    for method, path, body, status in [
        ("POST", "/v1/jobs", tasks, 422),
        ("PUT", "/v1/rooms/room-3/tasks", tasks, 422),
        ("GET", "/v1/rooms/room-1", None, 200),
        ("POST", "/v1/rooms/room-1/shutdown", {}, 403),
        ("GET", f"/v1/shutdowns/{shutdown}", None, 403),
        ("GET", f"/v1/shutdowns/{shutdown}/events", None, 403),
        ("GET", f"/shutdowns/{shutdown}", None, 403),
        ("GET", f"/live/shutdowns/{shutdown}", None, 403),
        ("GET", "/rooms/room-1", None, 200),
        ("GET", "/rooms", None, 200),
    ]:
        headers = {**FOR_PEOPLE, **service.bearer("elsewhere")}
        answer = service.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, (path, answer.text)
        assert ACCOUNT not in answer.text, (path, answer.text)
        assert " open<" not in answer.text

"""The HTTP service as the Redis user of the documentation: it may do all that its callers may."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.access_rules import SERVER, RestrictedRedis, restricted_redis
from tests.support.dead_letters import LANE, FailingLanes
from tests.support.http_app import FOR_PEOPLE, SAME_ORIGIN, HttpApp, http_app
from tests.support.manual_clock import ManualClock

ACCOUNT = LANE.account


@contextmanager
def served(restricted: RestrictedRedis, folder: Path) -> Iterator[HttpApp]:
    with http_app(restricted.url(SERVER), folder) as service:
        service.client.headers.update(service.bearer("everything"))
        yield service


@pytest.fixture(scope="module")
def restricted() -> Iterator[RestrictedRedis]:
    with restricted_redis() as made:
        yield made


@pytest.fixture
def service(restricted: RestrictedRedis, tmp_path: Path) -> Iterator[HttpApp]:
    restricted.admin.flushdb()
    restricted.admin.acl_log_reset()
    with served(restricted, tmp_path) as running:
        yield running
    assert restricted.denied() == []


def stop(task: str = "t") -> dict[str, Any]:
    return {"operation": LANE.operation, "account": ACCOUNT, "params": {"AppId": "a", "TaskId": task}}


def ok(service: HttpApp, method: str, path: str, **options: Any) -> Any:
    answer = service.client.request(method, path, **options)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def letters(restricted: RestrictedRedis) -> FailingLanes:
    admin: Redis = restricted.admin
    return FailingLanes(admin, ManualClock())  # type: ignore[arg-type]


def test_jobs_are_enqueued_looked_at_found_and_cancelled(service: HttpApp, restricted: RestrictedRedis) -> None:
    for count in (1, 501):
        many = [stop(f"t{n}") for n in range(count)]
        ok(service, "POST", "/v1/jobs", json=many)
        jobs = [ok(service, "POST", "/v1/jobs", json=many, headers={"Idempotency-Key": f"{count}"}) for _ in range(2)]
        assert jobs[0] == jobs[1]
    (job,) = ok(service, "POST", "/v1/jobs?unique=true", json=stop())["jobs"]
    assert restricted.admin.exists("streamstop.batches", "streamstop.staged") == 0, "the service spreads its batches"
    assert ok(service, "GET", f"/v1/jobs/{job['id']}?wait=0.1")["place"] == 1005
    assert len(ok(service, "GET", "/v1/jobs?task=t1")["found"]) == 2
    assert ok(service, "DELETE", f"/v1/jobs/{job['id']}")["state"] == "ended"
    assert ok(service, "GET", f"/v1/jobs/{job['id']}?wait=5")["outcome"]["result"] == "cancelled"


def test_rooms_are_filled_and_stopped(service: HttpApp) -> None:
    ok(service, "PUT", "/v1/rooms/r/tasks", json=[stop(f"t{n}") for n in range(600)])
    ok(service, "DELETE", "/v1/rooms/r/tasks", json=stop("t0"))
    assert ok(service, "GET", "/v1/rooms/r")["registered"] == 599
    closing = ok(service, "POST", "/v1/rooms/r/shutdown", json={"commands": [stop("more")]})
    path = f"/v1/shutdowns/{closing['shutdown']}"
    assert ok(service, "GET", f"{path}?wait=0.1")["status"] == "open"
    ok(service, "GET", f"{path}/outcomes")
    ok(service, "DELETE", path)
    ok(service, "GET", "/v1/shutdowns")


def test_people_on_call_look_and_act(service: HttpApp, restricted: RestrictedRedis) -> None:
    ok(service, "POST", "/v1/jobs", json=[stop(f"t{n}") for n in range(3)])
    ok(service, "POST", "/v1/pauses", json={"scope": ACCOUNT})
    ok(service, "PUT", f"/v1/limits/{ACCOUNT}/{LANE.operation}", json={"limit": 2})
    for path in ("lanes", "workers", "errors", "events", "pauses", "limits", "holds", "operations", "dead-letters"):
        ok(service, "GET", f"/v1/{path}")
    ok(service, "DELETE", f"/v1/pauses/{ACCOUNT}")
    ok(service, "DELETE", f"/v1/limits/{ACCOUNT}/{LANE.operation}")
    lanes = letters(restricted)
    restricted.admin.delete(LANE.queue)
    for name in ("a", "b", "c", "d"):
        lanes.fail_job(name)
    ok(service, "POST", f"/v1/dead-letters/{LANE.name}.a:requeue")
    ok(service, "POST", f"/v1/dead-letters/{LANE.name}.b:drop")
    for act in ("requeue", "drop"):
        ok(service, "POST", f"/v1/dead-letters:{act}", json={"dry_run": True})
    assert ok(service, "POST", "/v1/dead-letters:requeue", json={"dry_run": False})["letters"] == 2
    events = {event["kind"] for event in ok(service, "GET", "/v1/events")}
    assert events >= {"paused", "resumed", "limit_set", "limit_cleared", "requeued", "dropped"}


def test_the_page_and_the_probes_are_answered(service: HttpApp) -> None:
    assert service.client.get("/metrics").status_code == 200
    assert service.client.get("/readyz").status_code == 200
    service.sign_in("everything")
    for path in ("/", "/rooms", "/dead-letters", "/workers", "/events"):
        answer = service.client.get(path, headers={**FOR_PEOPLE, **SAME_ORIGIN})
        assert answer.status_code == 200, f"{path}: {answer.text[:500]}"

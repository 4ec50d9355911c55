"""The API for people on call: lanes, drains, pauses, limits, holds, workers, accounts and operations."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamstop import Command
from streamstop.operations import OPERATIONS, StopMPUTask, StopStreamIngest
from streamstop.testing import RecordingAsyncClient, RecordingClient
from tests.support.http_app import HttpApp, http_app

LANE = "live-cn/live.StopMPUTask"
STOP = Command(operation=StopMPUTask(app_id="a", task_id="t"), account="live-cn")
INGEST = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="t"), account="another-account")


@pytest.fixture
def queue() -> RecordingClient:
    return RecordingClient(accounts={"live-cn": "aliyun", "another-account": "tencent"}, leave_open=True)


@pytest.fixture
def service(queue: RecordingClient, tmp_path: Path) -> Iterator[HttpApp]:
    with http_app(RecordingAsyncClient(queue), tmp_path) as running:
        yield running


def ask(service: HttpApp, method: str, path: str, json: object = None, *, token: str = "everything") -> tuple[int, Any]:
    answer = service.client.request(method, f"/v1{path}", json=json, headers=service.bearer(token))
    return answer.status_code, answer.json() if answer.content else None


def test_a_pause_is_made_listed_and_ended_in_the_name_of_the_token(service: HttpApp) -> None:
    status, made = ask(service, "POST", "/pauses", {"scope": "live-cn", "for": 600, "reason": "ask ann"})
    assert (status, made["scope"], made["by"], made["reason"]) == (201, "live-cn", "everything", "ask ann")
    assert made["until"] is not None
    assert ask(service, "GET", "/pauses") == (200, [made])
    assert ask(service, "DELETE", "/pauses/live-cn") == (204, None)
    status, problem = ask(service, "DELETE", "/pauses/live-cn")
    assert (status, problem["type"]) == (404, "urn:streamstop:problem:not-paused")


def test_a_limit_is_set_listed_and_cleared_in_the_name_of_the_token(service: HttpApp) -> None:
    status, made = ask(service, "PUT", f"/limits/{LANE}", {"limit": 2, "for": 60, "reason": "r"}, token="operator")
    assert (status, made["limit"], made["by"]) == (200, 2, "operator")
    assert ask(service, "GET", "/limits") == (200, [made])
    assert ask(service, "DELETE", f"/limits/{LANE}", token="operator") == (204, None)
    status, problem = ask(service, "DELETE", f"/limits/{LANE}")
    assert (status, problem["type"]) == (404, "urn:streamstop:problem:no-limit")


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/pauses", {"scope": "vendor:nobody"}, "scope"),
        ("POST", "/pauses", {"scope": "Live CN"}, "scope"),
        ("POST", "/pauses", {"scope": "unknown"}, "account"),
        ("POST", "/pauses", {"scope": "live-cn", "for": 0}, "for"),
        ("POST", "/pauses", {"scope": "live-cn", "for": 1e300}, "for"),
        ("POST", "/pauses", {"scope": "live-cn", "reason": "a\nb"}, "reason"),
        ("POST", "/pauses", {"scope": "live-cn", "why": "x"}, "why"),
        ("DELETE", "/pauses/vendor:nobody", None, "scope"),
        ("PUT", f"/limits/{LANE}", {"limit": 0}, "limit"),
        ("PUT", f"/limits/{LANE}", {"limit": 1000}, "limit"),
        ("PUT", "/limits/live-cn/live.Nothing", {"limit": 1}, "operation"),
        ("POST", f"/lanes/{LANE}:drain", {"older_than": -1}, "older_than"),
        ("POST", f"/lanes/{LANE}:drain", {"room": ""}, "room"),
        ("POST", "/lanes/live-cn/live.Nothing:drain", {}, "operation"),
        ("POST", "/lanes/nobody:drain", {}, "account"),
    ],
)
def test_bad_input_names_its_field(
    method: str, path: str, body: Mapping[str, Any] | None, field: str, *, service: HttpApp, queue: RecordingClient
) -> None:
    status, problem = ask(service, method, path, body)
    assert (status, problem["field"]) == (422, field)
    assert queue.pauses() == []
    assert queue.limits() == []


def test_a_limit_above_the_vendors_page_must_be_confirmed(service: HttpApp) -> None:
    above = {"limit": OPERATIONS["live.StopMPUTask"].spec.limit + 1, "above_vendor": True}
    assert ask(service, "PUT", f"/limits/{LANE}", above)[0] == 200


def test_a_drain_counts_first_and_cancels_what_it_is_told_to(service: HttpApp, queue: RecordingClient) -> None:
    jobs = queue.enqueue_many([STOP, STOP])
    status, counted = ask(service, "POST", f"/lanes/{LANE}:drain", {})
    assert (status, counted["dry_run"], counted["jobs"], len(counted["examples"])) == (200, True, 2, 2)
    assert jobs[0].peek() is None
    assert ask(service, "POST", f"/lanes/{LANE}:drain", {"dry_run": False, "older_than": 3600})[1]["jobs"] == 0
    assert ask(service, "POST", "/lanes/live-cn:drain", {"dry_run": False})[1]["jobs"] == 2
    assert {job.outcome().message for job in jobs} == {"drained by everything"}


def test_a_lane_is_shown_where_a_worker_has_it_or_something_waits(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP, INGEST])
    assert [lane["waiting"] for lane in ask(service, "GET", "/lanes")[1]] == [1, 1]
    assert ask(service, "GET", f"/lanes/{LANE}")[1]["waiting"] == 1
    assert ask(service, "GET", "/lanes/live-cn/live.StopLivePullToPush")[1]["waiting"] == 0
    for nothing in ("live-cn/trtc.StopStreamIngest", "nobody/live.StopMPUTask", "live-cn/live.No", "A%20B/live.X"):
        status, problem = ask(service, "GET", f"/lanes/{nothing}")
        assert (status, problem["type"]) == (404, "urn:streamstop:problem:unknown-lane")


def test_a_token_for_certain_accounts_sees_and_touches_those_alone(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP, INGEST])
    queue.pause("live-cn")
    queue.pause("all")
    queue.set_limit("live-cn", "live.StopMPUTask", 1)
    seen = {
        path: ask(service, "GET", path, token="elsewhere")[1] for path in ("/lanes", "/pauses", "/limits", "/holds")
    }
    assert [lane["account"] for lane in seen["/lanes"]] == ["another-account"]
    assert [pause["scope"] for pause in seen["/pauses"]] == ["all"]
    assert (seen["/limits"], seen["/holds"]) == ([], [])
    assert ask(service, "GET", "/accounts", token="elsewhere")[1] == [
        {"account": "another-account", "vendor": "tencent"}
    ]
    assert [worker["accounts"] for worker in ask(service, "GET", "/workers", token="elsewhere")[1]] == [
        ["another-account"]
    ]
    assert ask(service, "POST", "/pauses", {"scope": "another-account"}, token="elsewhere")[0] == 201
    for method, path, body in (
        ("POST", "/pauses", {"scope": "live-cn"}),
        ("POST", "/pauses", {"scope": "live-cn.live.StopMPUTask"}),
        ("POST", "/pauses", {"scope": "all"}),
        ("POST", "/pauses", {"scope": "vendor:tencent"}),
        ("DELETE", "/pauses/all", None),
        ("PUT", f"/limits/{LANE}", {"limit": 1}),
        ("DELETE", f"/limits/{LANE}", None),
        ("POST", f"/lanes/{LANE}:drain", {"dry_run": False}),
        ("POST", "/lanes/live-cn:drain", {}),
        ("GET", f"/lanes/{LANE}", None),
    ):
        status, problem = ask(service, method, path, body, token="elsewhere")
        assert (status, problem["type"]) == (403, "urn:streamstop:problem:forbidden"), path
    assert {pause.scope for pause in queue.pauses()} == {"live-cn", "all", "another-account"}


def test_operations_are_described_with_their_parameters_and_limits(service: HttpApp) -> None:
    status, operations = ask(service, "GET", "/operations", token="reader")
    assert (status, [each["id"] for each in operations]) == (200, list(OPERATIONS))
    stop = next(each for each in operations if each["id"] == "live.StopMPUTask")
    assert (stop["kind"], stop["vendor"], stop["limit"]) == ("stop", "aliyun", StopMPUTask.spec.limit)
    assert [(each["name"], each["required"]) for each in stop["parameters"]] == [("AppId", True), ("TaskId", True)]

"""Jobs over HTTP, on a real Redis: enqueue one or many, whole or not at all."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from streamstop import Client, Lane
from streamstop._core.constants import REQUEST
from streamstop.operations import StopMPUTask
from streamstop_server.api import _stops, jobs
from tests.support.client_connections import connections_of
from tests.support.dead_letters import LANE
from tests.support.http_app import HttpApp
from tests.support.http_thread import served

ACCOUNT = LANE.account
URL = "/v1/jobs"


def stop(task: str = "t", **more: Any) -> dict[str, Any]:
    params = {"AppId": "a", "TaskId": task}
    return {"operation": LANE.operation, "account": ACCOUNT, "params": params, **more}


def waiting(redis: Redis) -> int:
    return int(redis.llen(LANE.queue))


def test_one_command_becomes_a_job_with_a_location(service: HttpApp, real_redis: Redis) -> None:
    answer = service.client.post(URL, json=stop(priority=3, expires_in=60))
    assert answer.status_code == 202
    (job,) = answer.json()["jobs"]
    assert (job["account"], job["operation"]) == (ACCOUNT, LANE.operation)
    assert Lane.of_job(job["id"]) == LANE
    assert job["links"]["self"] == answer.headers["Location"] == f"{URL}/{job['id']}"
    assert 1 <= int(answer.headers["Retry-After"]) <= 600
    assert real_redis.llen(LANE.waiting[1]) == 1
    shown = service.client.get(answer.headers["Location"]).json()
    assert (shown["state"], shown["place"], shown["params"]) == ("waiting", 1, {"AppId": "a", "TaskId": "t"})
    assert shown["expires_at"] > shown["enqueued_at"]


def test_ten_thousand_commands_are_accepted_whole_and_in_order(service: HttpApp, real_redis: Redis) -> None:
    answer = service.client.post(URL, json=[stop(f"t{n}") for n in range(10_000)])
    assert answer.status_code == 202
    jobs = answer.json()["jobs"]
    assert len({job["id"] for job in jobs}) == 10_000 == waiting(real_redis)
    assert "Location" not in answer.headers
    assert service.client.get(f"{URL}/{jobs[-1]['id']}").json()["place"] == 10_000


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"operation": "live.StopMPUTasc"}, "operation"),
        ({"operation": 7}, "operation"),
        ({"account": "No"}, "account"),
        ({"params": {"AppId": "a"}}, "params.TaskId"),
        ({"params": {"AppId": "a", "TaskId": "t", "X": 1}}, "params.X"),
        ({"params": []}, "params"),
        ({"priority": 10}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 1e12}, "expires_in"),
        ({"expires_in": "60"}, "expires_in"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_enqueued(
    service: HttpApp, real_redis: Redis, wrong: dict[str, Any], field: str
) -> None:
    alone = service.client.post(URL, json={**stop(), **wrong})
    assert (alone.status_code, alone.json()["field"]) == (422, field)
    among = service.client.post(URL, json=[stop(), stop(), stop(), {**stop(), **wrong}])
    assert (among.status_code, among.json()["field"]) == (422, f"[3].{field}")
    assert among.headers["Content-Type"] == "application/problem+json"
    assert real_redis.dbsize() == 0


@pytest.mark.parametrize("body", [[], [stop()] * 10_001, 7, "x", None, [[stop()]], {}])
def test_a_body_of_another_form_is_refused(service: HttpApp, real_redis: Redis, body: object) -> None:
    answer = service.client.post(URL, json=body)
    assert answer.status_code == 422, answer.text
    assert real_redis.dbsize() == 0


def test_an_account_that_no_worker_has_is_refused_with_its_place(service: HttpApp, client: Client) -> None:
    connections_of(client).known_accounts.publish({ACCOUNT: "aliyun"})
    answer = service.client.post(URL, json=[stop(), stop(account="unheard-of")])
    assert (answer.status_code, answer.json()["field"]) == (422, "[1].account")
    assert answer.json()["type"] == "urn:streamstop:problem:unknown-account"


def test_unique_commands_return_the_open_job(service: HttpApp, real_redis: Redis) -> None:
    first, second = (service.client.post(f"{URL}?unique=true", json=stop()).json() for _ in range(2))
    assert first == second
    assert waiting(real_redis) == 1
    many = service.client.post(f"{URL}?unique=true", json=[stop(f"t{n}") for n in range(501)])
    assert (many.status_code, many.json()["field"]) == (422, "unique")


def test_a_token_enqueues_and_sees_only_for_its_accounts(service: HttpApp, client: Client, real_redis: Redis) -> None:
    service.client.headers.update(service.bearer("elsewhere"))
    answer = service.client.post(URL, json=[stop(account="another-account"), stop()])
    assert (answer.status_code, answer.json()["field"]) == (403, "[1].account")
    assert real_redis.dbsize() == 0
    job = client.enqueue(StopMPUTask(app_id="a", task_id="t"), account=ACCOUNT)
    other = client.enqueue(StopMPUTask(app_id="a", task_id="t"), account="another-account")
    for method in ("GET", "DELETE"):
        assert service.client.request(method, f"{URL}/{job.id}").status_code == 403
    assert service.client.get(f"{URL}/{other.id}").status_code == 200
    found = service.client.get(URL, params={"task": "t"}).json()
    assert [each["job_id"] for each in found["found"]] == [other.id]
    assert service.client.get(URL, params={"task": "t", "account": ACCOUNT}).status_code == 403


# ---- idempotency keys


@pytest.mark.parametrize("count", [1, 10_000])
def test_the_same_request_with_the_same_key_returns_the_same_jobs(
    service: HttpApp, real_redis: Redis, count: int
) -> None:
    body = [stop(f"t{n}") for n in range(count)]
    first, second = (service.client.post(URL, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    quoted = service.client.post(URL, json=body, headers={"Idempotency-Key": '"k"'})
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json() == quoted.json()
    assert waiting(real_redis) == count


def test_the_order_of_keys_in_the_body_does_not_matter_and_a_mistake_uses_no_key(
    service: HttpApp, real_redis: Redis
) -> None:
    headers = {"Idempotency-Key": "k"}
    assert service.client.post(URL, json={**stop(), "account": "No"}, headers=headers).status_code == 422
    first = service.client.post(URL, json=stop(), headers=headers).json()
    turned = {**dict(reversed(stop().items())), "params": {"TaskId": "t", "AppId": "a"}}
    assert service.client.post(URL, json=turned, headers=headers).json() == first
    assert waiting(real_redis) == 1


def test_another_body_with_the_same_key_is_refused(service: HttpApp, real_redis: Redis) -> None:
    headers = {"Idempotency-Key": "k"}
    service.client.post(URL, json=stop(), headers=headers)
    for body, query in ((stop("other"), ""), (stop(priority=1), ""), (stop(), "?unique=true")):
        answer = service.client.post(URL + query, json=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:streamstop:problem:idempotency-key-reused")
    assert waiting(real_redis) == 1


def test_a_request_whose_twin_is_under_way_is_told_to_come_again(service: HttpApp, real_redis: Redis) -> None:
    body, headers = [stop(f"t{n}") for n in range(501)], {"Idempotency-Key": "k"}
    service.client.post(URL, json=body, headers=headers)
    (key,) = real_redis.scan_iter(f"{REQUEST}*")
    real_redis.hset(key, "state", "pending")  # as before its last step
    answer = service.client.post(URL, json=body, headers=headers)
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")
    assert answer.json()["type"] == "urn:streamstop:problem:request-under-way"
    assert waiting(real_redis) == 501


def test_the_same_key_of_two_tokens_is_two_keys(service: HttpApp, real_redis: Redis) -> None:
    jobs = {
        service.client.post(URL, json=stop(), headers={"Idempotency-Key": "k", **service.bearer(token)}).json()["jobs"][
            0
        ]["id"]
        for token in ("everything", "enqueuer")
    }
    assert len(jobs) == 2 == waiting(real_redis)


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", '"a', 'a"b"', '"a b"', '""', '"a\\b"', "é", '"a";q=1'])
def test_a_key_of_another_form_is_refused(service: HttpApp, real_redis: Redis, key: str) -> None:
    answer = service.client.post(URL, json=stop(), headers={b"Idempotency-Key": key.encode()})
    if key == 'a"b"':
        assert answer.status_code == 202, "a quote within a bare key is a character like others"
        return
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")
    assert real_redis.dbsize() == 0


def test_twenty_requests_at_once_with_the_same_key_are_one_job(
    redis_url: str, real_redis: Redis, tmp_path: Path
) -> None:
    with served(redis_url, tmp_path) as service:

        def send(_: int) -> httpx.Response:
            with service.http() as http:
                return http.post(URL, json=stop(), headers={"Idempotency-Key": "k"})

        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(send, range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["jobs"][0]["id"] for answer in answers}) == 1
    assert waiting(real_redis) == 1


def test_thousands_of_commands_are_checked_and_answered_beside_the_event_loop(
    service: HttpApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop: list[tuple[str, bool]] = []

    def noting(module: Any, name: str) -> None:
        call = getattr(module, name)

        def noted(*arguments: object) -> object:
            in_loop.append((name, asyncio._get_running_loop() is not None))
            return call(*arguments)

        monkeypatch.setattr(module, name, noted)

    noting(_stops, "_commands")
    noting(jobs, "_accepted")
    many = [stop(f"t-{number}") for number in range(1000)]
    assert service.client.post(URL, json=many).status_code == 202
    assert service.client.put("/v1/rooms/r/tasks", json=many).status_code == 201
    assert service.client.post("/v1/rooms/r/shutdown", json={"commands": many}).status_code == 202
    assert in_loop == [("_commands", False), ("_accepted", False), ("_commands", False), ("_commands", False)]
    wrong = service.client.post(URL, json=[*many, {**stop(), "colour": "red"}, {}])
    assert (wrong.status_code, wrong.json()["field"]) == (422, "[1000].colour")
    wrong = service.client.post("/v1/rooms/r/shutdown", json={"commands": [*many, {}]})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "commands[1000].operation")
    no_commands: list[object] = ["x", {}, [stop()] * 10_001]
    for commands in no_commands:
        wrong = service.client.post("/v1/rooms/r/shutdown", json={"commands": commands})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "commands")

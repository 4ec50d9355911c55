"""Jobs over HTTP with the real service, a worker and the simulated vendors, and a service that is killed."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamstop import Lane
from streamstop._core.lane import result_key
from streamstop_simulator import FaultKind
from tests.support.http_service import HttpService, http_service
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, World, world

OPERATION = "live.StopMPUTask"
LIMITS = {OPERATION: 50.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("jobs"), limits=LIMITS) as running:
        running.simulator.settings(auto_start=True)
        running.await_account(ALIYUN)
        yield running


@pytest.fixture
def service(made: World, tmp_path: Path) -> Iterator[HttpService]:
    with http_service(made.server.url, tmp_path) as running:
        yield running


def stop(task: str) -> dict[str, Any]:
    return {"operation": OPERATION, "account": ALIYUN, "params": {"AppId": "a", "TaskId": task}}


def calls(made: World, name: str) -> Counter[str]:
    found = (str(call.params["TaskId"]) for call in made.simulator.calls(ALIYUN, OPERATION))
    return Counter(task for task in found if task.startswith(name))


def test_a_command_is_enqueued_and_its_end_is_waited_for(made: World, service: HttpService) -> None:
    with service.http() as http:
        accepted = http.post("/v1/jobs", json=stop("one"))
        assert accepted.status_code == 202
        shown = http.get(accepted.headers["Location"], params={"wait": 60}).json()
    assert (shown["state"], shown["outcome"]["result"], shown["calls"]) == ("ended", "stopped", 1)
    assert shown["outcome"]["request_id"]
    assert calls(made, "one") == {"one": 1}


def test_a_refused_command_is_a_dead_letter_that_is_requeued_over_http(made: World, service: HttpService) -> None:
    made.simulator.add_fault(FaultKind.CODE, account=ALIYUN, code="Forbidden.RAM", times=1)
    with service.http() as http:
        job = http.post("/v1/jobs", json=stop("refused")).json()["jobs"][0]["id"]
        shown = http.get(f"/v1/jobs/{job}", params={"wait": 60}).json()
        assert (shown["outcome"]["result"], shown["dead_letter"]) == ("refused", True)
        (letter,) = http.get("/v1/dead-letters", params={"code": "Forbidden.RAM"}).json()["dead_letters"]
        assert letter["id"] == job
        chosen = {"account": ALIYUN, "code": "Forbidden.RAM"}
        assert http.post("/v1/dead-letters:requeue", json=chosen).json()["letters"] == 1
        done = http.post("/v1/dead-letters:requeue", json={**chosen, "dry_run": False}).json()
        assert (done["letters"], done["codes"]) == (1, {"Forbidden.RAM": 1})

        def ends() -> list[str | None]:
            found = http.get("/v1/jobs", params={"task": "refused", "account": ALIYUN}).json()["found"]
            return [each["result"] for each in found]

        eventually(lambda: "stopped" in ends(), "the requeued job is stopped")
        events = [event for event in made.client.events() if event.kind == "requeued"]
    assert [(event.by, event.account) for event in events] == [("everything", ALIYUN)]
    assert calls(made, "refused") == {"refused": 2}, "the refused call, and one more"


@pytest.mark.long
def test_a_client_whose_service_is_killed_sends_its_batch_again_and_each_task_is_stopped_once(
    made: World, tmp_path: Path
) -> None:
    """The service dies at some moment of the request; the same request at another process enqueues what was not."""
    for number, delay_s in enumerate((0.02, 0.05, 0.1, 0.2)):
        body, headers = [stop(f"killed{number}-{n}") for n in range(600)], {"Idempotency-Key": f"batch-{number}"}
        folder = tmp_path / str(number)
        folder.mkdir()
        with http_service(made.server.url, folder, with_tokens=False) as dying:
            killing = threading.Timer(delay_s, dying.process.kill)
            with dying.http(None) as http:
                killing.start()
                with suppress(httpx.TransportError):
                    http.post("/v1/jobs", json=body, headers=headers)
                killing.join()
        with http_service(made.server.url, folder, with_tokens=False) as other, other.http(None) as http:

            def accepted(http: httpx.Client = http, body: list[Any] = body, headers: dict[str, str] = headers) -> Any:
                answer = http.post("/v1/jobs", json=body, headers=headers)
                assert answer.status_code in {202, 409}, answer.text
                return answer.json().get("jobs")  # 409: it counts as under way for a minute

            jobs = eventually(accepted, "the batch is accepted", 150, interval=1.0)
            assert http.post("/v1/jobs", json=body, headers=headers).json()["jobs"] == jobs
        assert len(jobs) == len({job["id"] for job in jobs}) == 600
        outcomes = list(made.client.outcomes([made.client.job(job["id"]) for job in jobs], timeout=120))
        assert Counter(outcome.result.value for outcome in outcomes) == {"stopped": 600}
        assert set(calls(made, f"killed{number}-").values()) == {1}
        assert {Lane.of_job(job["id"]) for job in jobs} == {Lane(ALIYUN, OPERATION)}


@pytest.mark.long
def test_a_wait_is_answered_when_the_service_ends(made: World, tmp_path: Path) -> None:
    with http_service(made.server.url, tmp_path) as service, service.http() as http:
        made.client.pause(ALIYUN)
        try:
            job = http.post("/v1/jobs", json=stop("waits")).json()["jobs"][0]
            with ThreadPoolExecutor(1) as thread:
                started = time.monotonic()
                waiting = thread.submit(http.get, job["links"]["self"], params={"wait": 60})
                eventually(lambda: made.redis.pubsub_channels(result_key(job["id"])), "the service waits for the job")
                service.process.terminate()
                answer = waiting.result()
        finally:
            made.client.resume(ALIYUN)
    assert (answer.status_code, answer.json()["state"]) == (200, "waiting")
    assert time.monotonic() - started < 50, "before the end of the wait"
    made.client.job(job["id"]).outcome(TIMEOUT_S)  # else the lane would be left while it is called

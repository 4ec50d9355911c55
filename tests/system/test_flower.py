"""Flower, as a process of its own, asked over its HTTP API."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from streamstop import Result
from streamstop.operations import StopMPUTask, StopStreamIngest
from streamstop_simulator.demo.embedded_redis import free_port
from tests.support.celery_tools import answer, plain_app
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long


class Flower:
    """A running Flower's API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: Any) -> Any:
        """Return what it tells; None while it does not answer, or knows nothing of it."""
        try:
            with urlopen(f"{self._url}{path}?{urlencode(query)}", timeout=TIMEOUT_S) as reply:
                return json.loads(reply.read())
        except (OSError, HTTPException):
            return None

    def post(self, path: str, **fields: Any) -> tuple[int, str]:
        """Return the status and the text of an answer."""
        try:
            with urlopen(Request(self._url + path, urlencode(fields).encode()), timeout=TIMEOUT_S) as reply:
                return reply.status, reply.read().decode()
        except HTTPError as error:
            with error:
                return error.code, f"{error.reason} {error.read().decode()}"

    def task(self, job_id: str, state: str) -> dict[str, Any]:
        """Return what it shows of a job as soon as that has reached a state."""

        def look() -> Any:
            flower_api = self.get(f"/api/task/info/{job_id}")
            return flower_api if flower_api and flower_api["state"] == state else None

        found: dict[str, Any] = eventually(look, f"{job_id} in state {state}")
        return found


@contextmanager
def flower(flower_world: World, *arguments: str) -> Iterator[Flower]:
    """Run Flower on loopback until the block ends."""
    port = free_port()
    own = {"STREAMSTOP_REDIS_URL": flower_world.server.url, "FLOWER_UNAUTHENTICATED_API": "true"}
    with (flower_world.folder / "flower.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *arguments, "flower", "--address=127.0.0.1", f"--port={port}"],
            env={**os.environ, **own},
            cwd=flower_world.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        running = Flower(port)
        eventually(lambda: (running.get("/api/workers", refresh=1) or {}).get("w1@test"), "the worker in Flower")
        yield running
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def flower_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), workers=0) as flower_world:
        flower_world.simulator.settings(auto_start=True)
        flower_world.start_worker()  # Flower has its events enabled
        flower_world.await_account(ALIYUN)
        yield flower_world


@pytest.fixture(scope="module", params=["with streamstop's app", "with Redis' address"])
def flower_api(flower_world: World, request: pytest.FixtureRequest) -> Iterator[Flower]:
    url = flower_world.server.url
    arguments = (
        ["-A", "streamstop_worker"] if "app" in request.param else [f"--broker={url}", f"--result-backend={url}"]
    )
    with flower(flower_world, *arguments) as running:
        eventually(lambda: _is_heard(flower_world, running), "the first events")
        yield running


def _is_heard(flower_world: World, running: Flower) -> bool:
    job = flower_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="is heard"), account=TENCENT)
    job.outcome(TIMEOUT_S)
    return bool(running.get("/api/tasks", limit=1))


def test_flower_shows_the_worker_and_its_pool(flower_world: World, flower_api: Flower) -> None:
    def look() -> Any:
        worker = (flower_api.get("/api/workers", refresh=1) or {}).get("w1@test", {})
        return worker if {"stats", "registered", "active_queues"} <= worker.keys() else None

    worker = eventually(look, "the worker has answered each of Flower's questions within the second that Flower waits")
    assert worker["stats"]["pool"]["implementation"].endswith(":EventLoopPool")
    assert worker["stats"]["pool"]["max-concurrency"] == 256
    assert worker["stats"]["pid"] == flower_world.workers[0].process.pid
    assert "trtc.StopStreamIngest" in worker["registered"]
    assert [queue["name"] for queue in worker["active_queues"]] == ["streamstop"]
    eventually(lambda: flower_api.get("/api/workers", status=1) == {"w1@test": True}, "a heartbeat of the last seconds")


def test_flower_shows_how_jobs_end(flower_world: World, flower_api: Flower) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="good")
    flower_world.simulator.start_tasks(TENCENT, [stop])
    job = flower_world.client.enqueue(stop, account=TENCENT)
    task = flower_api.task(job.id, "SUCCESS")
    assert task["name"] == f"{TENCENT}.trtc.StopStreamIngest"
    assert task["args"] == f"('{TENCENT}',)"
    assert task["kwargs"] == repr(dict(stop.params))
    assert task["worker"] == "w1@test"
    assert task["received"] <= task["started"] <= task["succeeded"]
    assert job.id in flower_api.get("/api/tasks", taskname=f"{TENCENT}.trtc.StopStreamIngest")

    wrong = StopStreamIngest(sdk_app_id=1, task_id="wrong")
    flower_world.simulator.add_fault("code", code="AuthFailure.SignatureFailure", task=wrong.params)
    bad = flower_world.client.enqueue(wrong, account=TENCENT)
    assert "AuthFailure.SignatureFailure" in flower_api.task(bad.id, "FAILURE")["exception"]


def test_flower_reads_results_by_celerys_own_backend(flower_world: World, flower_api: Flower) -> None:
    job = flower_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="its result"), account=TENCENT)
    outcome = job.outcome(TIMEOUT_S)
    shown_result = flower_api.get(f"/api/task/result/{job.id}")
    assert (shown_result["state"], shown_result["result"]["result"]) == ("SUCCESS", outcome.result.value)


def test_flower_revokes_a_job_that_waits(flower_world: World, flower_api: Flower) -> None:
    with flower_world.paused(ALIYUN), plain_app(flower_world) as app:
        job = flower_world.client.enqueue(StopMPUTask(app_id="a", task_id="waits"), account=ALIYUN)
        status, reply = flower_api.post(f"/api/task/revoke/{job.id}")
        assert (status, "Revoked" in reply) == (200, True)
        eventually(lambda: job.id in answer(app, "revoked"), "the worker has heard it")
    assert job.outcome(TIMEOUT_S).result is Result.CANCELLED
    flower_api.task(job.id, "REVOKED")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/worker/pool/grow/w1@test", {"n": 1}),
        ("/api/worker/pool/shrink/w1@test", {"n": 1}),
        ("/api/worker/queue/add-consumer/w1@test", {"queue": "other"}),
    ],
)
def test_flower_hears_that_a_command_does_not_apply(flower_api: Flower, path: str, fields: dict[str, Any]) -> None:
    replies: list[tuple[int, str]] = []

    def is_answered() -> bool:
        replies.append(flower_api.post(path, **fields))
        return "Unknown reason" not in replies[-1][1]

    eventually(is_answered, lambda: f"the worker answers within the second that Flower waits: {replies}")
    status, reply = replies[-1]
    assert (status, "does not apply" in reply) == (403, True), reply

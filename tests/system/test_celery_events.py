"""Celery's events, as a monitor receives them: when calls go out, and when reports are in Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from celery import Celery

from streamstop import Outcome, Result
from streamstop.operations import StopMPUTask, StopStreamIngest
from tests.support.bad_network import BadNetwork
from tests.support.celery_tools import ReceivedEvents, answer, celery, monitor, plain_app
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.still import held_answers
from tests.support.world import ALIYUN, TENCENT, World

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def app(celery_world: World) -> Iterator[Celery]:
    with plain_app(celery_world) as app:
        yield app


@pytest.fixture(scope="module")
def event_log(app: Celery) -> Iterator[ReceivedEvents]:
    with monitor(app) as event_log:
        yield event_log


def test_a_job_is_received_started_and_succeeds(celery_world: World, event_log: ReceivedEvents) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="good")
    job = celery_world.client.enqueue(stop, account=TENCENT)
    succeeded = event_log.await_last(job.id, "task-succeeded")
    assert event_log.types_of(job.id) == ["task-received", "task-started", "task-succeeded"]
    received = event_log.of(job.id)[0]
    assert received["name"] == f"{TENCENT}.trtc.StopStreamIngest"
    assert received["args"] == f"('{TENCENT}',)"
    assert received["kwargs"] == repr(dict(stop.params))
    assert (received["retries"], received["hostname"]) == (0, "w1@test")
    assert received["pid"] == celery_world.workers[0].process.pid
    assert succeeded["result"] == "stopped"
    assert succeeded["runtime"] > 0


def test_a_job_has_ended_in_redis_when_its_event_says_so(celery_world: World, event_log: ReceivedEvents) -> None:
    job = celery_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="first the record"), account=TENCENT)
    event_log.await_last(job.id, "task-succeeded")
    assert isinstance(job.peek(), Outcome)


def test_a_job_starts_when_its_call_goes_out(
    celery_world: World, network: BadNetwork, event_log: ReceivedEvents
) -> None:
    with held_answers(network):
        job = celery_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="slow"), account=TENCENT)
        event_log.await_last(job.id, "task-started")
        assert job.peek() is None, "and not when it ends"
    event_log.await_last(job.id, "task-succeeded")


def test_a_job_that_needs_a_person_fails(celery_world: World, event_log: ReceivedEvents) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="wrong")
    celery_world.simulator.add_fault("code", code="AuthFailure.SignatureFailure", task=stop.params)
    job = celery_world.client.enqueue(stop, account=TENCENT)
    failed = event_log.await_last(job.id, "task-failed")
    assert event_log.types_of(job.id) == ["task-received", "task-started", "task-failed"]
    assert "AuthFailure.SignatureFailure" in failed["exception"]


def test_a_job_that_is_called_again_is_retried_and_received_with_its_retries(
    celery_world: World, event_log: ReceivedEvents
) -> None:
    stop = StopMPUTask(app_id="a", task_id="busy")
    celery_world.simulator.add_fault("500", task=stop.params, times=1)
    job = celery_world.client.enqueue(stop, account=ALIYUN)
    assert job.outcome(TIMEOUT_S).result is Result.STOPPED
    event_log.await_last(job.id, "task-succeeded")
    once = ["task-received", "task-started"]
    assert event_log.types_of(job.id) == [*once, "task-retried", *once, "task-succeeded"]
    assert [event["retries"] for event in event_log.of(job.id) if event["type"] == "task-received"] == [0, 1]
    assert "InternalError" in event_log.await_last(job.id, "task-retried")["exception"]


def test_a_throttled_job_is_rejected_back_into_its_lane_and_received_again(
    celery_world: World, event_log: ReceivedEvents
) -> None:
    stop = StopMPUTask(app_id="a", task_id="throttled")
    celery_world.simulator.add_fault("throttle", task=stop.params, times=1)
    job = celery_world.client.enqueue(stop, account=ALIYUN)
    assert job.outcome(TIMEOUT_S).result is Result.STOPPED
    event_log.await_last(job.id, "task-succeeded")
    once = ["task-received", "task-started"]
    assert event_log.types_of(job.id) == [*once, "task-rejected", *once, "task-succeeded"]


def test_a_revoked_job_is_received_and_revoked_but_never_started(
    celery_world: World, app: Celery, event_log: ReceivedEvents
) -> None:
    with celery_world.paused(ALIYUN):
        job = celery_world.client.enqueue(StopMPUTask(app_id="a", task_id="revoked"), account=ALIYUN)
        answer(app, "revoke", task_id=[job.id])
    assert job.outcome(TIMEOUT_S).result is Result.CANCELLED
    event_log.await_last(job.id, "task-revoked")
    assert event_log.types_of(job.id) == ["task-received", "task-revoked"]


def test_celerys_command_line_dumps_events_and_results(celery_world: World, event_log: ReceivedEvents) -> None:
    environ = {**os.environ, "STREAMSTOP_REDIS_URL": celery_world.server.url}
    log = celery_world.folder / "events"
    command = [sys.executable, "-u", "-m", "celery", "-A", "streamstop_worker", "events", "--dump"]
    with log.open("wb") as output:
        dumping = subprocess.Popen(
            command, env=environ, cwd=celery_world.folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        eventually(lambda: "heartbeat" in log.read_text(), "the worker's heartbeat")
        job = celery_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="dumped"), account=TENCENT)
        eventually(lambda: f"task succeeded: {TENCENT}.trtc.StopStreamIngest({job.id})" in log.read_text(), "its end")
    finally:
        dumping.terminate()
        dumping.wait(TIMEOUT_S)
    event_log.await_last(job.id, "task-succeeded")
    assert "'result': 'stopped'" in celery(celery_world, "result", job.id)

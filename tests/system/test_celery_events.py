"""Celery's events, as a monitor receives them: when calls go out, and when reports are in Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from celery import Celery

from streamstop import Outcome, Result
from streamstop.operations import StopMPUTask, StopStreamIngest
from tests.support.celery_tools import TIMEOUT_S, ReceivedEvents, answer, celery, monitor, plain_app
from tests.support.polling import eventually
from tests.support.world import ALIYUN, TENCENT, World, world


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), workers=0) as made:
        made.simulator.settings(auto_start=True)
        made.start_worker("-E")
        made.await_account(ALIYUN)
        yield made


@pytest.fixture(scope="module")
def app(made: World) -> Iterator[Celery]:
    with plain_app(made) as app:
        yield app


@pytest.fixture(scope="module")
def heard(app: Celery) -> Iterator[ReceivedEvents]:
    with monitor(app) as heard:
        yield heard


def test_a_job_is_received_started_and_succeeds(made: World, heard: ReceivedEvents) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="good")
    job = made.client.enqueue(stop, account=TENCENT)
    succeeded = heard.await_last(job.id, "task-succeeded")
    assert heard.types_of(job.id) == ["task-received", "task-started", "task-succeeded"]
    received = heard.of(job.id)[0]
    assert received["name"] == "trtc.StopStreamIngest"
    assert received["args"] == f"('{TENCENT}',)"
    assert received["kwargs"] == repr(dict(stop.params))
    assert (received["retries"], received["hostname"]) == (0, "w1@test")
    assert received["pid"] == made.workers[0].process.pid
    assert succeeded["result"] == "stopped"
    assert succeeded["runtime"] > 0


def test_a_job_has_ended_in_redis_when_its_event_says_so(made: World, heard: ReceivedEvents) -> None:
    job = made.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="first the record"), account=TENCENT)
    heard.await_last(job.id, "task-succeeded")
    assert isinstance(job.peek(), Outcome)


def test_a_job_starts_when_its_call_goes_out(made: World, heard: ReceivedEvents) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="slow")
    made.simulator.add_fault("latency", task=stop.params, latency=timedelta(seconds=2))
    job = made.client.enqueue(stop, account=TENCENT)
    heard.await_last(job.id, "task-started")
    assert job.peek() is None, "and not when it ends"
    heard.await_last(job.id, "task-succeeded")


def test_a_job_that_needs_a_person_fails(made: World, heard: ReceivedEvents) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="wrong")
    made.simulator.add_fault("code", code="AuthFailure.SignatureFailure", task=stop.params)
    job = made.client.enqueue(stop, account=TENCENT)
    failed = heard.await_last(job.id, "task-failed")
    assert heard.types_of(job.id) == ["task-received", "task-started", "task-failed"]
    assert "AuthFailure.SignatureFailure" in failed["exception"]


def test_a_job_that_is_called_again_is_retried_and_received_with_its_retries(
    made: World, heard: ReceivedEvents
) -> None:
    stop = StopMPUTask(app_id="a", task_id="busy")
    made.simulator.add_fault("500", task=stop.params, times=1)
    job = made.client.enqueue(stop, account=ALIYUN)
    assert job.outcome(TIMEOUT_S).result is Result.STOPPED
    heard.await_last(job.id, "task-succeeded")
    once = ["task-received", "task-started"]
    assert heard.types_of(job.id) == [*once, "task-retried", *once, "task-succeeded"]
    assert [event["retries"] for event in heard.of(job.id) if event["type"] == "task-received"] == [0, 1]
    assert "InternalError" in heard.await_last(job.id, "task-retried")["exception"]


def test_a_throttled_job_is_rejected_back_into_its_lane_and_received_again(made: World, heard: ReceivedEvents) -> None:
    stop = StopMPUTask(app_id="a", task_id="throttled")
    made.simulator.add_fault("throttle", task=stop.params, times=1)
    job = made.client.enqueue(stop, account=ALIYUN)
    assert job.outcome(TIMEOUT_S).result is Result.STOPPED
    heard.await_last(job.id, "task-succeeded")
    once = ["task-received", "task-started"]
    assert heard.types_of(job.id) == [*once, "task-rejected", *once, "task-succeeded"]


def test_a_revoked_job_is_received_and_revoked_but_never_started(
    made: World, app: Celery, heard: ReceivedEvents
) -> None:
    stops = [StopMPUTask(app_id="a", task_id=f"many-{n}") for n in range(60)]  # ten a second
    jobs = [made.client.enqueue(stop, account=ALIYUN) for stop in stops]
    last = jobs[-1]
    answer(app, "revoke", task_id=[last.id])
    assert last.outcome(TIMEOUT_S).result is Result.CANCELLED
    heard.await_last(last.id, "task-revoked")
    assert heard.types_of(last.id) == ["task-received", "task-revoked"]


def test_celerys_command_line_dumps_events_and_results(made: World, heard: ReceivedEvents) -> None:
    environ = {**os.environ, "STREAMSTOP_REDIS_URL": made.server.url}
    log = made.folder / "events"
    command = [sys.executable, "-u", "-m", "celery", "-A", "streamstop_worker", "events", "--dump"]
    with log.open("wb") as output:
        dumping = subprocess.Popen(command, env=environ, cwd=made.folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: "heartbeat" in log.read_text(), "the worker's heartbeat")
        job = made.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="dumped"), account=TENCENT)
        eventually(lambda: f"task succeeded: trtc.StopStreamIngest({job.id})" in log.read_text(), "its end")
    finally:
        dumping.terminate()
        dumping.wait(TIMEOUT_S)
    heard.await_last(job.id, "task-succeeded")
    assert "'result': 'stopped'" in celery(made, "result", job.id)

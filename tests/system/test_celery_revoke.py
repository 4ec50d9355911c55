"""Revokes and shutdowns by Celery's remote control, and commands that do not apply."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from streamstop import Command, Deferral, Outcome, Result
from streamstop._core.lane import Lane
from streamstop.errors import JobFailed
from streamstop.operations import StopEdgeTranscodeJob, StopMPUTask, StopStreamIngest
from tests.support.bad_network import BadNetwork
from tests.support.celery_messages import celery_message
from tests.support.celery_tools import answer, celery, monitor, plain_app
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.still import PATIENT_CALLS, await_nothing_in_flight, held_answers, network_to_vendors
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long

LANE = Lane(TENCENT, "trtc.StopStreamIngest")
EDGE = Lane(ALIYUN, "live.StopEdgeTranscodeJob")
#: Celery's command line waits for the reply of one worker, and no longer than it takes.
REPLY = ("-d", "w1@test", "-t", "60")


@pytest.fixture(scope="module")
def app(celery_world: World) -> Iterator[Celery]:
    with plain_app(celery_world) as app:
        yield app


@pytest.mark.parametrize("terminate", [False, True])
def test_a_revoked_job_ends_cancelled_when_a_worker_takes_it(celery_world: World, app: Celery, terminate: bool) -> None:
    job_id = f"{LANE.name}.revoked-{terminate}"
    with monitor(app) as heard:
        reply = answer(app, "revoke", task_id=[job_id], terminate=terminate)
        assert job_id in reply["ok"]
        assert celery_world.redis.keys(f"celery-task-meta-{job_id}") == [], "the revoke itself ends nothing"
        assert job_id in answer(app, "revoked")
        celery_world.redis.lpush(LANE.queue, celery_message(LANE, job_id))
        outcome = celery_world.client.job(job_id).outcome(TIMEOUT_S)
        assert (outcome.result, outcome.calls) == (Result.CANCELLED, 0)
        event = heard.await_last(job_id, "task-revoked")
        assert (event["terminated"], event["expired"]) == (False, False)
        assert heard.types_of(job_id) == ["task-received", "task-revoked"]
    shown: Any = AsyncResult(job_id, app=app)
    assert shown.state == "REVOKED"
    with pytest.raises(JobFailed, match="cancelled"):
        shown.get(timeout=TIMEOUT_S)
    assert celery_world.workers[0].process.poll() is None


def test_a_job_that_is_revoked_while_it_waits_in_its_lane_is_never_called(celery_world: World, app: Celery) -> None:
    with celery_world.paused(ALIYUN):
        waiting = celery_world.client.enqueue(StopMPUTask(app_id="a", task_id="waiting"), account=ALIYUN)
        output = celery(celery_world, "control", "revoke", waiting.id, *REPLY)
        assert waiting.id in output
        assert waiting.peek() is None
    assert waiting.outcome(TIMEOUT_S).result is Result.CANCELLED
    assert "waiting" not in {call.params["TaskId"] for call in celery_world.simulator.calls()}


@pytest.mark.parametrize("command", ["revoke", "terminate"])
def test_a_call_under_way_is_not_revoked(celery_world: World, network: BadNetwork, app: Celery, command: str) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id=f"under way, {command}")
    how = {"signal": "KILL"} if command == "terminate" else {"terminate": True}
    with held_answers(network):
        job = celery_world.client.enqueue(stop, account=TENCENT)
        eventually(lambda: job.id in {one["id"] for one in answer(app, "active")}, "its call")
        answer(app, command, task_id=[job.id], **how)
    assert job.outcome(TIMEOUT_S).result is Result.STOPPED
    after = celery_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id=f"after {command}"), account=TENCENT)
    assert after.outcome(TIMEOUT_S).result is Result.STOPPED, "the worker lives"


def test_a_job_that_has_ended_stays_as_it_ended_when_it_is_revoked(celery_world: World, app: Celery) -> None:
    job = celery_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="over"), account=TENCENT)
    ended = job.outcome(TIMEOUT_S)
    assert "ok" in answer(app, "revoke", task_id=[job.id])
    assert job.peek() == ended
    assert AsyncResult(job.id, app=app).state == "SUCCESS"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("rate_limit", {"task_name": "live.StopMPUTask", "rate_limit": "1/s"}),
        ("time_limit", {"task_name": "live.StopMPUTask", "soft": 1, "hard": 2}),
        ("pool_grow", {"n": 1}),
        ("pool_shrink", {"n": 1}),
        ("pool_restart", {}),
        ("autoscale", {"max": 9, "min": 1}),
        ("add_consumer", {"queue": "other"}),
        ("cancel_consumer", {"queue": "streamstop"}),
        ("revoke_by_stamped_headers", {"headers": {"a": ["b"]}}),
    ],
)
def test_a_command_that_does_not_apply_says_so(app: Celery, command: str, arguments: dict[str, Any]) -> None:
    assert answer(app, command, **arguments)["error"].startswith(f"streamstop: {command} does not apply: ")
    assert answer(app, "ping") == {"ok": "pong"}
    assert [queue["name"] for queue in answer(app, "active_queues")] == ["streamstop"]


def test_the_command_line_shows_that_a_command_does_not_apply(celery_world: World) -> None:
    output = celery(celery_world, "control", "rate_limit", "live.StopMPUTask", "1/s", *REPLY, code=None)
    assert "streamstop: rate_limit does not apply: " in output
    assert "set it with streamstop limit set ACCOUNT OPERATION CALLS_PER_SECOND" in output


def test_control_shutdown_lets_calls_end_and_gives_the_rest_back_at_once(tmp_path: Path) -> None:
    with (
        world(tmp_path, workers=0, environ=PATIENT_CALLS) as celery_world,
        plain_app(celery_world) as app,
        network_to_vendors(
            celery_world, {EDGE.operation: 40.0}
        ) as network,  # the vendor allows 100: it never throttles
    ):
        celery_world.simulator.settings(auto_start=True)
        running = celery_world.start_worker()
        stops = [StopEdgeTranscodeJob(cluster_id="c", job_id=f"j{n}") for n in range(120)]
        with held_answers(network):
            jobs = celery_world.client.enqueue_many([Command(operation=stop, account=ALIYUN) for stop in stops])
            celery_world.simulator.wait_for_calls(1)
            control: Any = app.control
            control.shutdown()
            running.await_line("Got shutdown from remote")
        assert celery_world.workers[0].process.wait(TIMEOUT_S) == 0
        ended = [job for job in jobs if isinstance(job.peek(), Outcome)]
        assert len(ended) == len(celery_world.simulator.calls()) < len(jobs), (
            "every call has its outcome, and no other job"
        )
        view = celery_world.client.lanes([EDGE])[0]
        assert (view.waiting, view.in_flight) == (len(jobs) - len(ended), 0)
        assert "Traceback" not in celery_world.workers[0].text()


def test_a_job_that_is_revoked_while_it_is_deferred_ends_cancelled_whichever_worker_takes_it(tmp_path: Path) -> None:
    """The vendor answers with faults. A job that is called again and again ends in `gave_up`."""
    with world(tmp_path, workers=0) as celery_world, plain_app(celery_world) as app:
        for _ in range(2):
            celery_world.start_worker("-E")
        stop = StopStreamIngest(sdk_app_id=1, task_id="deferred")
        celery_world.simulator.add_fault("500", task=stop.params, times=100)
        with monitor(app) as heard:
            job = celery_world.client.enqueue(stop, account=TENCENT)

            eventually(job.peek, "a deferral")
            with celery_world.paused(TENCENT):
                await_nothing_in_flight(celery_world.client, TENCENT)
                assert isinstance(job.peek(), Deferral)
                calls = len(celery_world.simulator.calls(TENCENT))
                for name in ("w1@test", "w2@test"):
                    assert job.id in answer(app, "revoke", name, task_id=[job.id])["ok"]
            outcome = job.outcome(2 * TIMEOUT_S)
            assert (outcome.result, outcome.calls) == (Result.CANCELLED, calls)
            heard.await_last(job.id, "task-revoked")
            assert heard.types_of(job.id).count("task-revoked") == 1
        assert len(celery_world.simulator.calls(TENCENT)) == calls
        shown: Any = AsyncResult(job.id, app=app)
        assert shown.state == "REVOKED"


def test_purge_and_call_say_that_they_do_not_apply(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as celery_world:
        job = celery_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="t"), account=TENCENT)
        for arguments in (("purge", "-f"), ("call", "streamstop.execute", "--args", json.dumps([{}]))):
            output = celery(celery_world, *arguments, code=1)
            assert "does not apply" in output.strip().splitlines()[-1]
            assert ("streamstop drain ACCOUNT" in output) is (arguments[0] == "purge")
            assert "Traceback" not in output
        assert celery_world.redis.exists("streamstop") == 0
        assert job.cancel().result is Result.CANCELLED


def test_revokes_outlive_a_worker_that_keeps_them_in_a_file(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as celery_world, plain_app(celery_world) as app:
        celery_world.simulator.settings(auto_start=True)
        job_id = f"{LANE.name}.kept"
        first = celery_world.start_worker("--statedb", str(tmp_path / "revoked"))
        answer(app, "revoke", task_id=[job_id])
        assert first.stop() == 0
        celery_world.redis.lpush(LANE.queue, celery_message(LANE, job_id))
        celery_world.start_worker("--statedb", str(tmp_path / "revoked"))
        assert celery_world.client.job(job_id).outcome(TIMEOUT_S).result is Result.CANCELLED
        assert celery_world.simulator.calls() == []

"""Celery's command line and remote control show what real workers do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from streamstop import Command, Result
from streamstop._core.constants import WAKE
from streamstop.errors import JobFailed
from streamstop.operations import OPERATIONS, StopEdgeTranscodeJob, StopMPUTask, StopStreamIngest
from tests.support.bad_network import BadNetwork
from tests.support.celery_tools import answer, celery, plain_app
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.still import held_answers
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long

#: Celery's command line waits for the reply of one worker, and no longer than it takes.
REPLY = ("-d", "w1@test", "-t", "60")


@pytest.fixture(scope="module")
def app(celery_world: World) -> Iterator[Celery]:
    with plain_app(celery_world) as app:
        yield app


def test_status_and_ping_find_the_worker(celery_world: World) -> None:
    assert "w1@test: OK" in celery(celery_world, "status", *REPLY)
    assert json.loads(celery(celery_world, "inspect", "ping", "--json", *REPLY).splitlines()[-1]) == {
        "w1@test": {"ok": "pong"}
    }


@pytest.mark.parametrize("what", ["active", "reserved", "scheduled", "revoked", "active_queues"])
def test_inspect_answers(celery_world: World, app: Celery, what: str) -> None:
    assert isinstance(answer(app, what), list)


def test_inspect_registered_tells_every_operation(app: Celery) -> None:
    assert set(OPERATIONS) <= set(answer(app, "registered"))


def test_inspect_report_and_conf_tell_what_runs(celery_world: World, app: Celery) -> None:
    assert "celery:5" in answer(app, "report")["ok"]
    conf = answer(app, "conf")
    assert conf["task_default_queue"] == "streamstop"
    assert "w1@test: OK" in celery(celery_world, "inspect", "conf", *REPLY)


def test_inspect_stats_tells_of_the_pool_and_counts_calls_by_lane(celery_world: World, app: Celery) -> None:
    before = answer(app, "stats")
    pool = before["pool"]
    assert pool["implementation"] == "streamstop_worker.celery_parts.pool:EventLoopPool"
    assert pool["max-concurrency"] == 40
    assert pool["processes"] == [celery_world.workers[0].process.pid] == [before["pid"]]
    jobs = celery_world.client.enqueue_many(
        [Command(operation=StopEdgeTranscodeJob(cluster_id="c", job_id=f"j{n}"), account=ALIYUN) for n in range(5)]
    )
    assert len(list(celery_world.client.outcomes(jobs, timeout=TIMEOUT_S))) == 5

    def counted() -> Any:
        stats = answer(app, "stats")
        return stats["total"].get(f"{ALIYUN}.live.StopEdgeTranscodeJob"), stats["pool"]["under-way"]

    eventually(lambda: counted() == (5, 0), lambda: f"every job is counted, and none is under way: {counted()}")


def test_a_job_is_active_while_its_call_is_out_and_not_before(
    celery_world: World, network: BadNetwork, app: Celery
) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="slow")
    with held_answers(network):
        job = celery_world.client.enqueue(stop, account=TENCENT)
        shown = eventually(lambda: [one for one in answer(app, "active") if one["id"] == job.id], "an active job")[0]
        assert answer(app, "stats")["pool"]["under-way"] >= 1
        assert answer(app, "query_task", ids=[job.id])[job.id][0] == "active"
        assert job.id not in {one["id"] for one in answer(app, "reserved")}
    assert (shown["name"], shown["type"]) == (f"{TENCENT}.trtc.StopStreamIngest", "trtc.StopStreamIngest")
    assert (shown["args"], shown["kwargs"]) == ([TENCENT], stop.params)
    assert shown["hostname"] == "w1@test"
    assert shown["worker_pid"] == celery_world.workers[0].process.pid
    assert shown["time_start"] > 0
    assert not shown["acknowledged"]
    assert job.outcome(TIMEOUT_S).result is Result.STOPPED
    eventually(lambda: job.id not in {one["id"] for one in answer(app, "active")}, "its end")


def test_a_job_is_reserved_while_it_waits_for_its_slot(celery_world: World, app: Celery) -> None:
    stops = [Command(operation=StopMPUTask(app_id="a", task_id=f"t{n}"), account=ALIYUN) for n in range(500)]
    jobs = celery_world.client.enqueue_many(stops)
    waiting = eventually(lambda: answer(app, "reserved"), "a job that waits for its slot")
    assert {one["id"] for one in waiting} <= {job.id for job in jobs}
    assert all(one["time_start"] is None and one["worker_pid"] is None for one in waiting)
    celery_world.client.drain(ALIYUN)
    results = {outcome.result for outcome in celery_world.client.outcomes(jobs, timeout=TIMEOUT_S)}
    assert results == {Result.STOPPED, Result.CANCELLED}


def test_async_result_returns_the_outcome_of_a_job_and_raises_for_one_that_needs_a_person(
    celery_world: World, app: Celery
) -> None:
    good = celery_world.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="good"), account=TENCENT)
    assert AsyncResult(good.id, app=app).get(timeout=TIMEOUT_S)["result"] == "stopped"
    wrong = StopStreamIngest(sdk_app_id=1, task_id="wrong")
    celery_world.simulator.add_fault("code", code="AuthFailure.SignatureFailure", task=wrong.params)
    bad = celery_world.client.enqueue(wrong, account=TENCENT)
    with pytest.raises(JobFailed, match="SignatureFailure"):
        AsyncResult(bad.id, app=app).get(timeout=TIMEOUT_S)
    assert AsyncResult(bad.id, app=app).state == "FAILURE"


def test_waiting_for_control_replies_takes_no_workers_wake(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        made.redis.lpush(WAKE, 1)
        assert "No nodes replied" in celery(made, "inspect", "ping", "-t", "2", code=69)
        assert made.redis.lrange(WAKE, 0, -1) == [b"1"]

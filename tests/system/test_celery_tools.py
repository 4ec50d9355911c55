"""Celery's command line and remote control show what real workers do."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from streamstop import Command, Result
from streamstop._core.constants import WAKE
from streamstop.errors import JobFailed
from streamstop.operations import OPERATIONS, StopEdgeTranscodeJob, StopMPUTask, StopStreamIngest
from tests.support.celery_tools import answer, celery, plain_app
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), workers=0) as made:
        made.simulator.settings(auto_start=True)
        made.start_worker("-c", "40")
        made.await_account(ALIYUN)
        yield made


@pytest.fixture(scope="module")
def app(made: World) -> Iterator[Celery]:
    with plain_app(made) as app:
        yield app


def test_status_and_ping_find_the_worker(made: World) -> None:
    assert "w1@test: OK" in celery(made, "status", "-t", "5")
    assert json.loads(celery(made, "inspect", "ping", "--json", "-t", "5").splitlines()[-1]) == {
        "w1@test": {"ok": "pong"}
    }


@pytest.mark.parametrize("what", ["active", "reserved", "scheduled", "revoked", "active_queues"])
def test_inspect_answers(made: World, app: Celery, what: str) -> None:
    assert isinstance(answer(app, what), list)


def test_inspect_registered_tells_every_operation(app: Celery) -> None:
    assert set(OPERATIONS) <= set(answer(app, "registered"))


def test_inspect_report_and_conf_tell_what_runs(made: World, app: Celery) -> None:
    assert "celery:5" in answer(app, "report")["ok"]
    conf = answer(app, "conf")
    assert conf["task_default_queue"] == "streamstop"
    assert "w1@test: OK" in celery(made, "inspect", "conf", "-t", "5")


def test_inspect_stats_tells_of_the_pool_and_counts_calls_by_lane(made: World, app: Celery) -> None:
    before = answer(app, "stats")
    pool = before["pool"]
    assert pool["implementation"] == "streamstop_worker.celery_parts.pool:EventLoopPool"
    assert pool["max-concurrency"] == 40
    assert pool["processes"] == [made.workers[0].process.pid] == [before["pid"]]
    jobs = made.client.enqueue_many(
        [Command(operation=StopEdgeTranscodeJob(cluster_id="c", job_id=f"j{n}"), account=ALIYUN) for n in range(5)]
    )
    assert len(list(made.client.outcomes(jobs, timeout=TIMEOUT_S))) == 5

    def all_counted() -> Any:
        stats = answer(app, "stats")
        return stats["total"].get(f"{ALIYUN}.live.StopEdgeTranscodeJob") == 5 and stats

    assert eventually(all_counted, "every job counted")["pool"]["under-way"] == 0


def test_a_job_is_active_while_its_call_is_out_and_not_before(made: World, app: Celery) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="slow")
    made.simulator.add_fault("latency", task=stop.params, latency=timedelta(seconds=3))
    job = made.client.enqueue(stop, account=TENCENT)
    shown = eventually(lambda: [one for one in answer(app, "active") if one["id"] == job.id], "an active job")[0]
    assert (shown["name"], shown["type"]) == (f"{TENCENT}.trtc.StopStreamIngest", "trtc.StopStreamIngest")
    assert (shown["args"], shown["kwargs"]) == ([TENCENT], stop.params)
    assert shown["hostname"] == "w1@test"
    assert shown["worker_pid"] == made.workers[0].process.pid
    assert shown["time_start"] > 0
    assert not shown["acknowledged"]
    assert answer(app, "stats")["pool"]["under-way"] >= 1
    assert answer(app, "query_task", ids=[job.id])[job.id][0] == "active"
    assert job.id not in {one["id"] for one in answer(app, "reserved")}
    assert job.outcome(TIMEOUT_S).result is Result.STOPPED
    eventually(lambda: job.id not in {one["id"] for one in answer(app, "active")}, "its end")


def test_a_job_is_reserved_while_it_waits_for_its_slot(made: World, app: Celery) -> None:
    stops = [Command(operation=StopMPUTask(app_id="a", task_id=f"t{n}"), account=ALIYUN) for n in range(100)]
    jobs = made.client.enqueue_many(stops)
    waiting = eventually(lambda: answer(app, "reserved"), "a job that waits for its slot")
    assert {one["id"] for one in waiting} <= {job.id for job in jobs}
    assert all(one["time_start"] is None and one["worker_pid"] is None for one in waiting)
    for job in jobs:
        app.control.revoke(job.id)
    results = {outcome.result for outcome in made.client.outcomes(jobs, timeout=TIMEOUT_S)}
    assert results == {Result.STOPPED, Result.CANCELLED}


def test_async_result_returns_the_outcome_of_a_job_and_raises_for_one_that_needs_a_person(
    made: World, app: Celery
) -> None:
    good = made.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="good"), account=TENCENT)
    assert AsyncResult(good.id, app=app).get(timeout=TIMEOUT_S)["result"] == "stopped"
    wrong = StopStreamIngest(sdk_app_id=1, task_id="wrong")
    made.simulator.add_fault("code", code="AuthFailure.SignatureFailure", task=wrong.params)
    bad = made.client.enqueue(wrong, account=TENCENT)
    with pytest.raises(JobFailed, match="SignatureFailure"):
        AsyncResult(bad.id, app=app).get(timeout=TIMEOUT_S)
    assert AsyncResult(bad.id, app=app).state == "FAILURE"


def test_waiting_for_control_replies_takes_no_workers_wake(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        made.redis.lpush(WAKE, 1)
        assert "No nodes replied" in celery(made, "inspect", "ping", "-t", "2", code=69)
        assert made.redis.lrange(WAKE, 0, -1) == [b"1"]

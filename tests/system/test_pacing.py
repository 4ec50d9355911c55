"""Pace: no account exceeds its limit, and none waits for another. The simulator records the order and counts."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from streamstop import Command, Result
from streamstop.operations import StopLivePullToPush, StopMPUTask, StopStreamIngest
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.paced


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world with two workers, neither of which can hold as many calls as the lanes allow."""
    with world(tmp_path_factory.mktemp("pacing"), workers=0) as made:
        for _ in range(2):
            made.start_worker("--concurrency", "3")
        yield made


@pytest.fixture(autouse=True)
def _reset(two_workers: World) -> None:
    two_workers.simulator.reset()
    two_workers.simulator.settings(auto_start=True)


def test_two_workers_over_one_account_never_exceed_its_limit(two_workers: World) -> None:
    stops = [StopMPUTask(app_id="pace", task_id=f"t{n}") for n in range(60)]
    ingests = [StopStreamIngest(sdk_app_id=1, task_id=f"t{n}") for n in range(100)]
    two_workers.simulator.settings(latency_ms=150)
    jobs = two_workers.client.enqueue_many(
        [Command(operation=stop, account=ALIYUN) for stop in stops]
        + [Command(operation=ingest, account=TENCENT) for ingest in ingests]
    )
    outcomes = list(two_workers.client.outcomes(jobs, timeout=90))
    assert {outcome.result for outcome in outcomes} == {Result.STOPPED}
    assert len(outcomes) == len(jobs)
    summary = two_workers.simulator.summary()
    assert summary.over_limit == 0
    assert {key: lane.calls for key, lane in summary.lanes.items()} == {
        (ALIYUN, "live.StopMPUTask"): 60,
        (TENCENT, "trtc.StopStreamIngest"): 100,
    }
    shares = [sum('"stopped"' in line for line in running.text().splitlines()) for running in two_workers.workers]
    assert min(shares) > 0, "both workers took part"


def test_a_lane_with_many_waiting_does_not_delay_another_lanes_job(two_workers: World) -> None:
    backlog = [
        Command(operation=StopLivePullToPush(region="cn-shanghai", task_id=f"a{n}"), account=ALIYUN) for n in range(300)
    ]
    jobs = two_workers.client.enqueue_many(backlog)
    two_workers.simulator.wait_for_calls(3, account=ALIYUN)
    for n in range(5):
        stop = StopLivePullToPush(region="cn-shanghai", task_id=f"b{n}")
        before = len(two_workers.simulator.calls(ALIYUN))
        assert two_workers.client.enqueue(stop, account=OTHER_ALIYUN).outcome(TIMEOUT_S).result is Result.STOPPED
        during = len(two_workers.simulator.calls(ALIYUN)) - before
        assert during <= 10, "the other account was served within what is a second of this one's pace"
    assert sum(job.peek() is None for job in jobs) > 200, "the backlog was there all the time"
    assert two_workers.simulator.summary().over_limit == 0


def test_a_throttled_lane_rests_for_the_vendors_hint_and_returns(two_workers: World) -> None:
    two_workers.simulator.add_fault(
        "throttle", operation="live.StopMPUTask", account=OTHER_ALIYUN, retry_after=timedelta(seconds=2)
    )
    stops = [Command(operation=StopMPUTask(app_id="a", task_id=f"h{n}"), account=OTHER_ALIYUN) for n in range(8)]
    jobs = two_workers.client.enqueue_many(stops[:1])
    # What a worker has taken already may still call; what comes from now on must wait.
    eventually(lambda: any("throttled: the lane rests" in one.text() for one in two_workers.workers), "it rests")
    jobs += two_workers.client.enqueue_many(stops[1:])
    outcomes = list(two_workers.client.outcomes(jobs, timeout=60))
    assert {outcome.result for outcome in outcomes} == {Result.STOPPED}
    assert sorted(outcome.calls for outcome in outcomes) == [1] * 7 + [2]
    assert {outcome.attempts for outcome in outcomes} == {1}
    calls = two_workers.simulator.calls(OTHER_ALIYUN, "live.StopMPUTask")
    throttled_at = next(call.arrived_monotonic for call in calls if call.answer != "ok")
    after = [call.arrived_monotonic - throttled_at for call in calls if call.arrived_monotonic > throttled_at]
    assert len(after) == len(jobs)
    assert min(after) >= 1.9


@pytest.mark.long
def test_a_failing_lane_rests_and_then_sends_one_probe(tmp_path: Path) -> None:
    with world(tmp_path, workers=1) as made:
        made.simulator.settings(auto_start=True)
        made.simulator.add_fault("500", account=ALIYUN, times=6)
        jobs = made.client.enqueue_many(
            [Command(operation=StopMPUTask(app_id="a", task_id=f"f{n}"), account=ALIYUN) for n in range(20)]
        )
        outcomes = list(made.client.outcomes(jobs, timeout=90))
        assert {outcome.result for outcome in outcomes} == {Result.STOPPED}
        assert len(outcomes) == len(jobs)
        made.workers[0].await_line("the lane is failing and rests")
        calls = made.simulator.calls(ALIYUN)
        assert [call.answer for call in calls].count("500") + [call.answer for call in calls].count(
            "InternalError"
        ) == 6
        assert made.simulator.summary().over_limit == 0

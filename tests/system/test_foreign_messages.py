"""Messages of producers that are not ours: readable ones are served, and others hold up no lane."""

import base64
from pathlib import Path
from typing import Any

import pytest

from streamstop import (
    Command,
    Deferral,
    Result,
)
from streamstop._core.lane import Lane
from streamstop.operations import StopMPUTask, StopStreamIngest
from tests.support.foreign_messages import foreign_message
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, TENCENT, world


def test_a_producer_in_another_language_is_served_through_the_lane_queue(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        lane = Lane(TENCENT, "trtc.StopStreamIngest")
        command = {"operation": lane.operation, "account": TENCENT, "params": {"SdkAppId": 1, "TaskId": "from go"}}
        made.redis.lpush(lane.queue, foreign_message(command, job_id="go-1", queue=lane.queue))
        assert made.client.job("go-1").outcome(TIMEOUT_S).result is Result.STOPPED


def test_invalid_messages_are_refused_or_set_aside_and_the_lane_goes_on(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        lane = Lane(TENCENT, "trtc.StopStreamIngest")
        good = {"operation": lane.operation, "account": TENCENT, "params": {"SdkAppId": 1, "TaskId": "t"}}
        refused = {
            "no-params": {"operation": lane.operation, "account": TENCENT},
            "no-object": ["stop", "it"],
            "other-lane": good | {"operation": "trtc.StopWebRecord", "params": {"TaskId": "t"}},
            "no-version": good | {"v": "one"},
        }
        unbeginnable: dict[str, dict[str, Any]] = {
            "no-json": {"body": base64.b64encode(b"{").decode()},
            "no-list": {"body": base64.b64encode(b"7").decode()},
            "no-arguments": {"body": base64.b64encode(b"[5, {}, {}]").decode()},
            "pickled": {"content-type": "application/x-python-serialize"},
            "no-base64": {"body": "%%%"},
            "no-properties": {"properties": None},
            "no-encoding": {"properties": {"delivery_info": {"routing_key": lane.queue}}},
        }
        unreadable = [
            "not JSON at all",
            "[]",
            foreign_message(good, job_id="another-task", task="celery.backend_cleanup"),
        ]
        for job_id, command in refused.items():
            made.redis.lpush(lane.queue, foreign_message(command, job_id=job_id, queue=lane.queue))
        for text in unreadable:
            made.redis.lpush(lane.queue, text)
        for job_id, spoilt in unbeginnable.items():
            made.redis.lpush(lane.queue, foreign_message(good, job_id=job_id, queue=lane.queue, **spoilt))
        last = made.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="after all these"), account=TENCENT)
        outcomes = {job_id: made.client.job(job_id).outcome(TIMEOUT_S) for job_id in refused}
        assert {outcome.result for outcome in outcomes.values()} == {Result.REFUSED}
        assert "SdkAppId" in (outcomes["no-params"].message or "")
        assert "version 1" in (outcomes["no-version"].message or "")
        assert last.outcome(TIMEOUT_S).result is Result.STOPPED
        assert len(made.simulator.calls()) == 1
        for job_id in unbeginnable:
            outcome = made.client.job(job_id).outcome(TIMEOUT_S)
            assert (outcome.result, outcome.calls) == (Result.REFUSED, 0)
            assert "cannot read" in (outcome.message or "")
        letters = {letter.id: letter for letter in made.client.dead_letters.letters()}
        assert sorted(letter.message or "" for letter in letters.values() if letter.outcome is None) == sorted(
            unreadable
        )
        assert refused.keys() | unbeginnable.keys() <= letters.keys()
        assert made.workers[0].process.poll() is None


@pytest.mark.long
def test_messages_that_are_left_to_a_newer_worker_hold_up_no_other(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        lane = Lane(ALIYUN, "live.StopMPUTask")  # ten calls a second
        # The vendor counts, and drops nothing: calls that arrive late together would be made again.
        made.simulator.set_limit(lane.account, lane.operation, 1000)
        newer = {"v": 2, "operation": lane.operation, "account": ALIYUN, "params": {"AppId": "a", "TaskId": "newer"}}
        for number in range(200):
            made.redis.lpush(lane.queue, foreign_message(newer, job_id=f"newer-{number}", queue=lane.queue))
        stops = [Command(operation=StopMPUTask(app_id="a", task_id=f"t{n}"), account=ALIYUN) for n in range(20)]
        jobs = made.client.enqueue_many(stops)
        assert {outcome.result for outcome in made.client.outcomes(jobs, timeout=TIMEOUT_S)} == {Result.STOPPED}
        assert len(made.simulator.calls()) == len(jobs)
        for number in range(200):
            newer_job = made.client.job(f"newer-{number}")
            left = eventually(newer_job.peek, "it says why it waits")
            assert isinstance(left, Deferral)
            assert "version 1" in left.reason

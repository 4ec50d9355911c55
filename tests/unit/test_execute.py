"""The pipeline of one job in this process: a Redis in memory, real lanes and protocols, and a scripted vendor."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from streamstop import Deferral, Outcome, Result
from streamstop._core.lane_types import AttemptHistory
from streamstop._redis.dead import DeadLetterStore
from streamstop.operations import GetMPUTaskStatus, ListRtcMPUTaskDetail
from streamstop_worker.pipeline.ends import LONGEST_LEFT, GivenBack
from tests.support.pipeline import STOP, Pipeline, fault


def test_a_stop_that_the_vendor_accepts_is_recorded_with_what_it_said(bench: Pipeline) -> None:
    delivery = bench.publish()
    outcome = bench.execute(delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.request_id, outcome.attempts, outcome.calls) == (Result.STOPPED, "r", 1, 1)
    assert outcome.params == {"AppId": "a", "TaskId": "t"}
    assert bench.recorded(delivery) == outcome
    (request,) = bench.requests
    assert (request.method, request.headers["x-acs-action"], bench.began) == ("POST", "StopMPUTask", 1)


def test_every_attempt_has_a_nonce_of_its_own(bench: Pipeline) -> None:
    bench.answers = [fault("InternalError"), fault("SignatureNonceUsed", 400)]
    delivery = bench.publish()
    assert isinstance(bench.execute(delivery), Deferral)
    assert isinstance(bench.execute(bench.again(delivery)), Deferral)
    assert isinstance(bench.execute(bench.again(delivery)), Outcome)
    assert len({request.headers["x-acs-signature-nonce"] for request in bench.requests}) == 3


def test_a_job_gives_up_after_as_many_attempts_as_it_has(bench: Pipeline) -> None:
    bench.answers = [httpx.ReadTimeout("late"), fault("ServiceUnavailable", 503), fault("InternalError")]
    delivery = bench.publish()
    assert isinstance(bench.execute(delivery), Deferral)
    deferred = bench.recorded(delivery)
    assert isinstance(deferred, Deferral)
    assert deferred.reason.startswith("ReadTimeout")
    assert isinstance(bench.execute(bench.again(delivery)), Deferral)
    outcome = bench.execute(bench.again(delivery))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.code, outcome.attempts) == (Result.GAVE_UP, "InternalError", 3)


def test_a_throttled_call_is_no_report_and_the_job_waits_in_its_lane(bench: Pipeline) -> None:
    bench.answers = [fault("Throttling.User", 400)]
    delivery = bench.publish()
    assert isinstance(bench.execute(delivery), GivenBack)
    view = bench.lanes.view(delivery.taken.lane)
    assert (view.waiting, view.in_flight, view.rest > timedelta(0)) == (1, 0, True)
    assert bench.recorded(delivery) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"params": {"AppId": "a"}}, "TaskId is required"),
        ({"params": ["AppId"]}, "params"),
        ({"operation": "live.StopMPUTask"}, "came through live-cn.rtc.StopMPUTask"),
        ({"v": "1"}, "version 1"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_with_the_reason(
    bench: Pipeline, changes: dict[str, Any], expected: str
) -> None:
    outcome = bench.execute(bench.publish(changes=changes))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls, bench.requests) == (Result.REFUSED, 0, [])
    assert expected in (outcome.message or "")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"v": 2, "params": "of a new kind"}, "reads version 1"),
        ({"operation": "live.StopTimeItself"}, "StopTimeItself"),
    ],
)
def test_a_command_of_a_newer_version_is_deferred_for_a_bounded_time(
    bench: Pipeline, changes: dict[str, Any], expected: str
) -> None:
    delivery = bench.publish(changes=changes)
    left = bench.execute(delivery)
    assert isinstance(left, Deferral)
    assert expected in left.reason
    lane, job_id = delivery.taken.lane, delivery.taken.job_id
    since = AttemptHistory.parse(bench.redis.hget(lane.jobs, f"{job_id}:tries").decode()).left
    assert since > 0
    long_ago = since - int(LONGEST_LEFT.total_seconds()) - 1
    bench.redis.hset(lane.jobs, f"{job_id}:tries", f"0 0 0 0 {long_ago} 0")
    outcome = bench.execute(bench.again(delivery))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls, bench.requests) == (Result.REFUSED, 0, [])
    assert expected in (outcome.message or "")
    letter = DeadLetterStore(bench.redis, bench.lanes).get(job_id)
    assert json.loads(letter.message or "")["headers"]["id"] == job_id, "its raw text"
    assert letter.command is not None, "it can be requeued when a newer worker has come"


@pytest.mark.parametrize(
    ("answer", "result", "attempts"),
    [
        (httpx.Response(200, json={"RequestId": "r"}), None, 1),
        (fault("InvalidAccessKeyId.NotFound", 404), Result.REFUSED, 1),
        (fault("InternalError"), Result.GAVE_UP, 3),
    ],
)
def test_a_dead_letter_holds_the_command_and_the_last_answer(
    bench: Pipeline, answer: httpx.Response, result: Result | None, attempts: int
) -> None:
    delivery = bench.publish()
    for _ in range(attempts):
        bench.answers = [answer]
        end = bench.execute(delivery)
        if isinstance(end, Deferral):
            delivery = bench.again(delivery)
    letters = list(DeadLetterStore(bench.redis, bench.lanes).letters())
    assert [letter.result for letter in letters] == ([] if result is None else [result])
    for letter in letters:
        assert letter.outcome == end == bench.recorded(delivery)
        assert letter.outcome is not None
        assert (letter.outcome.attempts, letter.outcome.request_id) == (attempts, "r")
        assert letter.command is not None
        assert letter.command["params"] == {"AppId": "a", "TaskId": "t"}
        assert letter.message is None, "a command that could be read need not be quoted"


def test_jobs_that_are_not_called_take_no_slot_of_their_lane(bench: Pipeline) -> None:
    for _ in range(5):
        newer = bench.publish(changes={"v": 2})
        assert isinstance(bench.execute(newer), Deferral)
        tat = bench.redis.hget(newer.taken.lane.pace, "tat")
        assert abs(int(tat) - newer.taken.slot_us) < 2, "the next job may have its slot"


def test_an_account_that_no_worker_has_may_come_and_one_that_another_has_is_left_to_it(bench: Pipeline) -> None:
    waits = bench.execute(bench.publish(account="nobody"))
    assert isinstance(waits, Deferral)
    assert "no running worker has account 'nobody'" in waits.reason
    bench.known.publish({"elsewhere": "aliyun"})
    left = bench.execute(bench.publish(account="elsewhere"))
    assert isinstance(left, Deferral)
    assert "another worker has" in left.reason
    assert bench.requests == []


def test_a_status_keeps_the_value_and_a_listing_the_whole_reply(bench: Pipeline) -> None:
    bench.answers = [httpx.Response(200, json={"RequestId": "r", "Status": 1})]
    status = bench.execute(bench.publish(GetMPUTaskStatus(app_id="a", task_id="t")))
    assert isinstance(status, Outcome)
    assert status.status is not None
    assert (status.result, status.status.raw, status.reply) == (Result.STATUS, 1, None)
    bench.answers = [httpx.Response(200, json={"RequestId": "r", "MPUTasks": [{"TaskId": "t"}]})]
    listing = bench.execute(bench.publish(ListRtcMPUTaskDetail(app_id="a")))
    assert isinstance(listing, Outcome)
    assert listing.reply == {"RequestId": "r", "MPUTasks": [{"TaskId": "t"}]}


def test_a_report_that_comes_after_its_lease_is_not_recorded(bench: Pipeline) -> None:
    delivery = bench.publish()

    def lease_runs_out(_request: httpx.Request) -> httpx.Response:
        bench.lapse(delivery)
        return httpx.Response(200, json={"RequestId": "r"})

    bench.answers = [lease_runs_out]
    assert isinstance(bench.execute(delivery), GivenBack)
    assert bench.recorded(delivery) is None
    assert isinstance(bench.execute(bench.take_of(delivery.taken.lane)), Outcome)


def test_a_job_that_cannot_be_set_up_is_counted_as_sent(bench: Pipeline) -> None:
    delivery = replace(bench.publish(), taken=None)  # type: ignore[arg-type]  # a fault of streamstop's own
    with pytest.raises(AttributeError):
        bench.execute(delivery)


def test_an_unreachable_redis_leaves_the_job_to_its_lease(bench: Pipeline) -> None:
    delivery = bench.publish(STOP)

    async def away(_report: object) -> None:
        raise RedisConnectionError

    bench.executor = replace(bench.executor, report=away)
    with pytest.raises(RedisConnectionError):
        bench.execute(delivery)

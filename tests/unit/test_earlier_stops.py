"""Repeated stops: a second stop of a stream task at a vendor that forgets ended tasks is a success."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from streamstop import Deferral, Outcome, Result
from streamstop._core.constants import DEAD, TASK_JOBS
from streamstop._core.lane_types import AttemptHistory
from streamstop._core.stream_tasks import note_key
from streamstop._wire.reports import Ended, Released, Report
from streamstop.operations import RtcGetMPUTaskStatus, RtcStopMPUTask
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End
from tests.support.pipeline import Pipeline, fault

UNKNOWN = fault("CodeTaskNotExist", 404)
#: No answer of the vendor's own: it may have carried the call out.
GATEWAY = httpx.Response(502, text="<html>")
KEY = f"{TASK_JOBS}t"


def ended(end: End) -> Outcome:
    assert isinstance(end, Outcome)
    return end


def stop_again(bench: Pipeline) -> Outcome:
    bench.answers = [UNKNOWN]
    return ended(bench.execute(bench.publish()))


def forget(bench: Pipeline) -> None:
    """Let this process be done with a job that it took and never ends, as if it had been killed."""
    bench.slots.send()
    bench.slots.end()


def notes(bench: Pipeline, key: str = KEY) -> list[str]:
    return [note.split("\n")[4].rsplit(" ", 1)[0] for note in bench.redis.get(key).decode().split("\x01")]


def test_a_stop_of_a_task_that_a_job_has_stopped_says_by_which_job(bench: Pipeline) -> None:
    first = bench.publish()
    assert ended(bench.execute(first)).result is Result.STOPPED
    outcome = stop_again(bench)
    assert (outcome.result, outcome.code, outcome.request_id) == (Result.ALREADY_STOPPED, "CodeTaskNotExist", "r")
    assert (outcome.message or "").startswith(f"job {first.taken.job_id} had stopped it at 20")
    assert bench.redis.zcard(DEAD) == 0
    assert stop_again(bench).result is Result.ALREADY_STOPPED
    assert notes(bench) == ["already_stopped 0", "already_stopped 0", "stopped 0"]


def test_a_task_that_never_existed_stays_not_found(bench: Pipeline) -> None:
    for _ in range(2):
        assert stop_again(bench).result is Result.NOT_FOUND
    assert bench.redis.zcard(DEAD) == 2


@pytest.mark.parametrize(
    "operation", [RtcStopMPUTask(app_id="b", task_id="t"), RtcStopMPUTask(app_id="a", task_id="T")]
)
def test_a_task_of_another_application_is_another_task(bench: Pipeline, operation: RtcStopMPUTask) -> None:
    bench.execute(bench.publish())
    bench.answers = [UNKNOWN]
    assert ended(bench.execute(bench.publish(operation))).result is Result.NOT_FOUND


def test_a_stop_waits_for_one_that_is_under_way(bench: Pipeline) -> None:
    first, second = bench.publish(), bench.publish()
    bench.answers = [UNKNOWN]
    deferral = bench.execute(second)
    assert isinstance(deferral, Deferral)
    assert deferral.reason == f"job {first.taken.job_id} may be stopping the same stream task"
    assert (bench.lanes.view(first.taken.lane).deferred, notes(bench)) == (1, ["deferred 0"])
    assert ended(bench.execute(first)).result is Result.STOPPED
    bench.answers = [UNKNOWN]
    outcome = ended(bench.execute(bench.again(second)))
    assert (outcome.result, outcome.attempts, outcome.calls) == (Result.ALREADY_STOPPED, 2, 2)
    assert first.taken.job_id in (outcome.message or "")


def test_two_stops_at_once_of_a_task_that_never_existed_end_not_found(bench: Pipeline) -> None:
    first, second = bench.publish(), bench.publish()
    bench.answers = [UNKNOWN, UNKNOWN]
    assert isinstance(bench.execute(second), Deferral)
    assert ended(bench.execute(first)).result is Result.NOT_FOUND, "the other one has said that it changed nothing"
    bench.answers = [UNKNOWN]
    assert ended(bench.execute(bench.again(second))).result is Result.NOT_FOUND


def test_a_stop_waits_for_as_many_attempts_as_it_has(bench: Pipeline) -> None:
    stuck, delivery = bench.publish(), bench.publish()
    for _ in range(2):
        bench.answers = [UNKNOWN]
        assert isinstance(bench.execute(delivery), Deferral)
        delivery = bench.again(delivery)
    bench.answers = [UNKNOWN]
    outcome = ended(bench.execute(delivery))
    assert (outcome.result, outcome.attempts) == (Result.NOT_FOUND, 3)
    assert ended(bench.execute(stuck)).result is Result.STOPPED


def test_each_wait_is_longer_than_the_one_before(bench: Pipeline) -> None:
    stuck, delivery, waits = bench.publish(), bench.publish(), []
    for _ in range(2):
        bench.answers = [UNKNOWN]
        assert isinstance(bench.execute(delivery), Deferral)
        (_id, due_us), (seconds, microseconds) = (
            bench.redis.zrange(delivery.taken.lane.due, 0, 0, withscores=True)[0],
            bench.redis.time(),
        )
        waits.append(due_us / 1_000_000 - seconds - microseconds / 1_000_000)
        delivery = bench.again(delivery)
    assert 0.1 < waits[0] <= 0.25 < waits[1] <= 0.5
    for one in (stuck, delivery):
        bench.execute(one)


def deferred_in_doubt(bench: Pipeline) -> Delivery:
    delivery = bench.publish()
    bench.answers = [GATEWAY]
    assert isinstance(bench.execute(delivery), Deferral)
    assert notes(bench) == ["deferred 1"]
    return delivery


def returned_by_its_sweep(bench: Pipeline) -> Delivery:
    delivery = bench.publish()
    bench.lapse(delivery)
    forget(bench)
    return delivery


def returned_in_doubt(bench: Pipeline) -> Delivery:
    delivery = bench.publish()
    bench.schedule.report([Released(job=delivery.taken, history=AttemptHistory(in_doubt=True))])
    forget(bench)
    return delivery


@pytest.mark.parametrize("lose", [deferred_in_doubt, returned_by_its_sweep, returned_in_doubt])
def test_a_stop_whose_answer_was_lost_may_have_stopped_the_task(bench: Pipeline, lose: Any) -> None:
    second = bench.publish()
    first = lose(bench)
    bench.answers = [UNKNOWN]
    outcome = ended(bench.execute(second))
    assert outcome.result is Result.ALREADY_STOPPED
    assert (outcome.message or "").startswith(f"job {first.taken.job_id} may have stopped it")


def test_a_stop_that_gave_up_without_an_answer_may_have_stopped_the_task(bench: Pipeline) -> None:
    first = deferred_in_doubt(bench)
    for _ in range(2):
        bench.answers = [GATEWAY]
        last = bench.execute(bench.again(first))
    assert ended(last).result is Result.GAVE_UP
    assert notes(bench) == ["gave_up 1"], "a job's notes replace each other"
    assert stop_again(bench).result is Result.ALREADY_STOPPED


def test_a_status_of_the_task_says_nothing_about_its_stop(bench: Pipeline) -> None:
    status = RtcGetMPUTaskStatus(app_id="a", task_id="t")
    for _ in range(3):
        bench.answers = [httpx.Response(200, json={"Status": 1, "RequestId": "r"})]
        assert ended(bench.execute(bench.publish(status))).result is Result.STATUS
    assert notes(bench) == ["status 0"], "a service that polls a task leaves one note"
    bench.answers = [UNKNOWN]
    assert ended(bench.execute(bench.publish(status))).result is Result.NOT_FOUND
    assert stop_again(bench).result is Result.NOT_FOUND


def test_at_most_a_hundred_notes_are_kept_for_as_long_as_outcomes(bench: Pipeline) -> None:
    for _ in range(103):
        bench.execute(bench.publish())
    assert notes(bench) == ["stopped 0"] * 100
    assert 0 < bench.redis.ttl(KEY) <= timedelta(days=1).total_seconds()


def test_a_task_with_an_unusual_id_is_recognised(bench: Pipeline) -> None:
    operation = RtcStopMPUTask(app_id="a", task_id='"任务 \\' + "x" * 200)
    first, second = bench.publish(operation), bench.publish(operation)
    bench.answers = [UNKNOWN]
    assert isinstance(bench.execute(second), Deferral)
    bench.execute(first)
    bench.answers = [UNKNOWN]
    assert ended(bench.execute(bench.again(second))).result is Result.ALREADY_STOPPED
    assert bench.redis.exists(note_key(operation.stream_task or "")) == 1


def test_a_job_of_another_producer_is_recognised_in_flight(bench: Pipeline) -> None:
    """Celery's own producers encode bodies in base64."""
    first = bench.publish()
    lane, job_id = first.taken.lane, first.taken.job_id
    plain = first.taken.message
    body = plain.replace(b'"body_encoding":null', b'"body_encoding":"base64"')
    start, end = body.index(b'"body":"') + 8, body.index(b'","content-encoding"')
    encoded = base64.b64encode(json.loads(b'"' + body[start:end] + b'"').encode())
    bench.redis.hset(lane.jobs, job_id, body[:start] + encoded + body[end:])
    bench.answers = [UNKNOWN]
    assert isinstance(bench.execute(bench.publish()), Deferral)
    bench.execute(first)


def test_a_key_of_another_type_keeps_no_job_from_ending(bench: Pipeline) -> None:
    bench.redis.rpush(KEY, "somebody's")
    assert ended(bench.execute(bench.publish())).result is Result.STOPPED
    assert stop_again(bench).result is Result.NOT_FOUND
    assert bench.redis.lrange(KEY, 0, -1) == [b"somebody's"]


def without_note(report: Report) -> Report:
    assert isinstance(report, Ended)
    assert report.note is not None
    return replace(report, note=None)


def test_a_report_of_an_earlier_worker_has_no_note(bench: Pipeline) -> None:
    first = bench.publish()
    bench.executor = replace(bench.executor, report=lambda one: bench.reporter.report(without_note(one)))
    assert ended(bench.execute(first)).result is Result.STOPPED
    assert bench.redis.exists(KEY) == 0

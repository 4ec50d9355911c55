"""Celery's view of a job on a real Redis: ``AsyncResult`` and Flower show what the scripts recorded."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.result import ResultSet
from redis import Redis

from streamstop._core.lane import result_key
from streamstop._core.lane_types import LastCall
from streamstop._wire.reports import Ended, Retried
from streamstop._wire.results import deferral_record, outcome_record
from streamstop.errors import JobDeferred, JobFailed
from streamstop.outcomes import Deferral, Outcome, Result
from streamstop.settings import RedisSettings
from streamstop_worker.settings import celery_options
from tests.support.lane_driver import JUDGED_ONCE, KEPT, LaneDriver
from tests.support.manual_clock import ManualClock
from tests.support.polling import TIMEOUT_S, eventually

DUE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lane(real_redis: Redis) -> LaneDriver:
    """A lane with one job in a worker's hands, ``a``; its clock is the server's own."""
    lane = LaneDriver(real_redis, ManualClock())
    lane.publish("a")
    lane.take()
    return lane


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """A Celery app that knows nothing of streamstop but the settings."""
    app = Celery("any", set_as_current=False)
    app.conf.update(celery_options(RedisSettings.from_environ(url=redis_url)))
    with app:
        yield app
        backend: Any = app.backend  # its types know only the base
        backend.result_consumer.stop()
        backend.client.connection_pool.disconnect()


def outcome(lane: LaneDriver, result: Result) -> Outcome:
    return Outcome(
        result=result,
        job_id=lane.job_id("a"),
        operation="live.StopMPUTask",
        account="live-cn",
        code="InvalidParameter",
        message="The parameter is not valid.",
        attempts=1,
        calls=1,
        ended_at=DUE,
    )


def said(lane: LaneDriver, result: Result) -> Outcome:
    """Return the outcome as Celery hands it out: when it ended is Celery's own ``date_done``."""
    return outcome(lane, result).model_copy(update={"ended_at": None})


def finish(lane: LaneDriver, result: Result) -> None:
    record = outcome_record(outcome(lane, result))
    assert lane.report(Ended(job=lane.taken_jobs["a"], call=LastCall.WELL, record=record, kept=KEPT)).rests == [
        timedelta(0)
    ]


def test_a_job_that_got_what_it_asked_for_is_a_success_with_its_outcome(lane: LaneDriver, app: Celery) -> None:
    finish(lane, Result.STOPPED)
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.successful(), shown.date_done) == ("SUCCESS", True, DUE)
    assert Outcome.model_validate(shown.get(timeout=TIMEOUT_S)) == said(lane, Result.STOPPED)


@pytest.mark.parametrize("result", [Result.NOT_FOUND, Result.REFUSED, Result.GAVE_UP, Result.EXPIRED])
def test_a_job_that_needs_a_person_is_a_failure_that_says_why(lane: LaneDriver, app: Celery, result: Result) -> None:
    finish(lane, result)
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.failed()) == ("FAILURE", True)
    with pytest.raises(JobFailed, match=f"{result} InvalidParameter The parameter is not valid") as raised:
        shown.get(timeout=TIMEOUT_S)
    assert Outcome.model_validate(raised.value.outcome) == said(lane, result)
    assert shown.date_done == DUE


def test_a_deferred_job_is_in_retry_with_its_reason_and_when_it_is_due(lane: LaneDriver, app: Celery) -> None:
    report = Retried(
        job=lane.taken_jobs["a"],
        call=LastCall.FAULT,
        delay=timedelta(seconds=1),
        history=JUDGED_ONCE,
        record=deferral_record(lane.job_id("a"), Deferral("ServiceUnavailable", DUE)),
        kept=KEPT,
    )
    assert lane.report(report).rests == [timedelta(0)]
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.ready()) == ("RETRY", False)
    assert isinstance(shown.result, JobDeferred)
    assert str(shown.result) == f"ServiceUnavailable; due again at {DUE.isoformat()}"


def test_a_cancelled_job_is_revoked(lane: LaneDriver, app: Celery) -> None:
    lane.release("a")
    record = outcome_record(outcome(lane, Result.CANCELLED))
    assert lane.lanes.cancel(lane.lane, lane.job_id("a"), record=record) == "cancelled"
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.ready()) == ("REVOKED", True)
    with pytest.raises(JobFailed, match="cancelled"):
        shown.get(timeout=TIMEOUT_S)


def test_a_wait_through_celery_ends_with_the_job(lane: LaneDriver, app: Celery) -> None:
    shown = app.AsyncResult(lane.job_id("a"))
    backend: Any = app.backend  # its types know only the base
    backend.result_consumer.start(shown.id)
    finish(lane, Result.STOPPED)
    assert shown.get(timeout=TIMEOUT_S)["result"] == "stopped"


#: Every kind of record: its state at Celery, and the record.
RECORDS = {
    "SUCCESS": Result.STOPPED,
    "FAILURE": Result.NOT_FOUND,
    "REVOKED": Result.CANCELLED,
    "RETRY": None,
}


def record_of(lane: LaneDriver, result: Result | None) -> str:
    if result is None:
        return deferral_record(lane.job_id("a"), Deferral("ServiceUnavailable", DUE))
    return outcome_record(outcome(lane, result))


@pytest.mark.parametrize(("state", "result"), RECORDS.items(), ids=RECORDS.keys())
def test_everything_that_asyncresult_tells_of_a_record_is_there(
    lane: LaneDriver, app: Celery, real_redis: Redis, state: str, result: Result | None
) -> None:
    real_redis.set(result_key(lane.job_id("a")), record_of(lane, result), ex=60)
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.status, shown.ready()) == (state, state, state != "RETRY")
    assert (shown.traceback, shown.children) == (None, None)
    assert shown.date_done == (None if state == "RETRY" else DUE)
    assert type(shown.result) is type(shown.info) is {"SUCCESS": dict, "RETRY": JobDeferred}.get(state, JobFailed)
    assert (shown.name, shown.args, shown.kwargs, shown.worker, shown.retries, shown.queue) == (None,) * 6
    assert list(shown.iterdeps(intermediate=True)) == [(None, shown)]
    if state == "SUCCESS":
        shown_result: Any = shown.result
        assert list(shown.collect(timeout=TIMEOUT_S)) == [(shown, shown_result)]
        assert {name: shown_result[name] for name in ("result", "code", "message", "attempts", "calls")} == {
            "result": "stopped",
            "code": "InvalidParameter",
            "message": "The parameter is not valid.",
            "attempts": 1,
            "calls": 1,
        }


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED"])
def test_a_record_that_is_published_ends_a_wait_through_celery(
    lane: LaneDriver, app: Celery, real_redis: Redis, state: str
) -> None:
    waiting = app.AsyncResult(lane.job_id("a"))
    backend: Any = app.backend  # its types know only the base
    backend.add_pending_result(waiting)  # subscribes
    key, record = result_key(waiting.id), record_of(lane, RECORDS[state])
    eventually(lambda: real_redis.publish(key, record), "a subscription")

    def read() -> bool:
        backend.result_consumer.drain_events(timeout=1)
        return bool(waiting.ready())

    eventually(read, "Celery read what was published")
    assert not real_redis.exists(key), "what is known was told by the channel alone"
    assert waiting.state == state


def test_celery_finds_a_record_that_was_written_while_its_connection_was_gone(
    lane: LaneDriver, app: Celery, real_redis: Redis
) -> None:
    waiting = app.AsyncResult(lane.job_id("a"))
    backend: Any = app.backend  # its types know only the base
    backend.add_pending_result(waiting)
    real_redis.set(result_key(waiting.id), record_of(lane, Result.STOPPED), ex=60)
    real_redis.client_kill_filter(_type="pubsub")
    assert waiting.get(timeout=TIMEOUT_S)["result"] == "stopped"


def test_a_set_of_results_is_read_at_once(lane: LaneDriver, app: Celery, real_redis: Redis) -> None:
    ids = [lane.job_id(name) for name in ("a", "b", "c")]
    for job_id in ids:
        written = outcome(lane, Result.STOPPED).model_copy(update={"job_id": job_id})
        real_redis.set(result_key(job_id), outcome_record(written), ex=60)
    shown = ResultSet([app.AsyncResult(job_id) for job_id in ids], app=app)
    assert [result["job_id"] for result in shown.join_native(timeout=TIMEOUT_S)] == ids

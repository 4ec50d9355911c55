"""Celery's own view of a job, on a real Redis: what ``AsyncResult`` and Flower show is what the scripts recorded."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from streamstop.errors import JobDeferred, JobFailed
from streamstop.lanes import LastCall
from streamstop.outcomes import Outcome, Result
from streamstop.results import Deferral, deferral_record, outcome_record
from streamstop.settings import RedisSettings
from tests.support.lane_hands import LaneHands
from tests.support.moved_clock import MovedClock

DUE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lane(real_redis: Redis) -> LaneHands:
    """A lane with one claimed job, ``a``; its clock is the server's own."""
    lane = LaneHands(real_redis, MovedClock())
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    return lane


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """A Celery app that knows nothing of streamstop but the settings."""
    app = Celery("any", set_as_current=False)
    app.conf.update(RedisSettings.from_environ({}, url=redis_url).celery_options())
    with app:
        yield app
        backend: Any = app.backend  # its types know only the base
        backend.result_consumer.stop()
        backend.client.connection_pool.disconnect()


def outcome(lane: LaneHands, result: Result) -> Outcome:
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


def finish(lane: LaneHands, result: Result) -> None:
    record = outcome_record(outcome(lane, result))
    assert lane.lanes.finish(lane.lane, lane.pace, lane.job_id("a"), owner="worker", record=record, call=LastCall.WELL)


def test_a_job_that_got_what_it_asked_for_is_a_success_with_its_outcome(lane: LaneHands, app: Celery) -> None:
    finish(lane, Result.STOPPED)
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.successful(), shown.date_done) == ("SUCCESS", True, DUE)
    assert Outcome.model_validate(shown.get(timeout=5)) == outcome(lane, Result.STOPPED)


@pytest.mark.parametrize("result", [Result.NOT_FOUND, Result.REFUSED, Result.GAVE_UP, Result.EXPIRED])
def test_a_job_that_needs_a_person_is_a_failure_that_says_why(lane: LaneHands, app: Celery, result: Result) -> None:
    finish(lane, result)
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.failed()) == ("FAILURE", True)
    with pytest.raises(JobFailed, match=f"{result} InvalidParameter The parameter is not valid") as raised:
        shown.get(timeout=5)
    assert Outcome.model_validate(raised.value.outcome) == outcome(lane, result)


def test_a_deferred_job_is_in_retry_with_its_reason_and_when_it_is_due(lane: LaneHands, app: Celery) -> None:
    assert lane.lanes.defer(
        lane.lane,
        lane.pace,
        lane.job_id("a"),
        owner="worker",
        delay=timedelta(seconds=1),
        tries=lane.claim("a").tries,
        record=deferral_record(lane.job_id("a"), Deferral("ServiceUnavailable", DUE)),
        call=LastCall.FAULT,
    ) == timedelta(0)
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.ready()) == ("RETRY", False)
    assert isinstance(shown.result, JobDeferred)
    assert str(shown.result) == f"ServiceUnavailable; due again at {DUE.isoformat()}"


def test_a_cancelled_job_is_revoked(lane: LaneHands, app: Celery) -> None:
    lane.release("a")
    record = outcome_record(outcome(lane, Result.CANCELLED))
    assert lane.lanes.cancel(lane.lane, lane.job_id("a"), record=record) == "cancelled"
    shown = app.AsyncResult(lane.job_id("a"))
    assert (shown.state, shown.ready()) == ("REVOKED", True)
    with pytest.raises(JobFailed, match="cancelled"):
        shown.get(timeout=5)


def test_whoever_waits_for_a_result_through_celery_is_told_when_the_job_ends(lane: LaneHands, app: Celery) -> None:
    shown = app.AsyncResult(lane.job_id("a"))
    backend: Any = app.backend  # its types know only the base
    backend.result_consumer.start(shown.id)
    finish(lane, Result.STOPPED)
    assert shown.get(timeout=5)["result"] == "stopped"

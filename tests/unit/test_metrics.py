"""The metrics of one worker, counted by the pipeline of one job."""

from dataclasses import replace

import httpx
import pytest

from streamstop import Outcome, Result
from streamstop_worker.observing.metrics import Metrics
from tests.support.pipeline import Pipeline, fault

LANE = {"account": "live-cn", "operation": "rtc.StopMPUTask"}


@pytest.fixture
def metrics(bench: Pipeline) -> Metrics:
    """Let the pipeline count."""
    made = Metrics(bench.slots.concurrency, lambda: bench.slots.under_way)
    bench.executor = replace(bench.executor, observer=made)
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a sample; None if nothing was counted with these labels."""
    return metrics.registry.get_sample_value(name, labels)


def test_each_call_is_counted_by_what_the_vendor_answered(bench: Pipeline, metrics: Metrics) -> None:
    bench.answers = [fault("InternalError"), fault("Throttling.User", 400)]
    delivery = bench.publish()
    bench.execute(delivery)
    delivery = bench.again(delivery)
    bench.execute(delivery)
    bench.redis.hset(delivery.taken.lane.pace, mapping={"rest": 0, "tat": 0})
    bench.redis.zadd("streamstop.schedule", {delivery.taken.lane.name: 0})
    outcome = bench.execute(bench.take_of(delivery.taken.lane))
    assert isinstance(outcome, Outcome)
    for answer in ("transient", "throttled", "ok"):
        assert value(metrics, "streamstop_calls_total", **LANE, answer=answer) == 1
        assert value(metrics, "streamstop_call_duration_seconds_count", **LANE, answer=answer) == 1
    assert value(metrics, "streamstop_jobs_ended_total", **LANE, result="stopped") == 1
    assert value(metrics, "streamstop_job_wait_seconds_count", operation="rtc.StopMPUTask") == 1
    assert value(metrics, "streamstop_job_duration_seconds_count", operation="rtc.StopMPUTask") == 1
    assert value(metrics, "streamstop_send_delay_seconds_count") == 3


def test_a_call_that_was_never_sent_is_timed_and_not_counted(bench: Pipeline, metrics: Metrics) -> None:
    bench.answers = [httpx.ConnectError("refused")]
    bench.execute(bench.publish())
    assert value(metrics, "streamstop_calls_total", **LANE, answer="transient") == 0
    assert value(metrics, "streamstop_call_duration_seconds_count", **LANE, answer="transient") == 1


def test_an_end_without_a_call_is_counted(bench: Pipeline, metrics: Metrics) -> None:
    outcome = bench.execute(bench.publish(changes={"expires_at": 1.0}))
    assert isinstance(outcome, Outcome)
    assert outcome.result is Result.EXPIRED
    assert value(metrics, "streamstop_jobs_ended_total", **LANE, result="expired") == 1
    assert value(metrics, "streamstop_calls_total", **LANE, answer="ok") is None


def test_the_slots_are_a_gauge(bench: Pipeline, metrics: Metrics) -> None:
    assert value(metrics, "streamstop_worker_slots") == bench.slots.concurrency
    delivery = bench.publish()
    assert value(metrics, "streamstop_worker_slots_busy") == 1
    bench.execute(delivery)
    assert value(metrics, "streamstop_worker_slots_busy") == 0

"""Cancelling a job in each of its states."""

from datetime import timedelta

from streamstop._core.constants import CANCELLED as COUNTS
from streamstop._wire.reports import Dropped
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import CANCELLED, ENDED, LEASE, LaneDriver


def test_a_waiting_job_that_is_cancelled_is_never_called_and_costs_no_slot(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    assert lane.cancel("a") == "cancelled"
    assert lane.record("a") == CANCELLED
    assert lane.take() == ["b"]
    assert lane.slot("b") == timedelta(0)


def test_a_deferred_job_that_is_cancelled_is_forgotten_at_once(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    lane.retry("a")
    assert lane.cancel("a") == "cancelled"
    assert lane.redis.exists(lane.lane.jobs, lane.lane.due) == 0
    assert lane.record("a") == CANCELLED


def test_a_taken_job_cannot_be_cancelled_nor_one_that_has_ended(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    assert lane.cancel("a") == "claimed"
    lane.finish("a")
    assert lane.cancel("a") == "ended"
    assert lane.record("a") == ENDED


def test_a_job_is_counted_as_cancelled_once_and_not_if_a_worker_has_it(lane: LaneDriver) -> None:
    lane.publish("a", "b", "c")
    assert [lane.cancel(name) for name in ("a", "a", "b")] == ["cancelled", "ended", "cancelled"]
    lane.take()
    assert lane.cancel("c") == "claimed"
    assert lane.lanes.cancelled() == {lane.lane: 2}


def test_a_job_is_cancelled_also_if_another_program_has_written_the_key_of_the_counts(lane: LaneDriver) -> None:
    lane.redis.set(COUNTS, "x")
    lane.publish("a")
    assert lane.cancel("a") == "cancelled"
    assert lane.take() == []


def test_a_shutdowns_job_that_was_cancelled_has_a_lease_until_it_is_counted(lane: LaneDriver) -> None:
    message = celery_message(lane.lane, lane.job_id("a"))
    message = message[:-1] + b', "said": "{\\"shutdown\\": 1}"}'
    lane.push(message)
    lane.publish()
    lane.cancel("a")
    (ended,) = lane.look().ended
    assert (ended.job_id, lane.in_flight()) == (lane.job_id("a"), 1)
    lane.clock.advance(LEASE)  # its worker is killed before it has counted it
    lane.sweep()
    (ended,) = lane.look().ended
    lane.report(Dropped(job=ended))
    assert (lane.in_flight(), lane.waiting(), lane.redis.exists(lane.lane.jobs)) == (0, [], 0)
    assert lane.record("a") == CANCELLED

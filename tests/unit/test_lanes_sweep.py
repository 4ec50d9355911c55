"""The sweep: expired leases, clocks that were set back, and data of earlier versions."""

import json
from datetime import timedelta

import pytest
from redis import Redis

from streamstop._core.constants import LANES, LEASED, READY
from streamstop._core.lane_types import AttemptHistory
from streamstop._redis.schedule import Schedule
from tests.support.celery_messages import celery_message, envelope
from tests.support.lane_driver import LEASE, LaneDriver
from tests.support.manual_clock import ManualClock

SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def quick(redis: Redis, clock: ManualClock) -> LaneDriver:
    """A lane that gives three jobs at a look."""
    return LaneDriver(redis, clock, limit=40)


def test_a_job_whose_worker_was_killed_waits_again_when_its_lease_runs_out(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    killed = lane.taken_jobs["a"]
    lane.clock.advance(LEASE - MICROSECOND)
    assert lane.expired_leases() == 0
    lane.clock.advance(MICROSECOND)
    assert lane.expired_leases() == 1
    assert lane.take() == ["a"]
    assert lane.taken_jobs["a"].history == AttemptHistory(lost_deliveries=1)
    lane.taken_jobs["a"] = killed
    assert not lane.finish("a")


def test_a_history_counts_each_worker_that_was_lost(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    lane.retry("a", history=AttemptHistory(attempts=2, calls=3, lost_deliveries=1, signed_again=True, in_doubt=True))
    lane.clock.advance(3 * SECOND)
    for lost_deliveries in range(1, 4):
        assert lane.take() == ["a"]
        assert lane.taken_jobs["a"].history == AttemptHistory(2, 3, lost_deliveries, signed_again=True, in_doubt=True)
        lane.clock.advance(LEASE)
        lane.sweep()


def test_jobs_whose_leases_ran_out_wait_again_in_the_order_in_which_they_were_taken(quick: LaneDriver) -> None:
    quick.publish("c", "a", "b", "d")
    assert quick.take() == ["c", "a", "b"]
    quick.clock.advance(2 * LEASE)
    assert quick.expired_leases() == 3
    assert quick.waiting() == ["c", "a", "b", "d"]


def test_a_lane_at_its_window_whose_worker_was_killed_goes_on(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock, limit=1)
    lane.publish("a", "b")
    lane.take()
    clock.advance(2 * SECOND)
    assert (lane.take(), lane.scheduled()) == ([], None)
    clock.advance(LEASE)
    assert lane.expired_leases() == 1
    assert lane.take() == ["a"]


def test_many_leases_that_ran_out_together_are_mended_in_runs_of_fifty(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock, limit=10_000)
    lane.publish(*range(120))
    while lane.look().jobs:
        clock.advance(timedelta(milliseconds=5))
    clock.advance(2 * LEASE)
    runs = [lane.sweep() for _ in range(3)]
    assert [(swept.expired_leases[lane.lane], swept.again) for swept in runs] == [(50, True), (50, True), (20, False)]


def test_one_worker_sweeps_in_any_one_period(lane: LaneDriver) -> None:
    def sweep() -> bool:
        return lane.schedule.sweep(longest_lease=2 * LEASE, period=SECOND) is not None

    assert [sweep() for _ in range(3)] == [True, False, False]
    lane.clock.advance(SECOND + timedelta(milliseconds=1))
    assert sweep()


# Clocks


def test_the_next_sweep_detects_that_the_clock_was_set_back(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock)
    clock.advance(timedelta(minutes=10))
    lane.publish("a", "b")
    lane.retry(lane.take_next(), delay=timedelta(minutes=5))
    lane.take_next()
    lane.sweep()
    clock.advance(-timedelta(minutes=5))
    other = Schedule(redis)  # of a worker that has just started
    swept = other.sweep(longest_lease=2 * LEASE, period=timedelta(0))
    assert swept is not None
    assert swept.rescheduled == 1
    assert (lane.scheduled(), lane.leased()) == (timedelta(0), 2 * LEASE)


def test_a_clock_that_was_set_on_and_back_between_two_sweeps_keeps_no_lane_from_its_turn(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    lane.sweep()
    lane.clock.advance(timedelta(hours=1))
    lane.take()
    lane.clock.advance(-timedelta(hours=1))
    lane.sweep()
    lane.clock.advance(1200 * timedelta(milliseconds=1))
    assert lane.take() == ["b"]
    lane.clock.advance(2 * LEASE)
    assert lane.expired_leases() == 2


@pytest.mark.parametrize("back", [timedelta(milliseconds=10), timedelta(hours=1), timedelta(days=30)])
def test_a_clock_that_is_set_back_holds_no_lane_up_for_longer_than_a_slot(lane: LaneDriver, back: timedelta) -> None:
    lane.publish("a", "b")
    lane.take_next()
    lane.sweep()
    lane.clock.advance(-back)
    assert lane.finish("a")
    lane.sweep()
    lane.clock.advance(1200 * timedelta(milliseconds=1))
    assert lane.take() == ["b"]


def test_a_clock_that_is_set_back_holds_no_job_of_a_killed_worker_for_longer_than_two_leases(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    lane.sweep()
    lane.clock.advance(-timedelta(days=1))
    lane.sweep()
    lane.clock.advance(2 * LEASE)
    assert lane.expired_leases() == 1


def test_a_clock_that_is_set_back_does_not_restart_a_rest_that_is_over(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    assert lane.throttle(lane.take_next(), hint=2 * SECOND) == 2 * SECOND
    lane.clock.advance(3 * SECOND)
    lane.finish(lane.take_next())
    lane.sweep()
    lane.clock.advance(-timedelta(hours=1))
    lane.sweep()
    lane.clock.advance(1300 * timedelta(milliseconds=1))
    assert lane.take() == ["b"]


@pytest.mark.parametrize("hours", [1, 100])
def test_a_clock_that_is_set_back_lengthens_a_rest_by_no_more_than_its_own_span(lane: LaneDriver, hours: int) -> None:
    lane.publish("a", "b")
    assert lane.throttle(lane.take_next(), hint=7 * SECOND) == 7 * SECOND
    lane.sweep()
    lane.clock.advance(-timedelta(hours=hours))
    lane.sweep()
    lane.take()
    lane.clock.advance(7 * SECOND)
    assert lane.take() == ["a"]


def test_a_clock_that_is_set_back_lets_no_job_wait_for_more_than_ten_minutes(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    lane.retry("a")
    lane.sweep()
    lane.clock.advance(-timedelta(days=1))
    lane.sweep()
    lane.take()
    lane.clock.advance(timedelta(minutes=10))
    assert lane.take() == ["a"]


# Earlier versions


def test_jobs_that_earlier_versions_admitted_wait_again_and_their_lanes_are_served(lane: LaneDriver) -> None:
    name, now_us = lane.lane.name, lane.clock.now_us
    admitted = celery_message(lane.lane, lane.job_id("admitted"))
    deferred = celery_message(lane.lane, lane.job_id("deferred"))
    lane.redis.hset(lane.lane.jobs, mapping={lane.job_id("admitted"): admitted, lane.job_id("deferred"): deferred})
    lane.redis.zadd(lane.lane.leases, {lane.job_id("admitted"): now_us + 5_000_000})
    lane.redis.zadd(lane.lane.due, {lane.job_id("deferred"): now_us + 1_000_000})
    lane.redis.lpush(READY, json.dumps(envelope(lane.lane, lane.job_id("admitted"))).encode())
    lane.push(celery_message(lane.lane, lane.job_id("waiting")))
    lane.redis.sadd(LANES, name)
    lane.sweep()
    assert lane.waiting() == ["admitted", "waiting"]
    lane.clock.advance(SECOND)
    assert sorted(lane.take_next() for _ in range(3)) == ["admitted", "deferred", "waiting"]
    assert lane.redis.exists(READY, LANES) == 0


def test_a_lane_of_an_earlier_version_with_an_expired_pace_is_served(lane: LaneDriver) -> None:
    lane.push(celery_message(lane.lane, lane.job_id("a")))
    lane.redis.sadd(LANES, lane.lane.name)
    lane.sweep()
    assert lane.take() == ["a"]


def test_the_index_of_leases_forgets_a_lane_that_has_none(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.finish(lane.take_next())
    assert lane.redis.zcard(LEASED) == 1
    lane.clock.advance(LEASE)
    lane.sweep()
    assert lane.redis.zcard(LEASED) == 0

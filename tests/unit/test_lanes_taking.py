"""How workers take jobs from lanes: order, slots and windows."""

import itertools
from datetime import timedelta

import pytest
from redis import Redis

from streamstop._core.constants import ARRIVALS, WAKE
from streamstop._core.lane import Lane
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import LEASE, LaneDriver, announce, book_for
from tests.support.lane_simulation import LaneSimulation
from tests.support.manual_clock import ManualClock

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)
INTERVAL = timedelta(microseconds=103_627)  # 10 a second, less 3.5 %


def test_a_taken_job_leaves_a_copy_in_its_lane(lane: LaneDriver) -> None:
    lane.publish("a")
    (job,) = lane.look().jobs
    message = celery_message(lane.lane, lane.job_id("a"))
    assert (job.lane, job.job_id, job.message) == (lane.lane, lane.job_id("a"), message)
    assert (lane.waiting(), lane.in_flight()) == ([], 1)
    assert lane.redis.hgetall(lane.lane.jobs) == {
        job.job_id.encode(): message,
        f"{job.job_id}:owner".encode(): job.owner.encode(),
    }


def test_a_worker_is_given_only_jobs_whose_slots_are_near_and_told_when_to_look_again(
    redis: Redis, clock: ManualClock
) -> None:
    lane = LaneDriver(redis, clock, limit=40)  # an interval of 26 ms
    lane.publish(*range(10))
    take = lane.look()
    assert [job.slot_us - clock.now_us for job in take.jobs] == [0, 25_907, 51_814]
    assert take.next_in == timedelta(microseconds=3 * 25_907) - 30 * MILLISECOND


def test_slots_are_one_interval_apart_over_any_number_of_looks(lane: LaneDriver) -> None:
    lane.publish(*range(8))
    slots = [lane.taken_jobs[lane.take_next()].slot_us for _ in range(8)]
    assert {later - earlier for earlier, later in itertools.pairwise(slots)} == {INTERVAL // MICROSECOND}


def test_a_lane_that_was_idle_saves_up_no_slots(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock, limit=40)
    clock.advance(timedelta(hours=1))
    lane.publish(*range(40))
    assert len(lane.take()) == 3


def test_no_more_jobs_are_in_flight_than_the_window_allows_and_a_report_makes_room(
    redis: Redis, clock: ManualClock
) -> None:
    lane = LaneDriver(redis, clock, limit=2)
    lane.publish(*range(9))
    for _ in range(5):
        lane.take()
        clock.advance(SECOND)
    assert (lane.in_flight(), lane.scheduled()) == (2, None)
    assert lane.finish(0)
    assert (lane.scheduled(), lane.take()) == (timedelta(0), ["2"])


def test_the_most_urgent_level_goes_first_and_within_a_level_the_oldest(lane: LaneDriver) -> None:
    lane.publish("status", priority=9)
    lane.publish("shutdown 1", "shutdown 2", priority=3)
    lane.publish("single")
    assert _order(lane, 4) == ["single", "shutdown 1", "shutdown 2", "status"]


def test_one_job_in_ten_is_of_the_lowest_priority(lane: LaneDriver) -> None:
    lane.publish("low 1", "low 2", priority=9)
    lane.publish(*range(30))
    order = _order(lane, 20)
    assert [order.index("low 1"), order.index("low 2")] == [9, 19]


def test_none_of_the_lower_priorities_starves_behind_another(lane: LaneDriver) -> None:
    lane.publish("first of a shutdown", priority=3)
    lane.publish("hundredth of a shutdown", priority=6)
    lane.publish(*(f"status {number}" for number in range(9)), priority=9)
    lane.publish(*range(30))
    order = _order(lane, 30)
    assert [order[place] for place in (9, 19, 29)] == ["status 0", "hundredth of a shutdown", "first of a shutdown"]


def test_the_same_job_published_twice_is_given_once(lane: LaneDriver) -> None:
    lane.publish("a", "a")
    assert lane.take() == ["a"]
    lane.clock.advance(SECOND)
    assert (lane.take(), lane.waiting()) == ([], [])


@pytest.mark.parametrize("where", ["in flight", "due later"])
def test_a_repeated_message_of_a_job_that_the_lane_has_is_dropped(lane: LaneDriver, where: str) -> None:
    lane.publish("a")
    lane.take()
    if where == "due later":
        lane.retry("a")
    lane.publish("a")
    for _ in range(2):
        assert lane.take() == []
        lane.clock.advance(SECOND)
    assert lane.waiting() == []


def test_a_job_does_not_wait_for_another_of_its_lane_that_is_due_much_later(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.retry(lane.take_next(), delay=timedelta(minutes=5))
    lane.publish("b")
    next_in = lane.look().next_in
    assert next_in is not None
    assert next_in <= 100 * MILLISECOND
    lane.clock.advance(104 * MILLISECOND)
    assert lane.take() == ["b"]


def test_a_job_that_is_found_does_not_wait_for_another_of_its_lane_that_is_due_much_later(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.retry(lane.take_next(), delay=timedelta(minutes=5))
    lane.push(celery_message(lane.lane, lane.job_id("b")))
    lane.schedule.find([lane.lane.account], [lane.lane.operation])
    lane.clock.advance(104 * MILLISECOND)
    assert lane.take() == ["b"]


def test_a_repeated_message_of_a_job_that_has_ended_is_never_called_and_costs_no_slot(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    lane.finish("a")
    lane.publish("a", "a", "b")
    lane.clock.advance(SECOND)
    assert lane.take() == ["b"]
    assert lane.slot("b") == timedelta(0)


def test_a_lease_counts_from_the_slot_and_microseconds_are_kept_to_the_last_digit(
    redis: Redis, clock: ManualClock
) -> None:
    lane = LaneDriver(redis, clock, limit=40)
    clock.advance(timedelta(microseconds=123_457))
    lane.publish("a", "b")
    lane.take()
    slots = [lane.taken_jobs[name].slot_us for name in "ab"]
    leases = lane.redis.zrange(lane.lane.leases, 0, -1, withscores=True)
    assert leases == [
        (lane.job_id(name).encode(), slot + LEASE // MICROSECOND) for name, slot in zip("ab", slots, strict=True)
    ]
    assert lane.pacing()["tat"] == slots[1] + lane.pace.interval_us
    assert lane.leased() == LEASE


def test_a_lane_that_is_empty_leaves_the_schedule_and_an_arrival_brings_it_back(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.finish(lane.take_next())
    lane.clock.advance(SECOND)
    lane.take()
    assert lane.scheduled() is None
    lane.publish("b")
    assert lane.redis.smembers(ARRIVALS) == {lane.lane.name.encode()}
    assert (lane.take(), lane.redis.exists(ARRIVALS)) == (["b"], 0)


def test_lanes_that_are_due_take_turns(redis: Redis, clock: ManualClock) -> None:
    lanes = [LaneDriver(redis, clock, limit=500, lane=Lane(account, "live.StopMPUTask")) for account in "abc"]
    for one in lanes:
        one.publish(*range(30))
    book = book_for(*(one.lane for one in lanes), pace=lanes[0].pace)
    given = [{job.lane.account for job in lanes[0].look(12, book=book).jobs} for _ in range(2)]
    assert given == [{"a", "b", "c"}] * 2


def test_a_busy_lane_does_not_keep_one_that_had_nothing_from_its_turn(redis: Redis, clock: ManualClock) -> None:
    busy, quiet = (LaneDriver(redis, clock, limit=500, lane=Lane(account, "live.StopMPUTask")) for account in "ab")
    book = book_for(busy.lane, quiet.lane, pace=busy.pace)
    busy.publish(*range(100))
    busy.look(4, book=book)
    quiet.publish("x")
    assert "b" in {job.lane.account for job in busy.look(5, book=book).jobs}


def test_a_lane_of_an_account_that_a_worker_does_not_have_stays_due_for_one_that_has(lane: LaneDriver) -> None:
    other = book_for(Lane("other", "live.StopMPUTask"), pace=lane.pace)
    lane.publish("a")
    assert lane.look(book=other).unserved_lanes == []
    lane.clock.advance(SECOND)  # its workers are busy
    assert lane.look(book=other).unserved_lanes == [lane.lane]
    assert lane.take() == ["a"]


def test_a_worker_that_can_hold_no_more_wakes_another_for_what_is_left(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock, limit=500)
    lane.publish(*range(3))
    redis.delete(WAKE)
    lane.schedule.take(2, lease=LEASE, book=lane.book, full=True)
    assert redis.llen(WAKE) == 1


def test_jobs_of_accounts_that_nobody_has_are_taken_without_slots_all_at_once(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    take = lane.schedule.take_unserved([lane.lane], 50, lease=LEASE)
    assert [(job.job_id, job.slot_us) for job in take.jobs] == [(lane.job_id("a"), 0), (lane.job_id("b"), 0)]


def test_an_unannounced_job_is_found_by_its_lanes_name(lane: LaneDriver) -> None:
    lane.push(celery_message(lane.lane, lane.job_id("a")))
    assert lane.lanes.holding() == set()
    assert lane.take() == []
    assert lane.schedule.find(["other", lane.lane.account], ["live.Other", lane.lane.operation]) == 1
    assert lane.lanes.holding() == {lane.lane}
    assert lane.take() == ["a"]


def test_a_crowd_of_lanes_that_nobody_has_announced_is_found_at_once(lane: LaneDriver) -> None:
    lanes = [Lane(f"account-{number}", lane.lane.operation) for number in range(90)]
    for one in lanes:
        lane.redis.lpush(one.queue, celery_message(one, f"{one.name}.a"))
    assert lane.schedule.find([one.account for one in lanes], [lane.lane.operation]) == 90
    assert lane.lanes.holding() == set(lanes)


def test_a_lane_can_be_viewed(lane: LaneDriver) -> None:
    assert (lane.lanes.view(lane.lane).pace, lane.lanes.view(lane.lane).waiting) == (None, 0)
    lane.publish(*range(5))
    lane.publish("low", priority=9)
    lane.retry(lane.take_next(), delay=SECOND)
    lane.take_next()
    lane.throttle(lane.take_next(), hint=4 * SECOND)
    view = lane.lanes.view(lane.lane)
    assert (view.waiting, view.in_flight, view.deferred, view.rest) == (4, 1, 1, 4 * SECOND)
    assert view.pace == pytest.approx(4.825, abs=0.001)


def test_a_backlog_of_quick_calls_runs_at_the_limit(redis: Redis, clock: ManualClock) -> None:
    run = LaneSimulation(redis, clock, Lane("live-cn", "live.StopMPUTask"), limit=10, latency=50 * MILLISECOND)
    span = run.run(jobs=300)
    ideal = timedelta(seconds=299 / 10)
    assert ideal < span <= 1.05 * ideal
    assert all(later - earlier > 1_000_000 for earlier, later in zip(run.calls, run.calls[10:], strict=False))


def test_an_announcement_leaves_one_token_for_one_idle_worker(lane: LaneDriver) -> None:
    for _ in range(3):
        announce(lane.redis, lane.lane)
    assert lane.redis.llen(WAKE) == 1


def _order(lane: LaneDriver, count: int) -> list[str]:
    order = []
    for _ in range(count):
        order.append(lane.take_next())
        lane.finish(order[-1])
    return order

"""What a worker's reports do to a job and its lane."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from redis import Redis

from streamstop._core.lane import Lane, result_key
from streamstop._core.lane_types import AttemptHistory, LastCall, Queued
from streamstop._wire.reports import Ended, Released, Renewed
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import ENDED, KEPT, LEASE, WAITS_AGAIN, LaneDriver
from tests.support.manual_clock import ManualClock

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
INTERVAL = timedelta(microseconds=103_627)


def test_an_outcome_is_recorded_for_as_long_as_it_is_kept_and_published_in_the_step_that_ends_the_job(
    lane: LaneDriver,
) -> None:
    news = lane.redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py gives it no types
    news.subscribe(result_key(lane.job_id("a")))
    lane.publish("a")
    assert lane.finish(lane.take_next())
    assert lane.record("a") == ENDED
    assert lane.redis.ttl(result_key(lane.job_id("a"))) == KEPT.total_seconds()
    assert [news.get_message()["type"], news.get_message()["data"]] == ["subscribe", ENDED.encode()]
    news.close()


def test_once_every_job_has_ended_only_the_pace_is_left_and_for_a_day(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    for _ in range(2):
        lane.finish(lane.take_next())
    lane.clock.advance(2 * LEASE)
    lane.take()
    lane.sweep()
    left = {key for key in lane.everything() if key.startswith((b"streamstop.lane.", b"streamstop.work.live-cn"))}
    assert left == {lane.lane.pace.encode()}
    assert (lane.scheduled(), lane.leased()) == (None, None)
    lane.clock.advance(timedelta(days=1))
    assert not lane.redis.exists(lane.lane.pace)


def test_the_pace_of_a_lane_with_few_calls_a_day_does_not_expire_between_them(lane: LaneDriver) -> None:
    for number in range(20):
        lane.publish(number)
        lane.finish(lane.take_next())
        ttl = lane.redis.ttl(lane.lane.pace)
        assert ttl > timedelta(hours=22).total_seconds()
        lane.clock.advance(timedelta(hours=5))


def test_a_report_by_anyone_but_the_owner_changes_nothing(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    job = lane.taken_jobs[lane.take_next()]
    lane.clock.advance(LEASE)
    lane.sweep()
    lane.take()
    lane.taken_jobs["a"] = job
    before = lane.everything()
    assert not lane.finish("a")
    assert lane.retry("a") is None
    assert lane.throttle("a") is None
    assert lane.release("a") == [False]
    assert lane.everything() == before


@pytest.mark.parametrize(
    "report",
    [
        lambda lane: lane.finish("a"),
        lambda lane: lane.retry("a"),
        lambda lane: lane.throttle("a"),
        lambda lane: lane.release("a"),
        lambda lane: lane.cancel("b"),
        lambda lane: lane.sweep(),
    ],
    ids=["end", "retry", "throttle", "release", "cancel", "sweep"],
)
def test_a_script_that_runs_twice_does_its_work_once(lane: LaneDriver, report: Callable[[LaneDriver], object]) -> None:
    lane.publish(*"abcdef")
    lane.take()
    report(lane)
    before = lane.everything()
    report(lane)
    assert lane.everything() == before


def test_each_report_of_a_batch_is_judged_by_itself(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    first, second = (lane.taken_jobs[lane.take_next()] for _ in range(2))
    end = Ended(job=first, call=LastCall.WELL, record=ENDED, kept=KEPT)
    reported = lane.report(end, end, Released(job=second))
    assert reported.rests == [timedelta(0), None, timedelta(0)]
    assert (lane.record("a"), lane.waiting()) == (ENDED, ["b"])


def test_the_job_that_follows_is_in_its_lane_in_the_step_that_ends_the_one_before(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    other = Lane("other", "live.DescribeTask")
    then = Queued(other, 9, celery_message(other, "other.live.DescribeTask.1", priority=9).decode())
    lane.report(Ended(job=lane.taken_jobs["a"], call=LastCall.WELL, record=ENDED, kept=KEPT, then=then))
    assert lane.redis.lrange(other.waiting[3], 0, -1) == [then.message.encode()]
    assert other in lane.lanes.holding()


# Retried jobs


def test_a_job_that_is_tried_again_waits_at_the_front_of_its_priority_when_it_is_due(lane: LaneDriver) -> None:
    lane.publish("first", "second", "third", priority=3)
    assert lane.take_next() == "first"
    assert lane.retry("first", delay=3 * SECOND) == timedelta(0)
    assert (lane.record("first"), lane.in_flight()) == (WAITS_AGAIN, 0)
    assert lane.take_next() == "second"
    lane.publish("urgent")
    lane.clock.advance(3 * SECOND)
    assert [lane.take_next() for _ in range(3)] == ["urgent", "first", "third"]


def test_a_lane_with_nothing_else_is_looked_at_when_its_job_is_due_and_not_before(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    lane.retry("a", delay=3 * SECOND)
    assert lane.scheduled() == 3 * SECOND
    lane.clock.advance(3 * SECOND - timedelta(microseconds=1))
    assert lane.take() == []
    lane.clock.advance(timedelta(microseconds=1))
    assert lane.take() == ["a"]


def test_jobs_that_are_due_together_wait_again_in_the_order_in_which_they_were_due(lane: LaneDriver) -> None:
    lane.publish("c", "a", "b")
    for delay in (3, 1, 2):
        lane.retry(lane.take_next(), delay=delay * SECOND)
    lane.clock.advance(10 * SECOND)
    assert [lane.take_next() for _ in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize("back", ["retry", "throttle"])
def test_a_job_is_given_with_its_history(lane: LaneDriver, back: str) -> None:
    history = AttemptHistory(
        attempts=3, calls=5, lost_deliveries=0, signed_again=True, left=1_767_225_600, in_doubt=True, bugs=1
    )
    lane.publish("a")
    lane.take()
    getattr(lane, back)("a", history=history)
    lane.clock.advance(3 * SECOND)
    assert lane.look().jobs[0].history == history


def test_a_released_job_takes_a_new_history_and_a_lost_worker_is_added_to_it(lane: LaneDriver) -> None:
    history = AttemptHistory(calls=1, in_doubt=True, bugs=1)
    lane.publish("a")
    lane.take()
    lane.report(Released(job=lane.taken_jobs["a"], history=history))
    assert lane.look().jobs[0].history == history
    lane.clock.advance(LEASE)
    assert lane.expired_leases() == 1
    assert lane.look().jobs[0].history == replace(history, lost_deliveries=1)


@pytest.mark.parametrize(
    ("text", "history"),
    [
        ("", AttemptHistory()),
        ("2 3 1", AttemptHistory(attempts=2, calls=3, lost_deliveries=1)),
        ("2 3 1 1 9 1", AttemptHistory(2, 3, 1, signed_again=True, left=9, in_doubt=True)),
        ("2 3 1 1 9 1 1", AttemptHistory(2, 3, 1, signed_again=True, left=9, in_doubt=True, bugs=1)),
        ("2 3 1 1 9 1 1 5 of a version to come", AttemptHistory()),
        ("2 3 1 1 9 1 1 5", AttemptHistory(2, 3, 1, signed_again=True, left=9, in_doubt=True, bugs=1)),
    ],
)
def test_a_history_of_another_version_is_read_as_far_as_possible(text: str, history: AttemptHistory) -> None:
    assert AttemptHistory.parse(text) == history


def test_an_earlier_version_reads_the_numbers_of_a_history_that_it_knows() -> None:
    text = str(AttemptHistory(2, 3, 1, signed_again=True, left=9, in_doubt=True, bugs=1))
    assert text.split()[:6] == [
        "2",
        "3",
        "1",
        "1",
        "9",
        "1",
    ]


@pytest.mark.parametrize("name", ["", "owner", "a:b", "ünïcode 雨", "line\nbreak", "%d", "*", "x" * 400])
def test_an_id_may_have_any_characters(lane: LaneDriver, name: str) -> None:
    lane.publish(name)
    lane.take()
    lane.retry(name, delay=timedelta(0))
    lane.clock.advance(SECOND)
    assert lane.look().jobs[0].history == AttemptHistory(attempts=1, calls=1)
    assert lane.finish(name)
    assert (lane.record(name), lane.redis.exists(lane.lane.jobs)) == (ENDED, 0)


@pytest.mark.parametrize(
    ("priority", "level"),
    [
        (-1, 0), (0, 0), (2.9, 0), (3, 1), (5, 1), (6, 2), (9, 3), (10, 3), (1e300, 3), ("6", 2), ("high", 0),
        (None, 0), (True, 0), ([6], 0), ({}, 0),
    ],
)  # fmt: skip
def test_a_job_that_returns_takes_the_level_of_its_priority_whatever_a_foreign_message_says(
    lane: LaneDriver, priority: object, level: int
) -> None:
    lane.push(celery_message(lane.lane, lane.job_id("a"), priority=priority))
    lane.publish()
    lane.take()
    lane.throttle("a")
    assert [lane.redis.llen(key) for key in lane.lane.waiting] == [int(place == level) for place in range(4)]


# Released jobs


def test_a_job_that_is_given_back_is_the_next_and_has_its_slot_again(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    lane.take()
    slot = lane.taken_jobs["a"].slot_us
    assert lane.release("a") == [True]
    assert lane.take() == ["a"]
    assert lane.taken_jobs["a"].slot_us == slot


def test_jobs_that_are_given_back_together_keep_their_order_and_give_all_their_slots_back(lane: LaneDriver) -> None:
    quick = LaneDriver(lane.redis, lane.clock, limit=40)
    quick.publish(*range(9))
    assert quick.take() == ["0", "1", "2"]
    assert quick.release(0, 1, 2) == [True] * 3
    assert quick.waiting()[:3] == ["0", "1", "2"]
    assert quick.take() == ["0", "1", "2"]
    assert quick.slot(0) == timedelta(0)


def test_a_slot_is_not_given_back_once_a_later_one_is_given(lane: LaneDriver) -> None:
    lane.publish("a", "b", "c")
    lane.take()
    lane.take_next()
    lane.release("a")
    assert lane.take_next() == "a"
    assert lane.taken_jobs["a"].slot_us == lane.taken_jobs["b"].slot_us + INTERVAL // timedelta(microseconds=1)


@pytest.mark.parametrize("limit", [0.5, 10])
def test_a_job_that_ends_uncalled_gives_its_slot_to_the_next(lane: LaneDriver, limit: float) -> None:
    lane = LaneDriver(lane.redis, lane.clock, limit=limit)
    lane.publish("expired", "next")
    lane.finish(lane.take_next(), call=LastCall.NONE)
    assert lane.take() == ["next"]
    assert lane.taken_jobs["next"].slot_us == lane.taken_jobs["expired"].slot_us


def test_a_renewed_job_keeps_its_lease(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    for _ in range(5):
        lane.clock.advance(LEASE - MILLISECOND)
        assert lane.report(Renewed(job=lane.taken_jobs["a"], lease=LEASE)).rests == [timedelta(0)]
        assert lane.expired_leases() == 0
    assert lane.finish("a")


def test_a_lease_that_is_renewed_before_its_slot_ends_no_earlier(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock, limit=40)
    lane.publish("a", "b")
    lane.take()
    before = redis.zscore(lane.lane.leases, lane.job_id("b"))
    lane.report(Renewed(job=lane.taken_jobs["b"], lease=LEASE))
    assert redis.zscore(lane.lane.leases, lane.job_id("b")) == before

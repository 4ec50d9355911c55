"""The rules of a lane, one a test: scripts as they are, on a Redis in memory whose clock the tests move."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop.lanes import MOST_LAPSES, Claimed, Lane, LastCall, Pace, Tries
from streamstop.lanes.names import result_key
from tests.support.celery_messages import celery_message, envelope
from tests.support.lane_hands import CANCELLED, ENDED, LEASE, WAITS_AGAIN, LaneHands
from tests.support.lane_simulation import LaneSimulation
from tests.support.moved_clock import MovedClock, fake_redis

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
INTERVAL = timedelta(microseconds=103_627)  # 10 a second, less 3.5 %


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def redis(clock: MovedClock) -> Iterator[Redis]:
    with fake_redis(clock) as redis:
        yield redis


@pytest.fixture
def lane(redis: Redis, clock: MovedClock) -> LaneHands:
    """A lane of 10 calls a second."""
    return LaneHands(redis, clock, limit=10)


# Admission


def test_a_job_goes_from_its_lane_to_the_ready_queue_and_the_lane_keeps_a_copy(lane: LaneHands) -> None:
    lane.publish("a")
    assert lane.admit() == 1
    assert (lane.waiting(), lane.ready(), lane.in_flight()) == ([], ["a"], 1)
    message = celery_message(lane.lane, lane.job_id("a"))
    assert lane.redis.hgetall(lane.jobs_key) == {lane.job_id("a").encode(): message}


def test_no_job_is_admitted_more_than_a_quarter_second_before_its_slot(lane: LaneHands) -> None:
    lane.publish(*range(10))
    assert lane.admit() == 3  # slots at 0, 103 and 206 ms
    lane.clock.advance(100 * MILLISECOND)
    assert lane.admit() == 1


def test_a_lane_with_nothing_in_flight_admits_its_next_job_a_whole_second_ahead(
    redis: Redis, clock: MovedClock
) -> None:
    lane = LaneHands(redis, clock, limit=1.1)
    lane.publish("a", "b")
    assert lane.admit() == 1
    lane.run_next()
    assert lane.finish("a")
    assert lane.ready() == ["b"]
    assert lane.claim("b").wait == timedelta(microseconds=lane.pace.interval_us)


def test_no_more_jobs_are_in_flight_than_the_window_allows(redis: Redis, clock: MovedClock) -> None:
    lane = LaneHands(redis, clock, limit=2)
    lane.publish(*range(9))
    for _ in range(5):
        lane.admit()
        clock.advance(SECOND)
    assert lane.in_flight() == 2


def test_every_report_admits_the_next_job(lane: LaneHands) -> None:
    lane.publish(*range(20))
    lane.admit()
    for number in range(20):
        assert lane.run_next().what is Claimed.GO
        assert lane.finish(number)
    assert lane.in_flight() == 0


def test_the_most_urgent_level_goes_first_and_within_a_level_the_oldest(lane: LaneHands) -> None:
    lane.publish("status", priority=9)
    lane.publish("shutdown 1", "shutdown 2", priority=3)
    lane.publish("single")
    assert _order_of_admission(lane, 4) == ["single", "shutdown 1", "shutdown 2", "status"]


def test_one_admission_in_ten_takes_the_lowest_priority(lane: LaneHands) -> None:
    lane.publish("low 1", "low 2", priority=9)
    lane.publish(*range(30))
    order = _order_of_admission(lane, 20)
    assert [order.index("low 1"), order.index("low 2")] == [9, 19]


def test_none_of_the_lower_priorities_starves_behind_another(lane: LaneHands) -> None:
    lane.publish("first of a shutdown", priority=3)
    lane.publish("hundredth of a shutdown", priority=6)
    lane.publish(*(f"status {number}" for number in range(9)), priority=9)
    lane.publish(*range(30))
    order = _order_of_admission(lane, 30)
    assert [order[place] for place in (9, 19, 29)] == ["status 0", "hundredth of a shutdown", "first of a shutdown"]


def test_the_producers_word_on_the_pace_counts_until_a_worker_has_spoken(lane: LaneHands) -> None:
    vendors = Pace.of_limit(5, of_account=False)
    lane.lanes.admit(lane.lane, vendors)
    assert lane.pacing()["interval"] == vendors.interval_us
    lane.publish("a")
    lane.sweep()
    lane.lanes.admit(lane.lane, vendors)
    assert lane.pacing()["interval"] == lane.pace.interval_us


def test_the_same_job_published_twice_is_admitted_once(lane: LaneHands) -> None:
    lane.publish("a", "a")
    assert lane.admit() == 1
    assert (lane.waiting(), lane.ready()) == ([], ["a"])


def test_a_repeated_message_of_a_job_that_has_ended_is_never_called(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.run_next()
    lane.finish("a")
    lane.publish("a")
    lane.sweep()
    assert lane.take() == "a"
    assert lane.claim("a").what is Claimed.STALE
    assert lane.in_flight() == 0


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"not JSON",
        b"7",
        b"[1, 2]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"headers": null, "content-type": "application/json"}',
        b'{"headers": {"task": "streamstop.execute", "id": 7}, "content-type": "application/json"}',
        b'{"headers": {"task": "streamstop.execute"}, "content-type": "application/json"}',
        b'{"headers": {"task": "another.task", "id": "x"}, "content-type": "application/json"}',
        b'{"headers": {"task": "streamstop.execute", "id": "x"}, "content-type": "application/x-python-serialize"}',
        b'{"headers": {"task": "streamstop.execute", "id": "x"}}',
    ],
)
def test_a_message_that_no_worker_can_read_is_set_aside_and_holds_nobody_up(lane: LaneHands, message: bytes) -> None:
    lane.push(message)
    lane.publish("a")
    assert lane.admit() == 1
    assert (lane.unreadable(), lane.ready()) == ([message], ["a"])


def test_what_kombu_gives_back_when_a_worker_lost_redis_is_left_to_the_jobs_lease(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    given_back = envelope(lane.lane, lane.job_id("a")) | {
        "redelivered": True,
        "body": {"__type__": "bytes", "__value__": "W10="},
    }
    lane.push(json.dumps(given_back).encode())
    lane.clock.advance(SECOND)
    assert lane.sweep().admitted == 0
    assert (lane.unreadable(), lane.waiting(), lane.ready()) == ([], [], ["a"])


@pytest.mark.parametrize("suffix", [":owner", ":tries"])
def test_a_foreign_id_that_reads_as_what_the_lane_keeps_of_another_job_is_set_aside(
    lane: LaneHands, suffix: str
) -> None:
    lane.publish("a", f"a{suffix}")
    lane.admit()
    assert (lane.ready(), len(lane.unreadable())) == (["a"], 1)
    assert lane.claim("a").what is Claimed.GO


@pytest.mark.parametrize("name", ["", "owner", "a:b", "ünïcode 雨", "line\nbreak", "nul\0", "%d", "*", "x" * 400])
def test_an_id_may_have_any_characters(lane: LaneHands, name: str) -> None:
    lane.publish(name)
    lane.admit()
    assert lane.claim(name).what is Claimed.GO
    lane.defer(name, delay=timedelta(0))
    lane.sweep()
    assert lane.claim(name).tries == Tries(attempts=1, calls=1)
    assert lane.finish(name)
    assert (lane.record(name), lane.redis.exists(lane.jobs_key)) == (ENDED, 0)


@pytest.mark.parametrize(
    ("priority", "level"),
    [
        (-1, 0), (0, 0), (2.9, 0), (3, 1), (5, 1), (6, 2), (9, 3), (10, 3), (1e300, 3), ("6", 2), ("high", 0),
        (None, 0), (True, 0), ([6], 0), ({}, 0),
    ],
)  # fmt: skip
def test_a_job_that_returns_takes_the_level_of_its_priority_whatever_a_foreign_message_says(
    lane: LaneHands, priority: object, level: int
) -> None:
    lane.push(celery_message(lane.lane, lane.job_id("a"), priority=priority))
    lane.admit()
    lane.claim("a")
    lane.pause("a")
    assert [lane.redis.llen(key) for key in lane.lane.waiting] == [int(place == level) for place in range(4)]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"properties": None},
        {"properties": 5},
        {"properties": "text"},
        {"properties": []},
        {"properties": {}},
        {"properties": {"delivery_tag": 1}},
        {"properties": {"delivery_tag": "t", "body_encoding": "rot13"}},
        {"body": None},
        {"body": 5},
        {"body": []},
        {"body": "%%%="},
        {"body": "abcde"},
        {"body": "ab=c"},
    ],
)
def test_what_kombu_could_make_no_message_of_never_reaches_a_worker(lane: LaneHands, spoilt: dict[str, object]) -> None:
    message = json.dumps(envelope(lane.lane, lane.job_id("a")) | spoilt).encode()
    lane.push(message)
    assert (lane.admit(), lane.unreadable()) == (0, [message])


def test_one_run_goes_through_at_most_five_hundred_unreadable_messages_and_the_next_goes_on(lane: LaneHands) -> None:
    for _ in range(1200):
        lane.push(b"not JSON")
    lane.publish("a")
    assert (lane.admit(), lane.unreadable()) == (0, [b"not JSON"] * 500)
    assert [lane.sweep().admitted for _ in range(2)] == [0, 1]
    assert (lane.unreadable(), lane.ready()) == ([b"not JSON"] * 1000, ["a"]), "of the last thousand there are letters"


def test_one_run_goes_through_at_most_five_hundred_repeated_messages(lane: LaneHands) -> None:
    lane.publish(*["a"] * 600, "b")
    assert (lane.admit(), lane.sweep().admitted, lane.ready()) == (1, 1, ["a", "b"])


# Claims and pace


def test_claims_are_given_slots_one_interval_apart(lane: LaneHands) -> None:
    lane.publish("a", "b", "c")
    lane.admit()
    assert [lane.claim(name).wait for name in "abc"] == [timedelta(0), INTERVAL, 2 * INTERVAL]


def test_a_lane_that_was_idle_saves_up_no_slots(lane: LaneHands) -> None:
    lane.clock.advance(timedelta(hours=1))
    lane.publish("a", "b")
    lane.admit()
    assert [lane.claim(name).wait for name in "ab"] == [timedelta(0), INTERVAL]


def test_an_owner_that_woke_late_claims_again_for_another_slot(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    lane.clock.advance(20 * MILLISECOND)
    assert lane.claim("a").wait == INTERVAL - 20 * MILLISECOND


def test_a_second_delivery_of_a_claimed_job_is_stale(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a", owner="first")
    assert lane.claim("a", owner="second").what is Claimed.STALE


def test_a_job_that_was_never_admitted_cannot_be_claimed(lane: LaneHands) -> None:
    lane.publish("a")
    assert lane.claim("a").what is Claimed.STALE


def test_a_job_whose_slot_is_more_than_a_second_off_goes_back_to_the_front_of_its_lane(lane: LaneHands) -> None:
    lane.publish("a", "b", "c")
    lane.admit()
    lane.run_next()
    lane.pause("a", hint=5 * SECOND)
    assert lane.take() == "b"
    assert lane.claim("b").what is Claimed.PARKED
    assert lane.waiting() == ["b", "a"]


def test_the_slot_of_a_lane_that_rests_for_less_than_a_second_is_the_end_of_its_rest(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.run_next()
    lane.pause("a", hint=600 * MILLISECOND)
    assert lane.claim("b").wait == 600 * MILLISECOND


def test_an_expired_job_is_the_owners_to_record_and_costs_no_slot(lane: LaneHands) -> None:
    lane.publish("late", "next")
    lane.admit()
    lane.clock.advance(SECOND)
    claim = lane.claim("late", expires_in=-MILLISECOND)
    assert (claim.what, claim.at) == (Claimed.EXPIRED, lane.now())
    assert lane.finish("late", call=LastCall.NONE)
    assert lane.claim("next").wait == timedelta(0)


def test_a_job_that_ends_uncalled_gives_its_admission_to_the_next(redis: Redis, clock: MovedClock) -> None:
    lane = LaneHands(redis, clock, limit=0.5)
    lane.publish("late", "next")
    lane.admit()
    lane.claim("late", expires_in=-MILLISECOND)
    lane.finish("late", call=LastCall.NONE)
    assert lane.ready() == ["late", "next"]


def test_a_job_that_would_expire_before_its_slot_has_expired_already(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.claim("a")
    assert lane.claim("b", expires_in=INTERVAL).what is Claimed.EXPIRED


@pytest.mark.parametrize("microseconds", range(1, 9))
def test_a_job_does_not_expire_a_microsecond_early(lane: LaneHands, microseconds: int) -> None:
    lane.clock.advance(timedelta(microseconds=microseconds))
    lane.publish("a")
    lane.admit()
    assert lane.claim("a", expires_in=timedelta(microseconds=1)).what is Claimed.GO
    assert lane.claim("a", expires_in=INTERVAL).what is Claimed.EXPIRED


def test_a_claim_tells_the_jobs_history(lane: LaneHands) -> None:
    history = Tries(attempts=3, calls=5, lapses=0, signed_again=True)
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    lane.defer("a", tries=history)
    lane.clock.advance(3 * SECOND)
    lane.sweep()
    assert lane.claim("a").tries == history


def test_microseconds_are_kept_to_the_last_digit(lane: LaneHands) -> None:
    lane.clock.advance(timedelta(microseconds=123_457))
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    assert lane.pacing()["tat"] == lane.clock.now_us + lane.pace.interval_us
    leases = lane.redis.zrange(lane.lane.keys[4], 0, -1, withscores=True)
    assert leases == [(lane.job_id("a").encode(), lane.clock.now_us + 15_000_000)]


# Ends


def test_an_outcome_is_recorded_for_a_week_and_published_in_the_step_that_ends_the_job(lane: LaneHands) -> None:
    news = lane.redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py gives it no types
    news.subscribe(result_key(lane.job_id("a")))
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    assert lane.finish("a")
    assert lane.record("a") == ENDED
    assert lane.redis.ttl(result_key(lane.job_id("a"))) == timedelta(days=7).total_seconds()
    assert [news.get_message()["type"], news.get_message()["data"]] == ["subscribe", ENDED.encode()]
    news.close()


def test_once_every_job_has_ended_only_the_pace_is_left_and_for_a_day(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.sweep()
    for name in "ab":
        lane.run_next()
        lane.finish(name)
    lane.sweep()
    records = {result_key(lane.job_id(name)).encode() for name in "ab"}
    assert set(lane.redis.keys()) - records == {lane.pace_key.encode()}
    lane.clock.advance(timedelta(days=1))
    assert set(lane.redis.keys()) == records


@pytest.mark.parametrize("claimed", [False, True])
def test_the_pace_of_a_lane_that_never_called_is_gone_after_a_day_too(lane: LaneHands, *, claimed: bool) -> None:
    lane.publish("a")
    lane.cancel("a")
    lane.admit()
    if claimed:
        lane.claim("a")
    assert lane.redis.ttl(lane.pace_key) == timedelta(days=1).total_seconds()


def test_a_pace_lives_for_a_day_from_the_lanes_last_call(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.claim("a")
    lane.clock.advance(timedelta(hours=1))
    lane.finish("a")
    lane.sweep()
    assert lane.redis.ttl(lane.pace_key) == timedelta(hours=23).total_seconds()
    lane.claim("b")
    assert lane.redis.ttl(lane.pace_key) == timedelta(hours=24).total_seconds()


def test_a_report_by_anyone_but_the_owner_changes_nothing(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.claim("a", owner="owner")
    before = _dump(lane)
    assert lane.finish("a", owner="other") is False
    assert lane.defer("a", owner="other") is None
    assert lane.pause("a", owner="other") is None
    assert lane.release("a", owner="other") is False
    assert lane.claim("a", owner="other").what is Claimed.STALE
    assert _dump(lane) == before


@pytest.mark.parametrize(
    "report",
    [
        lambda lane: lane.finish("a"),
        lambda lane: lane.defer("a"),
        lambda lane: lane.pause("a"),
        lambda lane: lane.cancel("b"),
        lambda lane: lane.sweep(),
        lambda lane: lane.admit(),
    ],
    ids=["finish", "defer", "pause", "cancel", "sweep", "admit"],
)
def test_a_script_that_runs_twice_at_once_does_its_work_once(
    lane: LaneHands, report: Callable[[LaneHands], object]
) -> None:
    lane.publish(*"abcdefghijkl")
    lane.admit()
    lane.claim("a")
    report(lane)
    before = _dump(lane)
    report(lane)
    assert _dump(lane) == before


# Deferred


def test_a_deferred_job_waits_again_at_the_front_of_its_priority_when_it_is_due(lane: LaneHands) -> None:
    lane.publish("first", "second", "third", priority=3)
    lane.admit()
    lane.run_next()
    assert lane.defer("first", delay=3 * SECOND) == timedelta(0)
    assert lane.record("first") == WAITS_AGAIN
    for name in ("second", "third"):
        lane.run_next()
        lane.finish(name)
    lane.publish("fourth", priority=3)
    lane.publish("urgent")
    lane.redis.delete(lane.pace_key)  # so that all are admitted at once
    lane.clock.advance(3 * SECOND)
    assert (lane.sweep().due, lane.ready()) == (1, ["urgent", "first", "fourth"])
    assert lane.sweep().due == 0


def test_a_deferred_job_stays_where_it_is_until_it_is_due(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    lane.defer("a", delay=3 * SECOND)
    lane.clock.advance(3 * SECOND - timedelta(microseconds=1))
    assert (lane.sweep().due, lane.lanes.view(lane.lane).deferred) == (0, 1)


def test_deferred_jobs_that_are_due_together_wait_again_in_the_order_in_which_they_were_due(lane: LaneHands) -> None:
    lane.publish("c", "a", "b")
    lane.admit()
    for name, delay in (("c", 3), ("a", 1), ("b", 2)):
        lane.run_next()
        lane.defer(name, delay=delay * SECOND)
    lane.clock.advance(10 * SECOND)
    lane.sweep()
    assert lane.ready() == ["a", "b", "c"]


def test_a_deferred_job_takes_nothing_of_the_window(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    lane.defer("a")
    assert lane.in_flight() == 0


# Throttled


def test_a_lane_that_is_throttled_rests_for_the_vendors_hint_and_returns_at_half_its_pace(lane: LaneHands) -> None:
    lane.publish("a", "b", "c", "d")
    lane.admit()
    lane.run_next()
    assert lane.pause("a", hint=7 * SECOND) == 7 * SECOND
    for name in lane.take_all():
        lane.claim(name)  # parks
    lane.clock.advance(7 * SECOND - timedelta(microseconds=1))
    assert lane.sweep().admitted == 0
    lane.clock.advance(timedelta(microseconds=1))
    assert lane.sweep().admitted == 2  # 206 ms apart, so a third is further off than a quarter second
    assert [lane.claim(name).wait for name in lane.take_all()] == [timedelta(0), 2 * INTERVAL]


def test_without_a_hint_a_lane_rests_one_second_doubling_to_thirty(lane: LaneHands) -> None:
    lane.publish("a")
    lane.sweep()
    rests = []
    for _ in range(8):
        lane.run_next()
        rest = lane.pause("a")
        assert rest is not None
        rests.append(rest.total_seconds())
        lane.clock.advance(max(rest, 3 * SECOND))
        lane.sweep()
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_lane_never_falls_below_a_twentieth_of_its_pace(lane: LaneHands) -> None:
    lane.publish("a")
    lane.sweep()
    shares = []
    for _ in range(6):
        lane.run_next()
        lane.pause("a")
        shares.append(lane.pacing()["share"])
        lane.clock.advance(timedelta(minutes=1))
        lane.sweep()
    assert shares == [50, 25, 12, 6, 5, 5]


def test_each_success_gives_a_throttled_lane_a_twentieth_of_its_pace_back(lane: LaneHands) -> None:
    lane.publish("a", *range(12))
    lane.admit()
    lane.run_next()
    lane.pause("a")
    shares = []
    for _ in range(13):
        lane.clock.advance(2 * SECOND)
        lane.sweep()
        name = lane.take()
        lane.claim(name)
        lane.finish(name)
        shares.append(lane.pacing()["share"])
    assert shares == [55, 60, 65, 70, 75, 80, 85, 90, 95, 100, 100, 100, 100]


def test_calls_that_were_under_way_when_a_lane_was_throttled_do_not_lengthen_its_rest(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.claim("a")
    lane.claim("b")
    assert lane.pause("a") == SECOND
    lane.clock.advance(300 * MILLISECOND)
    assert lane.pause("b") == 700 * MILLISECOND
    assert lane.pacing()["share"] == 50


def test_a_hint_that_asks_for_more_than_the_rest_that_has_begun_lengthens_it(lane: LaneHands) -> None:
    lane.publish("a", "b", "c")
    lane.admit()
    for name in ("a", "b", "c"):
        lane.claim(name)
    assert lane.pause("a") == SECOND
    assert lane.pause("b", hint=7 * SECOND) == 7 * SECOND
    assert lane.pause("c", hint=2 * SECOND) == 7 * SECOND
    assert (lane.pacing()["share"], lane.pacing()["throttles"]) == (50, 1)


@pytest.mark.parametrize("back", [10 * MILLISECOND, timedelta(hours=1), timedelta(days=30)])
def test_a_clock_that_is_set_back_holds_no_lane_up_for_longer_than_a_slot(lane: LaneHands, back: timedelta) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.run_next()
    lane.clock.advance(-back)
    assert lane.finish("a")
    lane.clock.advance(1200 * MILLISECOND)
    lane.sweep()
    assert lane.take() == "b"
    assert lane.claim("b").what is Claimed.GO


def test_a_clock_that_is_set_back_holds_no_job_of_a_killed_worker_for_longer_than_two_leases(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.run_next()
    lane.clock.advance(-timedelta(days=1))
    lane.sweep()
    lane.clock.advance(2 * LEASE + SECOND)
    assert lane.sweep().lapsed == 1


def test_a_clock_that_is_set_back_begins_no_rest_again_that_is_over(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.run_next()
    assert lane.pause("a", hint=2 * SECOND) == 2 * SECOND
    lane.clock.advance(3 * SECOND)
    lane.sweep()
    lane.clock.advance(-timedelta(hours=1))
    lane.sweep()
    lane.clock.advance(1200 * MILLISECOND)
    assert lane.claim(lane.take()).what is Claimed.GO


def test_a_clock_that_is_set_back_lengthens_a_rest_by_no_more_than_its_own_span(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.run_next()
    assert lane.pause("a", hint=7 * SECOND) == 7 * SECOND
    lane.clock.advance(-timedelta(hours=1))
    lane.sweep()
    lane.clock.advance(7 * SECOND + timedelta(milliseconds=1))
    lane.sweep()
    assert lane.claim(lane.take()).what is Claimed.GO


def test_a_clock_that_is_set_back_lengthens_no_rest_and_no_wait_beyond_ten_minutes(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    for name in lane.take_all():
        lane.claim(name)
    lane.defer("a")
    lane.pause("b")
    lane.clock.advance(-timedelta(days=1))
    lane.sweep()
    lane.clock.advance(timedelta(minutes=10, seconds=1))
    assert (lane.sweep().due, sorted(lane.take_all())) == (1, ["a", "b"])


def test_calls_that_were_under_way_when_a_lane_was_throttled_do_not_give_its_pace_back(lane: LaneHands) -> None:
    lane.publish("a", "b", "c")
    lane.admit()
    for name in "abc":
        lane.claim(name)
    lane.pause("a")
    lane.finish("b")
    lane.finish("c")
    assert (lane.pacing()["share"], lane.pacing()["throttles"]) == (50, 1)


def test_a_throttled_job_keeps_its_place_and_its_history(lane: LaneHands) -> None:
    lane.publish("a", "b")
    lane.admit()
    lane.run_next()
    lane.pause("a", tries=Tries(attempts=2, calls=4))
    assert lane.waiting() == ["a"]
    lane.clock.advance(SECOND)
    lane.sweep()
    assert lane.claim("a").tries == Tries(attempts=2, calls=4)


# Failing


def test_five_transient_faults_in_a_row_rest_the_lane_then_one_probe_goes_first(lane: LaneHands) -> None:
    lane.publish(*range(12))
    lane.admit()
    rests = [_fail_next(lane) for _ in range(5)]
    assert rests == [timedelta(0)] * 4 + [SECOND]
    _give_up_what_is_ready(lane)
    lane.clock.advance(SECOND)
    assert lane.sweep().admitted == 1
    lane.clock.advance(SECOND)
    assert lane.sweep().admitted == 0, "one probe, and nothing beside it"
    lane.run_next()
    in_flight = lane.in_flight()
    assert in_flight == 1
    lane.finish(_only_lease(lane))
    assert lane.in_flight() > 1, "the probe went well: the lane is open again"


def test_jobs_that_were_admitted_before_the_lane_failed_are_not_called_beside_the_probe(
    redis: Redis, clock: MovedClock
) -> None:
    lane = LaneHands(redis, clock, limit=30)
    lane.publish(*range(8))
    assert lane.admit() == 8
    for _ in range(5):
        _fail_next(lane)
    clock.advance(500 * MILLISECOND)  # the rest of a second is near enough to wait for
    assert [lane.claim(name).what for name in lane.take_all()] == [Claimed.PARKED, Claimed.PARKED, Claimed.GO]
    clock.advance(SECOND)
    assert lane.sweep().admitted == 0


def test_a_lane_whose_probes_fail_rests_twice_as_long_each_time_up_to_a_minute(lane: LaneHands) -> None:
    lane.publish(*range(20))
    lane.admit()
    rests = []
    for _ in range(13):
        rest = _fail_next(lane)
        _give_up_what_is_ready(lane)
        rests.append(rest.total_seconds())
        lane.clock.advance(max(rest, SECOND))
        lane.sweep()
    assert rests == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_one_good_answer_ends_the_count_of_faults(lane: LaneHands) -> None:
    lane.publish(*range(12))
    lane.admit()
    for _ in range(4):
        _fail_next(lane)
    lane.run_next()
    lane.finish(4)
    assert [_fail_next(lane) for _ in range(5)] == [timedelta(0)] * 4 + [SECOND]


def test_a_signature_that_must_be_made_anew_is_not_the_lanes_fault(lane: LaneHands) -> None:
    lane.publish(*range(9))
    lane.admit()
    for number in range(9):
        lane.run_next()
        assert lane.defer(number, fault=False) == timedelta(0)
    assert lane.pacing().get("faults", 0) == 0


@pytest.mark.parametrize("end", ["expired", "cancelled", "lost"])
def test_a_probe_that_makes_no_call_does_not_close_the_lane_for_ever(lane: LaneHands, end: str) -> None:
    lane.publish(*range(12))
    lane.admit()
    for _ in range(5):
        _fail_next(lane)
    _give_up_what_is_ready(lane)
    lane.clock.advance(SECOND)
    lane.sweep()
    probe = lane.take()
    match end:
        case "expired":
            assert lane.claim(probe, expires_in=-SECOND).what is Claimed.EXPIRED
            lane.finish(probe, call=LastCall.NONE)
        case "cancelled":
            lane.cancel(probe)
            assert lane.claim(probe).what is Claimed.STALE
        case _:
            lane.claim(probe)
            lane.clock.advance(LEASE)
    lane.clock.advance(SECOND)
    lane.sweep()
    assert lane.run_next().what is Claimed.GO


# Leases


def test_a_job_whose_worker_was_killed_waits_again_when_its_lease_runs_out(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    assert lane.take() == "a"
    lane.claim("a", owner="killed")
    lane.clock.advance(LEASE - timedelta(microseconds=1))
    assert lane.sweep().lapsed == 0
    lane.clock.advance(timedelta(microseconds=1))
    assert lane.sweep().lapsed == 1
    assert lane.take() == "a"
    assert lane.claim("a", owner="next").tries == Tries(lapses=1)
    assert lane.finish("a", owner="killed") is False


def test_a_message_that_vanished_with_its_worker_before_the_claim_is_sent_again(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    assert lane.take() == "a"
    lane.clock.advance(5 * SECOND)
    assert lane.sweep().lapsed == 1
    assert lane.take() == "a"


def test_an_admitted_job_that_lies_in_the_ready_queue_past_its_lease_is_not_doubled_there(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    for _ in range(10):
        lane.clock.advance(5 * SECOND)
        lane.sweep()
    assert lane.ready() == ["a"]
    assert lane.claim("a").tries == Tries(), "no worker has lost it, for none had it"


def test_a_job_that_no_worker_has_taken_stays_ready_in_a_slow_lane_too(redis: Redis, clock: MovedClock) -> None:
    lane = LaneHands(redis, clock, limit=0.1)
    lane.publish("a")
    lane.admit()
    clock.advance(5 * SECOND)
    assert lane.sweep().admitted == 1, "there was no call, so there is no slot to wait for"


def test_a_job_whose_worker_vanished_before_the_claim_again_and_again_is_the_sweepers_to_end(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    for lapses in range(MOST_LAPSES + 1):
        assert lane.take() == "a"
        lane.clock.advance(5 * SECOND)
        unbegun = lane.sweep().unbegun
        assert len(unbegun) == (lapses == MOST_LAPSES)
    assert unbegun == ((lane.job_id("a"), celery_message(lane.lane, lane.job_id("a"))),)
    assert lane.take() is None
    assert lane.claim("a", owner="a worker").what is Claimed.STALE
    assert lane.finish("a", owner="sweep", call=LastCall.NONE)
    assert lane.redis.hgetall(lane.jobs_key) == {}


def test_what_a_killed_sweeper_was_to_end_is_the_next_ones(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    unbegun: list[tuple[str, bytes]] = []
    for _ in range(MOST_LAPSES + 3):  # it lapses in the sweeper's hands, and vanishes once more
        lane.take()
        lane.clock.advance(5 * SECOND)
        unbegun += lane.sweep().unbegun
    assert [job_id for job_id, _ in unbegun] == [lane.job_id("a")] * 2


def test_a_job_whose_worker_is_lost_after_the_claim_is_never_the_sweepers(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    for lapses in range(2 * MOST_LAPSES):
        assert lane.take() == "a"
        assert lane.claim("a").tries.lapses == lapses
        lane.clock.advance(LEASE)
        assert lane.sweep().unbegun == ()


def test_jobs_whose_leases_ran_out_wait_again_in_the_order_in_which_they_were_admitted(lane: LaneHands) -> None:
    lane.publish("b")
    lane.admit()
    lane.clock.advance(timedelta(microseconds=1))
    lane.publish("a")
    lane.admit()
    lane.take_all()
    lane.clock.advance(5 * SECOND)
    lane.sweep()
    assert lane.ready() == ["b", "a"]


def test_a_late_delivery_may_still_claim_and_its_twin_is_then_stale(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    assert lane.take() == "a"  # and its worker stalls, before the claim
    lane.clock.advance(5 * SECOND)
    lane.sweep()
    assert lane.claim("a", owner="stalled").what is Claimed.GO
    lane.clock.advance(LEASE)
    assert lane.sweep().lapsed == 1
    assert lane.ready() == ["a", "a"]
    twins = [lane.claim(name, owner=owner) for name, owner in zip(lane.take_all(), ("one", "two"), strict=True)]
    assert [twin.what for twin in twins] == [Claimed.GO, Claimed.STALE]
    assert twins[0].tries.lapses == 2, "the lost call counts, though the twin lay in the ready queue"


# Giving back, taking back


def test_a_job_that_is_given_back_uncalled_is_the_next_to_be_admitted(lane: LaneHands) -> None:
    lane.publish("a", "b", "c", "d")
    lane.admit()
    assert lane.take() == "a"
    assert lane.release("a")
    assert lane.take_all() == ["b", "c", "a"]


def test_a_claimed_job_can_be_given_back_by_its_owner(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    assert lane.take() == "a"
    lane.claim("a", owner="draining")
    assert lane.release("a", owner="draining")
    assert lane.claim("a", owner="other").what is Claimed.GO


def test_a_job_that_is_given_back_twice_is_in_flight_once(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    assert lane.take() == "a"
    assert lane.release("a")
    assert lane.release("a"), "it was admitted again, and nobody has claimed it"
    assert (lane.ready(), lane.in_flight()) == (["a", "a"], 1)
    assert [lane.claim("a", owner=owner).what for owner in ("one", "two")] == [Claimed.GO, Claimed.STALE]


def test_a_waiting_job_that_is_cancelled_is_never_called_and_costs_no_slot(lane: LaneHands) -> None:
    lane.publish("a", "b", "c", "d")
    assert lane.cancel("a") == "cancelled"
    assert lane.record("a") == CANCELLED
    lane.admit()
    assert lane.claim("a").what is Claimed.STALE
    assert lane.in_flight() == 3
    assert lane.claim("b").wait == timedelta(0)


def test_a_deferred_job_that_is_cancelled_is_forgotten_at_once(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    lane.defer("a")
    assert lane.cancel("a") == "cancelled"
    assert lane.redis.exists(lane.jobs_key, lane.lane.keys[6]) == 0
    assert lane.record("a") == CANCELLED


def test_a_claimed_job_cannot_be_cancelled_nor_one_that_has_ended(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    assert lane.cancel("a") == "claimed"
    lane.finish("a")
    assert lane.cancel("a") == "ended"
    assert lane.record("a") == ENDED


# The sweep


def test_the_sweep_admits_what_nobody_admitted(lane: LaneHands) -> None:
    lane.publish("a")
    assert lane.lanes.holding() == frozenset()
    assert lane.lanes.untold([lane.lane, Lane("other", "live.StopMPUTask")]) == {lane.lane}
    assert lane.sweep().admitted == 1
    assert lane.lanes.holding() == {lane.lane}


def test_a_lane_is_forgotten_once_it_is_empty(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    lane.finish("a")
    assert lane.lanes.holding() == {lane.lane}
    lane.sweep()
    assert lane.lanes.holding() == frozenset()


def test_a_lane_that_only_has_deferred_jobs_is_swept_still(lane: LaneHands) -> None:
    lane.publish("a")
    lane.admit()
    lane.claim("a")
    lane.defer("a")
    lane.sweep()
    assert lane.lanes.holding() == {lane.lane}


def test_one_worker_sweeps_in_any_one_period(lane: LaneHands) -> None:
    assert [lane.lanes.may_sweep(SECOND) for _ in range(3)] == [True, False, False]
    lane.clock.advance(SECOND + MILLISECOND)
    assert lane.lanes.may_sweep(SECOND)


def test_a_lane_can_be_viewed(lane: LaneHands) -> None:
    assert (lane.lanes.view(lane.lane).pace, lane.lanes.view(lane.lane).waiting) == (None, 0)
    lane.publish(*range(5))
    lane.publish("low", priority=9)
    lane.admit()
    lane.claim(0)
    lane.defer(0, delay=SECOND)
    lane.claim(1)
    lane.pause(1, hint=4 * SECOND)
    lane.clock.advance(SECOND)
    view = lane.lanes.view(lane.lane)
    assert (view.waiting, view.in_flight, view.deferred, view.rest) == (4, 1, 1, 3 * SECOND)
    assert view.pace == pytest.approx(4.825, abs=0.001)


# Throughput


def test_a_backlog_of_quick_calls_runs_at_the_limit(redis: Redis, clock: MovedClock) -> None:
    lane = Lane("live-cn", "live.StopMPUTask")
    run = LaneSimulation(redis, clock, lane, limit=10, latency=50 * MILLISECOND)
    span = run.run(jobs=300)
    ideal = timedelta(seconds=299 / 10)
    assert ideal < span <= 1.05 * ideal
    assert all(later - earlier > 1_000_000 for earlier, later in zip(run.calls, run.calls[10:], strict=False))


def _order_of_admission(lane: LaneHands, count: int) -> list[str]:
    order: list[str] = []
    lane.admit()
    while len(order) < count:
        name = lane.take()
        assert name is not None
        lane.clock.advance(lane.claim(name).wait)
        lane.finish(name)
        order.append(name)
    return order


def _fail_next(lane: LaneHands) -> timedelta:
    name = lane.take()
    lane.clock.advance(lane.claim(name).wait)
    rest = lane.defer(name, delay=timedelta(hours=1))
    assert rest is not None
    return rest


def _give_up_what_is_ready(lane: LaneHands) -> None:
    for name in lane.take_all():
        lane.release(name)


def _only_lease(lane: LaneHands) -> str:
    leases: Any = lane.redis.zrange(lane.lane.keys[4], 0, -1)
    (lease,) = leases
    name: str = lease.decode().rpartition(".")[2]
    return name


def _dump(lane: LaneHands) -> dict[object, object]:
    return {key: lane.redis.dump(key) for key in lane.redis.scan_iter()}

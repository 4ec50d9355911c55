"""Lanes that rest: the vendor throttles them, or their calls fail."""

from datetime import timedelta

import pytest
from redis import Redis

from streamstop._core.lane_types import AttemptHistory, LastCall
from tests.support.lane_driver import LEASE, LaneDriver
from tests.support.manual_clock import ManualClock

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)
INTERVAL = timedelta(microseconds=103_627)


@pytest.fixture
def quick(redis: Redis, clock: ManualClock) -> LaneDriver:
    """A lane that gives three jobs at a look."""
    return LaneDriver(redis, clock, limit=40)


def test_a_throttled_lane_rests_for_the_vendors_hint_and_returns_at_half_its_pace(lane: LaneDriver) -> None:
    lane.publish("a", "b", "c", "d")
    assert lane.throttle(lane.take_next(), hint=7 * SECOND) == 7 * SECOND
    assert lane.scheduled() == 7 * SECOND - 30 * MILLISECOND
    lane.clock.advance(7 * SECOND - 61 * MILLISECOND)
    assert lane.take() == []
    lane.clock.advance(61 * MILLISECOND)
    slots = [lane.taken_jobs[lane.take_next()].slot_us for _ in range(2)]
    assert slots[1] - slots[0] == 2 * INTERVAL // MICROSECOND


def test_without_a_hint_a_lane_rests_one_second_doubling_to_thirty(lane: LaneDriver) -> None:
    lane.publish("a")
    rests = []
    for _ in range(8):
        rest = lane.throttle(lane.take_next())
        assert rest is not None
        rests.append(rest.total_seconds())
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_lane_never_falls_below_a_twentieth_of_its_pace(lane: LaneDriver) -> None:
    lane.publish("a")
    shares = []
    for _ in range(6):
        lane.throttle(lane.take_next())
        shares.append(lane.pacing()["share"])
    assert shares == [50, 25, 12, 6, 5, 5]


def test_each_success_gives_a_throttled_lane_a_twentieth_of_its_pace_back(lane: LaneDriver) -> None:
    lane.publish(*range(14))
    lane.throttle(lane.take_next())
    shares = []
    for _ in range(12):
        lane.finish(lane.take_next())
        shares.append(lane.pacing()["share"])
    assert shares == [55, 60, 65, 70, 75, 80, 85, 90, 95, 100, 100, 100]


def test_calls_that_were_under_way_when_a_lane_was_throttled_do_not_lengthen_its_rest(quick: LaneDriver) -> None:
    quick.publish("a", "b")
    quick.take()
    assert quick.throttle("a") == SECOND
    quick.clock.advance(300 * MILLISECOND)
    assert quick.throttle("b") == 700 * MILLISECOND
    assert quick.pacing()["share"] == 50


def test_a_hint_that_asks_for_more_than_the_rest_that_has_begun_lengthens_it(quick: LaneDriver) -> None:
    quick.publish("a", "b", "c")
    quick.take()
    assert quick.throttle("a") == SECOND
    assert quick.throttle("b", hint=7 * SECOND) == 7 * SECOND
    assert quick.throttle("c", hint=2 * SECOND) == 7 * SECOND
    assert (quick.pacing()["share"], quick.pacing()["throttles"]) == (50, 1)


def test_calls_that_were_under_way_when_a_lane_was_throttled_do_not_give_its_pace_back(quick: LaneDriver) -> None:
    quick.publish("a", "b", "c")
    quick.take()
    quick.throttle("a")
    quick.finish("b")
    quick.finish("c")
    assert (quick.pacing()["share"], quick.pacing()["throttles"]) == (50, 1)


def test_a_throttled_job_keeps_its_place_and_its_history(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    lane.throttle(lane.take_next(), history=AttemptHistory(attempts=2, calls=4))
    assert lane.waiting() == ["a", "b"]
    assert lane.take_next() == "a"
    assert lane.taken_jobs["a"].history == AttemptHistory(attempts=2, calls=4)


def test_no_hint_makes_a_lane_rest_for_more_than_ten_minutes(lane: LaneDriver) -> None:
    lane.publish("a")
    assert lane.throttle(lane.take_next(), hint=timedelta(days=1)) == timedelta(minutes=10)


# Failing


def test_five_transient_faults_in_a_row_rest_the_lane_then_one_probe_goes_first(lane: LaneDriver) -> None:
    lane.publish(*range(12))
    assert [_fail_next(lane) for _ in range(5)] == [timedelta(0)] * 4 + [SECOND]
    probe = lane.take_next()
    lane.clock.advance(SECOND)
    assert (lane.take(), lane.in_flight(), lane.scheduled()) == ([], 1, None), "one probe, and nothing beside it"
    lane.finish(probe)
    lane.take_next()
    lane.take_next()
    assert lane.in_flight() == 2, "the probe went well: the lane is open again"


def test_no_probe_is_made_while_calls_from_before_the_rest_are_under_way(quick: LaneDriver) -> None:
    quick.publish(*range(12))
    names = [quick.take_next() for _ in range(6)]
    for name in names[:5]:
        quick.retry(name, delay=timedelta(hours=1))
    quick.clock.advance(2 * SECOND)
    assert quick.take() == []
    quick.finish(names[5], call=LastCall.NONE)
    assert len(quick.take()) == 1


def test_a_lane_whose_probes_fail_rests_twice_as_long_each_time_up_to_a_minute(lane: LaneDriver) -> None:
    lane.publish(*range(20))
    rests = [_fail_next(lane).total_seconds() for _ in range(13)]
    assert rests == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_one_good_answer_ends_the_count_of_faults(lane: LaneDriver) -> None:
    lane.publish(*range(12))
    for _ in range(4):
        _fail_next(lane)
    lane.finish(lane.take_next())
    assert [_fail_next(lane) for _ in range(5)] == [timedelta(0)] * 4 + [SECOND]


def test_a_signature_that_must_be_made_anew_is_not_the_lanes_fault(lane: LaneDriver) -> None:
    lane.publish(*range(9))
    for _ in range(9):
        assert lane.retry(lane.take_next(), fault=False, delay=timedelta(hours=1)) == timedelta(0)
    assert lane.pacing().get("faults", 0) == 0


@pytest.mark.parametrize("end", ["uncalled", "released", "lost"])
def test_a_probe_without_a_call_does_not_block_the_lane_forever(lane: LaneDriver, end: str) -> None:
    lane.publish(*range(12))
    for _ in range(5):
        _fail_next(lane)
    probe = lane.take_next()
    match end:
        case "uncalled":
            lane.finish(probe, call=LastCall.NONE)
        case "released":
            lane.release(probe)
        case _:
            lane.clock.advance(LEASE)
            assert lane.expired_leases() == 1
    assert lane.take_next()


def _fail_next(lane: LaneDriver) -> timedelta:
    rest = lane.retry(lane.take_next(), delay=timedelta(minutes=10))
    assert rest is not None
    return rest

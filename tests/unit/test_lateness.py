"""A call that leaves late: the slots behind it move, so that any second has no more calls than the limit."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis import Redis

from streamstop.lanes import LastCall, Lateness
from tests.support.lane_hands import ENDED, LaneHands
from tests.support.moved_clock import MovedClock, fake_redis

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def redis(clock: MovedClock) -> Iterator[Redis]:
    with fake_redis(clock) as redis:
        yield redis


@pytest.fixture
def lane(redis: Redis, clock: MovedClock) -> LaneHands:
    """A lane of 10 calls a second with a backlog."""
    hands = LaneHands(redis, clock, limit=10)
    hands.publish(*range(60))
    hands.admit()
    return hands


def run(lane: LaneHands, lateness: list[timedelta]) -> list[timedelta]:
    """Run a job for each lateness, one after the other; return when each call left, from the start."""
    start_us, left = lane.clock.now_us, []
    for late in lateness:
        name = lane.take()
        if name is None:
            lane.clock.advance(50 * MILLISECOND)
            lane.sweep()
            name = lane.take()
            assert name is not None
        claim = lane.claim(name)
        slot = timedelta(microseconds=lane.clock.now_us - start_us) + claim.wait
        left.append(slot + late)
        lane.clock.advance(claim.wait + late + 20 * MILLISECOND)
        finish(lane, name, Lateness(late, claim.moved_us))
    return left


def finish(lane: LaneHands, name: str | None, lateness: Lateness) -> None:
    job_id = lane.job_id(name)
    assert lane.lanes.finish(
        lane.lane, lane.pace, job_id, owner="worker", record=ENDED, call=LastCall.WELL, lateness=lateness
    )


def most_within_a_second(moments: list[timedelta]) -> int:
    return max(sum(start <= moment < start + SECOND for moment in moments) for start in moments)


@pytest.mark.parametrize("late_ms", [12, 30, 45, 150])
def test_however_late_a_call_leaves_no_second_behind_it_has_more_than_the_limit(lane: LaneHands, late_ms: int) -> None:
    lateness = [timedelta(0)] * 40
    for n in (0, 7, 8, 21):
        lateness[n] = late_ms * MILLISECOND
    assert most_within_a_second(run(lane, lateness)) <= 10


def test_a_late_call_that_the_headroom_covers_moves_nothing(lane: LaneHands) -> None:
    on_time = run(lane, [timedelta(0)] * 12)
    again = run(lane, [9 * MILLISECOND, *[timedelta(0)] * 11])
    assert again[-1] - again[0] + 9 * MILLISECOND == on_time[-1] - on_time[0]


def test_calls_that_were_given_their_slots_together_are_made_up_for_once(lane: LaneHands) -> None:
    names = [lane.take() for _ in range(3)]
    claims = [lane.claim(name) for name in names]
    lane.clock.advance(claims[-1].wait + 30 * MILLISECOND)
    for name, claim in zip(names, claims, strict=True):
        finish(lane, name, Lateness(30 * MILLISECOND, claim.moved_us))
    following = lane.claim(lane.take()).wait
    assert following == claims[1].wait - 30 * MILLISECOND + 20 * MILLISECOND

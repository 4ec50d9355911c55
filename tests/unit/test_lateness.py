"""Late calls: later slots are shifted, so that no second has more calls than the limit."""

from datetime import timedelta

import pytest

from streamstop._core.lane_types import LastCall, SendDelay
from streamstop._wire.reports import Ended
from tests.support.lane_driver import ENDED, KEPT, LaneDriver

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def backlog(lane: LaneDriver) -> LaneDriver:
    """A lane of 10 calls a second with a backlog."""
    lane.publish(*range(80))
    return lane


def run(lane: LaneDriver, send_delay: list[timedelta]) -> list[timedelta]:
    """Run a job for each lateness, one after the other; return when each call left, from the start."""
    start_us, left = lane.clock.now_us, []
    for late in send_delay:
        name = lane.take_next()
        job = lane.taken_jobs[name]
        left.append(timedelta(microseconds=job.slot_us - start_us) + late)
        lane.clock.advance(late + 20 * MILLISECOND)
        assert lane.finish(name, send_delay=SendDelay(late, job.slots_shifted_us))
    return left


def most_within_a_second(moments: list[timedelta]) -> int:
    return max(sum(start <= moment < start + SECOND for moment in moments) for start in moments)


@pytest.mark.parametrize("late_ms", [12, 30, 45, 150])
def test_however_late_a_call_leaves_no_second_behind_it_has_more_than_the_limit(
    backlog: LaneDriver, late_ms: int
) -> None:
    send_delay = [timedelta(0)] * 40
    for n in (0, 7, 8, 21):
        send_delay[n] = late_ms * MILLISECOND
    assert most_within_a_second(run(backlog, send_delay)) <= 10


def test_a_late_call_that_the_headroom_covers_moves_nothing(backlog: LaneDriver) -> None:
    on_time = run(backlog, [timedelta(0)] * 12)
    again = run(backlog, [9 * MILLISECOND, *[timedelta(0)] * 11])
    assert again[-1] - again[0] + 9 * MILLISECOND == on_time[-1] - on_time[0]


def test_calls_that_were_given_their_slots_together_are_made_up_for_once(backlog: LaneDriver) -> None:
    lane = LaneDriver(backlog.redis, backlog.clock, limit=40)
    names = lane.take()
    assert len(names) == 3
    interval = timedelta(microseconds=lane.pace.interval_us)
    last = lane.taken_jobs[names[-1]].slot_us
    lane.clock.advance(2 * interval + 30 * MILLISECOND)
    late = 30 * MILLISECOND
    lane.report(
        *(
            Ended(
                job=lane.taken_jobs[name],
                call=LastCall.WELL,
                send_delay=SendDelay(late, lane.taken_jobs[name].slots_shifted_us),
                record=ENDED,
                kept=KEPT,
            )
            for name in names
        )
    )
    moved = lane.taken_jobs[lane.take_next()].slot_us - last
    # The first open slot has passed: the next one is as far from now as the headroom does not cover.
    assert timedelta(microseconds=moved) == late + 20 * MILLISECOND

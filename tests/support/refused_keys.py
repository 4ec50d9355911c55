"""Calls that a vendor refuses for their key, in a lane on a Redis in memory."""

from datetime import timedelta

from streamstop._core.lane_types import AttemptHistory, CallError, LastCall
from streamstop._redis.schedule import WAITS_FOR_KEY, Reported
from streamstop._wire.reports import Ended
from tests.support.lane_driver import ENDED, KEPT, LaneDriver

SECOND = timedelta(seconds=1)
CALLED = AttemptHistory(calls=1)
REFUSAL = CallError("InvalidAccessKeyId.NotFound", "not found", "r-1", is_unknown=False)
ENDS, WAITS = timedelta(0), WAITS_FOR_KEY


def refuse(lane: LaneDriver, name: str) -> timedelta | None:
    """Report that the vendor refused the key; return what became of the job."""
    (answer,) = refuse_all(lane, name).rests
    return answer


def refuse_all(lane: LaneDriver, *names: str) -> Reported:
    return lane.report(
        *(
            Ended(
                job=lane.taken_jobs[name],
                call=LastCall.WELL,
                error=REFUSAL,
                record=ENDED,
                kept=KEPT,
                if_held=CALLED,
            )
            for name in names
        )
    )


def hold(lane: LaneDriver) -> None:
    """Let the vendor refuse five calls in a row."""
    assert [refuse(lane, lane.take_next()) for _ in range(5)] == [ENDS] * 5


def probe(lane: LaneDriver) -> str:
    """Advance to the next probe, and take it."""
    for _ in range(200):
        if names := lane.take():
            (name,) = names
            lane.move_to_slot(name)
            return name
        lane.clock.advance(SECOND)
    raise AssertionError("no probe is made")

"""Least privilege: lanes for a producer whose Redis user may only enqueue."""

from collections.abc import Sequence
from datetime import timedelta

from redis import Redis

from streamstop._core.lane import Lane
from streamstop._core.lane_types import LaneView
from streamstop._redis.errors import ERRORS, is_forbidden
from streamstop._redis.lanes import Lanes


class LeastPrivilegeLanes(Lanes):
    """Lanes for any Redis user. Optional commands that fail with NOPERM are not retried."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self._may_read_work = True

    def views(self, lanes: Sequence[Lane]) -> list[LaneView]:
        """Return the views of `lanes`. If the user may not read the workers' keys, views have only the waiting jobs."""
        if self._may_read_work:
            try:
                return super().views(lanes)
            except ERRORS as error:
                if not is_forbidden(error):
                    raise
                self._may_read_work = False
        pipeline = self._redis.pipeline(transaction=False)
        for lane in lanes:
            for waiting in lane.waiting:
                pipeline.llen(waiting)
        lengths = pipeline.execute()
        totals = (sum(lengths[start : start + 4]) for start in range(0, len(lengths), 4))
        return [
            LaneView(lane=lane, waiting=waiting, in_flight=0, deferred=0, rest=timedelta(0), pace=None)
            for lane, waiting in zip(lanes, totals, strict=True)
        ]

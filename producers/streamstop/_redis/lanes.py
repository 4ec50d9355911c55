"""Lanes: operations for producers and workers. Those of workers alone are in :mod:`streamstop._redis.schedule`."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.constants import ARRIVALS, DEAD, LEASED, SCHEDULE
from streamstop._core.lane import Lane, result_key
from streamstop._core.lane_types import LaneView, MemberResult
from streamstop._redis.scripts import Script, load
from streamstop.settings import CANCELLED_KEPT


class Lanes:
    """Every lane of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def cancel(self, lane: Lane, job_id: str, *, record: str, member_result: MemberResult | None = None) -> str:
        """Cancel a job that no worker has claimed; return ``cancelled``, ``claimed`` or ``ended``."""
        arguments = _cancel_arguments(lane, job_id, record, member_result)
        # Redis checks the permission for a key that is passed before the script begins. The script does not use it.
        return str(self._scripts["cancel"](keys=[lane.leases], **arguments).decode())

    def cancel_many(self, jobs: Sequence[tuple[Lane, str, str, MemberResult]]) -> None:
        """Cancel jobs of shutdowns, each with its id, record and member result, in one round trip.

        Redis runs a pipeline without a pause. Some tens of jobs take less than 5 ms.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for lane, job_id, record, member_result in jobs:
            arguments = _cancel_arguments(lane, job_id, record, member_result)
            self._scripts["cancel"](client=pipeline, **arguments)
        pipeline.execute()

    def record_of(self, job_id: str) -> bytes | None:
        """Return the job's record in Celery's result backend."""
        records: Any = self._redis.mget(result_key(job_id))  # MGET treats a key of another type as absent
        record = records[0]
        return None if record is None else bytes(record)

    def dead(self) -> int:
        """Return how many dead letters there are."""
        return int(self._redis.zcard(DEAD))

    def active_lanes(self) -> frozenset[Lane]:
        """Return the lanes that hold jobs or recently held some, from the schedule, which may lag."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zrange(SCHEDULE, 0, -1)
        pipeline.zrange(LEASED, 0, -1)
        pipeline.smembers(ARRIVALS)
        return frozenset(Lane.from_name(name.decode()) for names in pipeline.execute() for name in names)

    def view(self, lane: Lane) -> LaneView:
        """Return the view of `lane`."""
        return self.views([lane])[0]

    def views(self, lanes: Sequence[Lane]) -> list[LaneView]:
        """Return the views of `lanes`, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        for lane in lanes:
            for waiting in lane.waiting:
                pipeline.llen(waiting)
            pipeline.zcard(lane.leases)
            pipeline.zcard(lane.due)
            pipeline.hmget(lane.pace, "interval", "share", "rest")
        (seconds, microseconds), *replies = pipeline.execute()
        now_us = seconds * 1_000_000 + microseconds
        size = len(replies) // len(lanes) if lanes else 1
        parts = (replies[start : start + size] for start in range(0, len(replies), size))
        return [_view(lane, part, now_us) for lane, part in zip(lanes, parts, strict=True)]

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "lane")


def _cancel_arguments(lane: Lane, job_id: str, record: str, member_result: MemberResult | None) -> dict[str, Any]:
    """Return the arguments of the script ``cancel``."""
    return {
        "name": lane.name,
        "id": job_id,
        "record": record,
        "ttl": int(CANCELLED_KEPT.total_seconds()),
        "member_results": [member_result.fields] if member_result else [],
    }


def _view(lane: Lane, part: Sequence[Any], now_us: int) -> LaneView:
    *waiting, in_flight, deferred, (interval, share, rest) = part
    return LaneView(
        lane=lane,
        waiting=sum(waiting),
        in_flight=in_flight,
        deferred=deferred,
        rest=timedelta(microseconds=max(0.0, float(rest or 0) - now_us)),
        pace=10_000 * float(share or 100) / float(interval) if interval else None,
    )

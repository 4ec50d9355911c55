"""Lanes: operations for producers and workers. Those of workers alone are in :mod:`streamstop._redis.schedule`."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.constants import ARRIVALS, CANCELLED, DEAD, LEASED, RECENT, SCHEDULE
from streamstop._core.drained import DrainFilter, DrainPage
from streamstop._core.lane import Lane, result_key
from streamstop._core.lane_types import MemberResult
from streamstop._core.lane_view import LaneView
from streamstop._core.sightings import Sighting, Where
from streamstop._redis.drain import Drain
from streamstop._redis.lane_jobs import LaneJobs
from streamstop._redis.lane_views import Detail, LaneViews
from streamstop._redis.scripts import Script, load
from streamstop.settings import CANCELLED_KEPT

_HOUR_S = 3600


class Lanes:
    """Every lane of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._views = LaneViews(redis)

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

    def holding(self) -> frozenset[Lane]:
        """Return the lanes that hold jobs or just held some, from the schedule, which may lag."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zrange(SCHEDULE, 0, -1)
        pipeline.zrange(LEASED, 0, -1)
        pipeline.smembers(ARRIVALS)
        return frozenset(Lane.from_name(name.decode()) for names in pipeline.execute() for name in names)

    def cancelled(self) -> dict[Lane, int]:
        """Return how many jobs of each lane were cancelled before a worker took them."""
        counts: Any = self._redis.hgetall(CANCELLED)
        return {Lane.from_name(name.decode()): int(count) for name, count in counts.items()}

    def recent(self, within: timedelta) -> frozenset[Lane]:
        """Return the lanes that were at work within `within`, a day at most, and perhaps some of the hour before."""
        reply: Any = self._redis.time()
        since = (reply[0] - int(within.total_seconds()) - _HOUR_S) * 1_000_000
        names: Any = self._redis.zrange(RECENT, since, "+inf", byscore=True)
        return frozenset(Lane.from_name(name.decode()) for name in names)

    def view(self, lane: Lane) -> LaneView:
        """Return the view of `lane`."""
        return self.views([lane])[0]

    def views(self, lanes: Sequence[Lane], detail: Detail = Detail.ALL) -> list[LaneView]:
        """Return the views of `lanes`; see :meth:`streamstop._redis.lane_views.LaneViews.read`."""
        return self._views.read(lanes, detail)

    def jobs(self, lane: Lane, where: Where, first: int, most: int) -> list[Sighting]:
        """Return up to `most` jobs of `lane`; see :meth:`streamstop._redis.lane_jobs.LaneJobs.read`."""
        return LaneJobs(self._redis).read(lane, where, first, most)

    def draining(self, lane: Lane, chosen: DrainFilter) -> Iterator[DrainPage]:
        """Cancel the jobs of `lane` that wait or are deferred and fit; yield what each step has cancelled."""
        return Drain(self._redis, self._scripts["drain"], lane, chosen).pages()

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

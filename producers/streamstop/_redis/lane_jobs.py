"""Lane jobs: the jobs of one lane, a page at a time, as people on call list them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from streamstop._core.lane import Lane, result_key
from streamstop._core.sightings import Sighting, Where
from streamstop._wire.messages import WaitingJob, read_waiting
from streamstop._wire.results import read_record
from streamstop.outcomes import Deferral


class LaneJobs:
    """Lists the jobs of the lanes of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not

    def read(self, lane: Lane, where: Where, first: int, most: int) -> list[Sighting]:
        """Return up to `most` jobs from the place `first` on; see :meth:`streamstop.Client.lane_jobs`."""
        if where is Where.WAITING:
            return self._waiting(lane, first, most)
        return self._taken(lane, where, first, most)

    def _waiting(self, lane: Lane, first: int, most: int) -> list[Sighting]:
        lengths = self._pipelined(("LLEN", name) for name in lane.waiting)
        ranges, start = [], first
        left = most
        for name, length in zip(lane.waiting, lengths, strict=True):
            count = min(left, max(0, length - start))
            if count:
                ranges.append(("LRANGE", name, -start - count, -start - 1))
            start, left = max(0, start - length), left - count
        pages = self._pipelined(ranges)
        jobs = [
            (place, job)
            for place, entry in enumerate((entry for page in pages for entry in page[::-1]), first + 1)
            if (job := read_waiting(entry)) is not None
        ]
        records = self._redis.mget([result_key(job.id) for _, job in jobs]) if jobs else []
        return [
            _sighting(Where.WAITING, lane, job, at=job.enqueued_at, place=place)
            for (place, job), record in zip(jobs, records, strict=True)
            # A worker drops the message of a job that was cancelled when it comes up.
            if record is None or isinstance(read_record(record), Deferral)
        ]

    def _taken(self, lane: Lane, where: Where, first: int, most: int) -> list[Sighting]:
        name = lane.due if where is Where.DEFERRED else lane.leases
        scores = dict(self._redis.zrange(name, first, first + most - 1, withscores=True))
        messages = self._redis.hmget(lane.jobs, list(scores)) if scores else []
        found = []
        for score, message in zip(scores.values(), messages, strict=True):
            job = None if message is None else read_waiting(message)  # it may have ended meanwhile
            if job is not None:
                due = datetime.fromtimestamp(score / 1_000_000, UTC) if where is Where.DEFERRED else None
                found.append(_sighting(where, lane, job, at=due))
        return found

    def _pipelined(self, commands: Any) -> Sequence[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(pipeline.execute())


def _sighting(where: Where, lane: Lane, job: WaitingJob, **fields: Any) -> Sighting:
    params, membership = job.command.get("params"), job.command.get("shutdown")
    shutdown = membership.get("shutdown") if isinstance(membership, Mapping) else None
    return Sighting(
        where=where,
        account=lane.account,
        operation=lane.operation,
        params=dict(params) if isinstance(params, Mapping) else {},
        job_id=job.id,
        shutdown=shutdown if isinstance(shutdown, str) else None,
        **fields,
    )

"""Cancelled: counts jobs that were cancelled before a worker took them, for the shutdowns that they are part of."""

import asyncio
from collections.abc import Sequence

import structlog

from streamstop._core.lane_types import Taken
from streamstop._core.membership import Membership
from streamstop._redis.errors import is_unreachable
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import Schedule
from streamstop._wire.reports import Dropped
from streamstop_worker.pipeline.bugs import log_error
from streamstop_worker.pipeline.deliveries import read_argument
from streamstop_worker.shutdowns.fan_out import Shutdowns

_NOT_COUNTED = "cancelled jobs are not counted yet"

_log = structlog.get_logger("streamstop")


class CancelledJobs:
    """Counts jobs that had ended before their take, and drops their leases."""

    def __init__(self, schedule: Schedule, shutdowns: Shutdowns, lanes: Lanes) -> None:
        self._schedule = schedule
        self._shutdowns = shutdowns
        self._lanes = lanes

    async def count(self, jobs: Sequence[Taken]) -> None:
        """Count `jobs`. A job that cannot be counted now is taken again after its lease."""
        try:
            await asyncio.to_thread(self._count, jobs)
        except Exception as error:  # noqa: BLE001  # no caller receives it
            log_error(_log, error, unreachable=_NOT_COUNTED, became=_NOT_COUNTED, jobs=len(jobs))

    def _count(self, jobs: Sequence[Taken]) -> None:
        counted = []
        for job in jobs:
            membership = Membership.of_message(read_argument(job.message))
            try:
                if membership is not None:
                    self._shutdowns.record_cancelled_member(job.lane, membership, self._lanes.record_of(job.job_id))
            except Exception as error:
                if is_unreachable(error):
                    raise
                log_error(_log, error, unreachable=_NOT_COUNTED, became=_NOT_COUNTED, job_id=job.job_id)
            else:
                counted.append(Dropped(job=job))
        self._schedule.report(counted)

"""A lane's run, event by event: the real scripts, simulated workers, and a clock that jumps to what is next."""

import heapq
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from redis import Redis

from streamstop.lanes import Claimed, Lane, Lanes, LastCall, Pace
from streamstop.lanes.names import READY_LISTS
from tests.support.celery_messages import celery_message
from tests.support.moved_clock import MovedClock

LEASE = timedelta(seconds=15)


@dataclass
class LaneSimulation:
    """Workers that call for one lane's jobs; a call takes `latency`, and a lane is swept every second."""

    redis: Redis
    clock: MovedClock
    lane: Lane
    limit: float
    latency: timedelta
    threads: int = 64
    #: The moment of each call, in µs.
    calls: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lanes = Lanes(self.redis)
        self._pace = Pace.of_limit(self.limit)
        self._ended = 0
        self._idle = self.threads
        self._order = itertools.count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []

    def run(self, jobs: int) -> timedelta:
        """Enqueue `jobs` at once, and run until all have ended; return the time from the first call to the last."""
        for number in range(jobs):
            message = celery_message(self.lane, f"{self.lane.name}.{number}")
            self.redis.lpush(self.lane.queue, message)
        self._lanes.admit(self.lane, self._pace)
        self._at(self.clock.now_us + 370_000, self._sweep)
        self._deliver()
        while self._ended < jobs:
            self.clock.now_us, _, happen = heapq.heappop(self._events)
            happen()
            self._deliver()
        return timedelta(microseconds=self.calls[-1] - self.calls[0])

    def _at(self, moment_us: int, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment_us, next(self._order), happen))

    def _sweep(self) -> None:
        self._lanes.sweep(self.lane, self._pace, owner="sweep", lease=timedelta(seconds=30))
        self._at(self.clock.now_us + 1_000_000, self._sweep)

    def _deliver(self) -> None:
        while self._idle and (message := next(filter(None, map(self.redis.rpop, READY_LISTS)), None)) is not None:
            assert isinstance(message, bytes)
            self._claim(json.loads(message)["headers"]["id"])

    def _claim(self, job_id: str) -> None:
        claim = self._lanes.claim(self.lane, self._pace, job_id, owner=job_id, lease=LEASE, expires_at=None)
        if claim.what is Claimed.GO:
            self._idle -= 1
            self._at(self.clock.now_us + claim.wait // timedelta(microseconds=1), lambda: self._call(job_id))

    def _call(self, job_id: str) -> None:
        self.calls.append(self.clock.now_us)
        self._at(self.clock.now_us + self.latency // timedelta(microseconds=1), lambda: self._finish(job_id))

    def _finish(self, job_id: str) -> None:
        self._idle += 1
        recorded = self._lanes.finish(
            self.lane, self._pace, job_id, owner=job_id, record='{"status": "SUCCESS"}', call=LastCall.WELL
        )
        assert recorded
        self._ended += 1

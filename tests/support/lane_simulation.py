"""A discrete-event simulation of a lane: the real scripts, a simulated worker, and a clock that jumps to each event."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from redis import Redis

from streamstop._core.lane import Lane
from streamstop._core.lane_types import LastCall, Taken
from streamstop._core.pace import Pace
from streamstop._redis.schedule import Schedule
from streamstop._wire.reports import Ended
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import ENDED, KEPT, LEASE, announce, book_for
from tests.support.manual_clock import ManualClock


@dataclass
class LaneSimulation:
    """A worker that calls for one lane's jobs; a call takes `latency`, and lanes are swept every second."""

    redis: Redis
    clock: ManualClock
    lane: Lane
    limit: float
    latency: timedelta
    room: int = 64
    #: The moment of each call, in µs.
    calls: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._schedule = Schedule(self.redis)
        self._book = book_for(self.lane, pace=Pace.of_limit(self.limit))
        self._ended = 0
        self._order = itertools.count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []

    def run(self, jobs: int) -> timedelta:
        """Enqueue `jobs` at once, and run until all have ended; return the time from the first call to the last."""
        for number in range(jobs):
            self.redis.lpush(self.lane.queue, celery_message(self.lane, f"{self.lane.name}.{number}"))
        announce(self.redis, self.lane)
        self._after(timedelta(milliseconds=370), self._sweep)
        self._look()
        while self._ended < jobs:
            self.clock.now_us, _, happen = heapq.heappop(self._events)
            happen()
        return timedelta(microseconds=self.calls[-1] - self.calls[0])

    def _after(self, duration: timedelta, happen: Callable[[], None]) -> None:
        moment = self.clock.now_us + max(0, duration // timedelta(microseconds=1))
        heapq.heappush(self._events, (moment, next(self._order), happen))

    def _sweep(self) -> None:
        self._schedule.sweep(longest_lease=2 * LEASE, period=timedelta(0))
        self._after(timedelta(seconds=1), self._sweep)

    def _look(self) -> None:
        take = self._schedule.take(self.room, lease=LEASE, book=self._book)
        for job in take.jobs:
            self._after(timedelta(microseconds=job.slot_us - self.clock.now_us), lambda job=job: self._call(job))  # type: ignore[misc]  # mypy cannot infer it
        self.room -= len(take.jobs)
        self._after(timedelta(seconds=1) if take.next_in is None else take.next_in, self._look)

    def _call(self, job: Taken) -> None:
        self.calls.append(self.clock.now_us)
        self._after(self.latency, lambda: self._finish(job))

    def _finish(self, job: Taken) -> None:
        reported = self._schedule.report([Ended(job=job, call=LastCall.WELL, record=ENDED, kept=KEPT)])
        assert reported.rests == [timedelta(0)]
        self.room += 1
        self._ended += 1
        if reported.next_in is not None:
            self._after(reported.next_in, self._look)

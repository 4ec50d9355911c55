"""A Hypothesis state machine: producers, workers with books of their own, sweeps and clock changes on shared lanes.

After each step it checks the invariants of :mod:`tests.support.lane_invariants`, that Redis holds the pace which the
model predicts for each lane, and that no lane exceeds its limit. At the end of a run every job must end.
"""

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamstop._core.constants import DEAD, LEASED, SCHEDULE
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LastCall
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import CANCELLED, LEASE
from tests.support.lane_invariants import (
    SECOND,
    check_jobs_are_conserved,
    check_lane_is_scheduled,
    check_no_orphaned_fields,
    check_other_keys_are_bounded,
    read_lane,
)
from tests.support.lane_steps import LaneSteps, pick
from tests.support.lane_strategies import (
    GARBAGE,
    LANE,
    LANES,
    LASTING,
    LIMITS,
    OPERATION,
    PRIORITIES,
    REPORT,
    SCOPE,
    WHICH,
    WORKER,
    WORKERS,
    Make,
    Slots,
    ended,
)

_T = TypeVar("_T")


class LaneStateMachine(LaneSteps, RuleBasedStateMachine):
    """Producers, workers and time, in any order."""

    @initialize(limit=st.sampled_from(LIMITS))
    def begin(self, limit: float) -> None:
        self._set_limit(limit)

    # Producers

    @rule(lane=LANE, count=st.integers(1, 8), priority=PRIORITIES, level=st.integers(0, 3), tells=st.booleans())
    def enqueue(self, lane: Lane, count: int, priority: object, level: int, tells: bool) -> None:
        for _ in range(count):
            job_id = f"{lane.name}.{len(self.sent)}"
            self.home[job_id] = lane
            self.messages[job_id] = celery_message(lane, job_id, priority=priority)
            self.ids[self.messages[job_id]] = job_id
            self._send(job_id, level)
        self._announce(lane, tells=tells)

    @rule(which=WHICH, lane=LANE, garbage=st.none() | st.sampled_from(GARBAGE), level=st.integers(0, 3))
    def enqueue_garbage_or_a_job_again(self, which: int, lane: Lane, garbage: bytes | None, level: int) -> None:
        if garbage is not None:
            self.garbage += 1
            self.redis.lpush(lane.waiting[level], garbage)
        elif self.sent:
            job_id = pick(list(self.sent), which)
            lane = self.home[job_id]
            self._send(job_id, level)
        self._announce(lane, tells=True)

    @rule(which=WHICH)
    def announce_a_lane_that_is_none(self, which: int) -> None:
        names = [b"", b"no lane", b"\xff.live.StopMPUTask", b"acc-a.acc-a", b"acc-a.live.Unknown", b"x" * 1000 + b".y"]
        self.redis.sadd("streamstop.arrivals", pick(names, which))

    @precondition(lambda self: self.sent)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        job_id = pick(list(self.sent), which)
        in_flight = read_lane(self.redis, self.home[job_id]).leases
        answer = self.lanes.cancel(self.home[job_id], job_id, record=CANCELLED)
        assert answer == ("ended" if job_id in self.ended else "claimed" if job_id in in_flight else "cancelled")
        if answer == "cancelled":
            self.ended.add(job_id)

    # People on call

    @rule(scope=SCOPE, seconds=LASTING)
    def pause(self, scope: str, seconds: int | None) -> None:
        self.controls.pause(scope, seconds, self.clock.now_us)

    @rule(scope=SCOPE)
    def resume(self, scope: str) -> None:
        self.controls.resume(scope)

    @rule(lane=LANE, limit=st.sampled_from(LIMITS), seconds=LASTING)
    def set_the_limit_of_a_lane(self, lane: Lane, limit: float, seconds: int | None) -> None:
        self.controls.set_limit(lane, limit, seconds, self.clock.now_us)

    @rule(lane=LANE)
    def clear_the_limit_of_a_lane(self, lane: Lane) -> None:
        self.controls.clear_limit(lane)

    # Workers

    @rule(worker=WORKER, most=st.sampled_from([1, 2, 5, 50]))
    def take(self, worker: int, most: int) -> None:
        self._take(worker, most)

    @rule(
        lane=st.sampled_from(LANES[:2]),
        reports=st.lists(st.none() | REPORT, min_size=1, max_size=8)
        | st.tuples(REPORT, st.integers(4, 12)).map(lambda alike: [alike[0]] * alike[1]),
        at_once=st.booleans(),
    )
    def run_jobs(self, lane: Lane, reports: Sequence[Make | None], at_once: bool) -> None:
        """The usual course of jobs: enqueued, taken, and reported after their slots, or never."""
        self.enqueue(lane, len(reports), 0, 0, tells=True)
        left = list(reports)
        for _ in range(3 * len(reports)):
            taken = self._take(1, 1 if at_once else 50)
            if not taken:
                self._advance(SECOND // 10)
            for job in taken:
                make = left.pop() if left else None
                self._advance(max(0, job.slot_us - self.clock.now_us))
                if make is not None:
                    self._report([make(job)])

    @rule()
    def take_for_nobody(self) -> None:
        """The sweeper takes the jobs of accounts that no worker serves."""
        take = self.schedule.take_unserved([LANES[2]], 5, lease=LEASE)
        assert all(job.slot_us == 0 for job in take.jobs)
        self._check_paces()
        self.owning += take.jobs

    @precondition(lambda self: self.owning)
    @rule(which=st.lists(st.tuples(WHICH, REPORT), min_size=1, max_size=6))
    def report_some(self, which: Sequence[tuple[int, Make]]) -> None:
        """A batch of reports, which may hold two for one job."""
        self._report([make(pick(self.owning, number)) for number, make in which])

    @precondition(lambda self: self.through)
    @rule(which=WHICH, make=REPORT)
    def report_what_is_reported(self, which: int, make: Make) -> None:
        before = self._everything()
        job = self.through[which % len(self.through)]
        assert self.schedule.report([make(job)]).rests == [None]
        after = self._everything()
        assert [(one.waiting, one.leases, one.due, one.jobs) for one in before] == [
            (one.waiting, one.leases, one.due, one.jobs) for one in after
        ]

    @rule()
    def sweep(self) -> None:
        self._sweep()

    @rule()
    def find(self) -> None:
        self.schedule.find([lane.account for lane in LANES], [OPERATION])
        self.unannounced.clear()

    @rule(limit=st.sampled_from(LIMITS))
    def change_the_limit(self, limit: float) -> None:
        self._set_limit(limit)

    @rule()
    def let_the_paces_expire(self) -> None:
        """The workers were away for a day."""
        self._advance(86_400 * SECOND)
        for lane in LANES:
            self.redis.delete(lane.pace)
            self.models[lane].forget()
            self.slots[lane] = Slots(self.limit)

    # Time

    @rule(microseconds=st.integers(1, 2 * SECOND) | st.sampled_from([5, 15, 60, 7200, 172_800]).map(SECOND.__mul__))
    def wait(self, microseconds: int) -> None:
        self._advance(microseconds)

    @rule(
        microseconds=st.integers(1, 2 * SECOND) | st.sampled_from([60, 900, 7200]).map(SECOND.__mul__),
        jumped_on=st.booleans(),
        worker=WORKER,
    )
    def set_the_clock_back(self, microseconds: int, jumped_on: bool, worker: int) -> None:
        """A sweep follows within a second. The clock may have been set forward just before."""
        self._sweep()
        if jumped_on:
            self._advance(microseconds)
            self._take(worker, 50)
            if microseconds < 601 * SECOND:
                self._sweep()  # without it a lane may be looked at late by the same time, ten minutes at most
        self._advance(-microseconds)
        self._sweep()
        self.slots = {lane: Slots(self.limit) for lane in LANES}  # the same moments come again

    @rule(which=WHICH, just_before=st.booleans())
    def wait_for_what_comes_next(self, which: int, just_before: bool) -> None:
        moments: list[int] = []
        for content in self._everything():
            moments += [*content.leases.values(), *content.due.values(), content.number("rest"), content.number("tat")]
            moments += [content.scheduled or 0]
        ahead = sorted(moment for moment in moments if moment > self.clock.now_us)
        if ahead:
            self._advance(pick(ahead[:5], which) - self.clock.now_us - just_before)

    # What must hold after every step

    @invariant()
    def every_promise_is_kept(self) -> None:
        lanes = self._everything()
        for content in lanes:
            check_lane_is_scheduled(content, self.clock.now_us, unannounced=self.unannounced)
            check_no_orphaned_fields(content)
            self.models[content.lane].check(content, now_us=self.clock.now_us)
        check_jobs_are_conserved(lanes, self.sent, self.ended, self._id_of)
        check_other_keys_are_bounded(self.redis)

    def teardown(self) -> None:
        """Check that every job ends, and what remains in Redis then; skip this if a step has failed."""
        if sys.exc_info()[0] is None and self.sent:
            self._let_everything_end()

    def _let_everything_end(self) -> None:
        self.find()
        self.controls.clear()
        self._set_limit(10_000.0)  # at this limit, one look gives as many jobs as the worker asks for
        for _ in range(100):
            if not any(content.holds_waiting or content.jobs for content in self._everything()):
                break
            self._advance(61 * SECOND)
            self._sweep()
            for worker in range(len(WORKERS)):
                self._take(worker, 50)
            self.take_for_nobody()
            self._report([ended(LastCall.WELL, 0)(job) for job in self.owning])
        self.every_promise_is_kept()
        assert self.sent.keys() <= self.ended, f"these have not ended: {sorted(self.sent.keys() - self.ended)}"
        self._advance(601 * SECOND)  # a job that was cancelled may have been due
        for _ in range(2):
            self._sweep()
            for worker in range(len(WORKERS)):
                self._take(worker, 50)
            self._advance(SECOND)
        self.take_for_nobody()
        assert self.redis.zcard(LEASED) == 0
        unserved_lanes: Any = self.redis.zrange(SCHEDULE, 0, -1)
        assert {name.decode() for name in unserved_lanes} <= {LANES[2].name}
        assert self.redis.zcard(DEAD) == self.garbage

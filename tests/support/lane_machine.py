"""Lanes under whatever Hypothesis thinks of: producers, workers with books of their own, sweeps and clocks, in any order.

After each step the promises of :mod:`tests.support.lane_promises` hold, Redis holds what the model tells of each lane's
pace, and no lane is faster than its limit. In the end everything ends.
"""

import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamstop.lanes import (
    Book,
    Ended,
    Lane,
    Lanes,
    LastCall,
    Lateness,
    Pace,
    Released,
    Renewed,
    Report,
    Retried,
    Schedule,
    Taken,
    Throttled,
    Tries,
)
from streamstop.lanes.names import DEAD, LEASED, SCHEDULE
from tests.support.celery_messages import celery_message
from tests.support.lane_hands import CANCELLED, ENDED, KEPT, LEASE, WAITS_AGAIN, announce
from tests.support.lane_model import PaceModel
from tests.support.lane_promises import (
    SECOND,
    LaneHolds,
    jobs_are_conserved,
    nothing_is_kept_in_vain,
    read_lane,
    somebody_will_look,
    the_rest_is_bounded,
)
from tests.support.moved_clock import ClockedFakeRedis, ClockedRedis, MovedClock

_T = TypeVar("_T")

OPERATION = "live.StopMPUTask"
LANES = tuple(Lane(account, OPERATION) for account in ("acc-a", "acc-b", "acc-c"))
LIMITS = (0.4, 1.0, 2.5, 10.0, 50.0)
#: The accounts of each worker: some share a lane, and nobody has the last one.
WORKERS = (frozenset({"acc-a"}), frozenset({"acc-a", "acc-b"}), frozenset({"acc-b"}))
GARBAGE = (
    b"",
    b"not JSON",
    b"[]",
    b"\x01",
    b"\x01not a history\n" + celery_message(LANES[0], "forged"),
    b"[" * 2000,
    celery_message(LANES[0], "of another task", task="another.task"),
    celery_message(LANES[0], "of another:owner"),
)
LONGEST_LEASE = 2 * LEASE
#: Priorities that messages carry, foreign ones too, and the level to which each returns.
PRIORITIES = st.sampled_from([0, 0, 0, 3, 6, 9, -4, 77, "6", "high", None])
WHICH = st.integers(0, 10_000)
LANE = st.sampled_from(LANES)
WORKER = st.integers(0, len(WORKERS) - 1)
#: How late a call was, in µs.
LATE = st.sampled_from([0, 0, 9_999, 12_345, 50_000, 2 * SECOND])
COUNT = st.integers(0, 7)
TRIES = st.builds(Tries, COUNT, COUNT, COUNT, st.booleans(), COUNT, st.booleans())

#: Makes a report of a job.
Make = Callable[[Taken], Report]


def _lateness(job: Taken, late: int) -> Lateness:
    return Lateness(timedelta(microseconds=late), job.moved_us)


def _us(microseconds: int) -> timedelta:
    return timedelta(microseconds=microseconds)


def _ended(call: LastCall, late: int) -> Make:
    return lambda job: Ended(job=job, call=call, lateness=_lateness(job, late), record=ENDED, kept=KEPT)


def _retried(delay: int, tries: Tries, late: int, call: LastCall) -> Make:
    return lambda job: Retried(
        job=job, call=call, lateness=_lateness(job, late), delay=_us(delay), tries=tries, record=WAITS_AGAIN, kept=KEPT
    )


def _throttled(tries: Tries, hint: int, late: int) -> Make:
    return lambda job: Throttled(job=job, lateness=_lateness(job, late), hint=_us(hint) or None, tries=tries)


REPORT: st.SearchStrategy[Make] = st.one_of(
    st.builds(_ended, st.sampled_from(LastCall), LATE),
    st.builds(
        _retried,
        st.sampled_from([0, 1, SECOND, 60 * SECOND, 7200 * SECOND]),
        TRIES,
        LATE,
        st.sampled_from([LastCall.FAULT, LastCall.FAULT, LastCall.WELL, LastCall.NONE]),
    ),
    st.builds(
        _throttled, TRIES, st.sampled_from([0, 0, 1, SECOND // 2, 7 * SECOND, 300 * SECOND, 7200 * SECOND]), LATE
    ),
    st.just(lambda job: Released(job=job)),
    st.just(lambda job: Renewed(job=job, lease=LEASE)),
)


@dataclass
class Slots:
    """The slots that one lane gave for calls, at one limit and on one run of the clock."""

    limit: float
    given: dict[Taken, int] = field(default_factory=dict)

    def note(self, job: Taken) -> None:
        """Note a slot, and check that any second up to it has no more than the limit."""
        self.given[job] = job.slot_us
        lately = sorted(self.given.values())[-int(self.limit) - 1 :]
        if int(self.limit) == self.limit and len(lately) > self.limit:
            assert lately[-1] - lately[0] > SECOND, f"more than {self.limit} calls in a second"


class LaneMachine(RuleBasedStateMachine):
    """Producers, workers and time, in any order."""

    def __init__(self, redis: ClockedRedis | ClockedFakeRedis) -> None:
        super().__init__()
        self.redis = redis
        self.redis.flushall()
        self.clock = MovedClock()
        self.redis.show(self.clock)
        self.lanes, self.schedule = Lanes(redis), Schedule(redis)
        #: How often each job was sent, which message it has, and its lane.
        self.sent: Counter[str] = Counter()
        self.messages: dict[str, bytes] = {}
        self.home: dict[str, Lane] = {}
        self.ids: dict[bytes, str] = {}
        #: Jobs that somebody took: whose they may be still, and whose they are not any more.
        self.owning: list[Taken] = []
        self.through: deque[Taken] = deque(maxlen=20)
        self.ended: set[str] = set()
        self.unannounced: set[Lane] = set()
        self.garbage = 0

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
            job_id = _pick(list(self.sent), which)
            lane = self.home[job_id]
            self._send(job_id, level)
        self._announce(lane, tells=True)

    @rule(which=WHICH)
    def announce_a_lane_that_is_none(self, which: int) -> None:
        names = [b"", b"no lane", b"\xff.live.StopMPUTask", b"acc-a.acc-a", b"acc-a.live.Unknown", b"x" * 1000 + b".y"]
        self.redis.sadd("streamstop.arrivals", _pick(names, which))

    @precondition(lambda self: self.sent)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        job_id = _pick(list(self.sent), which)
        in_flight = read_lane(self.redis, self.home[job_id]).leases
        answer = self.lanes.cancel(self.home[job_id], job_id, record=CANCELLED)
        assert answer == ("ended" if job_id in self.ended else "claimed" if job_id in in_flight else "cancelled")
        if answer == "cancelled":
            self.ended.add(job_id)

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
        """The way that most jobs go: enqueued, taken, reported after their slots, or never."""
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
        """The sweeper takes jobs of accounts that no worker has."""
        take = self.schedule.take_strangers([LANES[2]], 5, lease=LEASE)
        assert all(job.slot_us == 0 for job in take.jobs)
        self.owning += take.jobs

    @precondition(lambda self: self.owning)
    @rule(which=st.lists(st.tuples(WHICH, REPORT), min_size=1, max_size=6))
    def report_some(self, which: Sequence[tuple[int, Make]]) -> None:
        """Reports in one batch; the same job's may be there twice."""
        self._report([make(_pick(self.owning, number)) for number, make in which])

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

    @rule(lane=LANE)
    def forget_a_pace(self, lane: Lane) -> None:
        """It has expired: the workers were away for a day."""
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
        """Within a second of it somebody sweeps; it may have been set on right before."""
        self._sweep()
        if jumped_on:
            self._advance(microseconds)
            self._take(worker, 50)
        self._advance(-microseconds)
        self._sweep()
        self.slots = {lane: Slots(self.limit) for lane in LANES}  # of an hour that comes again

    @rule(which=WHICH, just_before=st.booleans())
    def wait_for_what_comes_next(self, which: int, just_before: bool) -> None:
        moments: list[int] = []
        for held in self._everything():
            moments += [*held.leases.values(), *held.due.values(), held.number("rest"), held.number("tat")]
            moments += [held.scheduled or 0]
        ahead = sorted(moment for moment in moments if moment > self.clock.now_us)
        if ahead:
            self._advance(_pick(ahead[:5], which) - self.clock.now_us - just_before)

    # What must hold after every step

    @invariant()
    def every_promise_is_kept(self) -> None:
        lanes = self._everything()
        for held in lanes:
            if held.arrived or held.scheduled is not None:
                self.unannounced.discard(held.lane)
            somebody_will_look(held, self.clock.now_us, unannounced=self.unannounced)
            nothing_is_kept_in_vain(held)
            self.models[held.lane].check(held, now_us=self.clock.now_us)
        jobs_are_conserved(lanes, self.sent, self.ended, self._id_of)
        the_rest_is_bounded(self.redis)

    def teardown(self) -> None:
        """See that everything ends, and what is left then; unless a step has failed, which then is what matters."""
        if sys.exc_info()[0] is None and self.sent:
            self._let_everything_end()

    def _let_everything_end(self) -> None:
        self.find()
        self._set_limit(10_000.0)  # of these, a look gives as many as it may
        for _ in range(100):
            if not any(held.holds_waiting or held.jobs for held in self._everything()):
                break
            self._advance(61 * SECOND)
            self._sweep()
            for worker in range(len(WORKERS)):
                self._take(worker, 50)
            self.take_for_nobody()
            self._report([_ended(LastCall.WELL, 0)(job) for job in self.owning])
        self.every_promise_is_kept()
        assert self.sent.keys() <= self.ended, f"these have not ended: {sorted(self.sent.keys() - self.ended)}"
        self._advance(61 * SECOND)
        for _ in range(2):
            self._sweep()
            for worker in range(len(WORKERS)):
                self._take(worker, 50)
            self._advance(SECOND)
        self.take_for_nobody()
        assert self.redis.zcard(LEASED) == 0
        strangers: Any = self.redis.zrange(SCHEDULE, 0, -1)
        assert {name.decode() for name in strangers} <= {LANES[2].name}
        assert self.redis.zcard(DEAD) == self.garbage

    def _take(self, worker: int, most: int) -> list[Taken]:
        before = {held.lane: held for held in self._everything()}
        take = self.schedule.take(most, lease=LEASE, book=self.books[worker])
        assert not take.broken
        assert len(take.jobs) <= most
        for job in take.jobs:
            held = before[job.lane]
            assert job.lane.account in WORKERS[worker]
            assert job.job_id not in self.ended, "a job that has ended is given"
            assert job.job_id not in held.leases, "a job in flight is given"
            assert job.slot_us >= self.clock.now_us
            self.models[job.lane].gives(job, now_us=self.clock.now_us)
            self.slots[job.lane].note(job)
        for lane, one in before.items():
            if lane.account in WORKERS[worker]:
                given = [job for job in take.jobs if job.lane == lane]
                assert not given or len(one.leases) + len(given) <= max(self.models[lane].window, 1)
        for held in self._everything():
            self.models[held.lane].check(held, now_us=self.clock.now_us)
        self.owning += take.jobs
        return list(take.jobs)

    def _report(self, reports: Sequence[Report]) -> None:
        order = sorted(reports, key=lambda report: -report.job.slot_us)
        owned = {job_id: owner for held in self._everything() for job_id, owner in _owners(held).items()}
        expected: dict[int, timedelta | None] = {}
        for report in order:
            job = report.job
            if owned.get(job.job_id) != job.owner:
                expected[id(report)] = None
                continue
            rest = self.models[job.lane].takes_down(report, now_us=self.clock.now_us)
            expected[id(report)] = _us(rest)
            if isinstance(report, Renewed):
                continue
            del owned[job.job_id]
            if isinstance(report, Ended):
                self.ended.add(job.job_id)
            if isinstance(report, Released) or (report.call is LastCall.NONE and not isinstance(report, Throttled)):
                self.slots[job.lane].given.pop(job, None)  # there was no call
        assert list(self.schedule.report(reports).rests) == [expected[id(report)] for report in reports]
        for report in reports:
            if not isinstance(report, Renewed) and report.job in self.owning:
                self.owning.remove(report.job)
                self.through.append(report.job)

    def _sweep(self) -> None:
        for _ in range(100):
            swept = self.schedule.sweep(longest_lease=LONGEST_LEASE, period=timedelta(0))
            assert swept is not None
            if not swept.again:
                break
        for held in self._everything():
            assert all(self.clock.now_us < end for end in held.leases.values()), "a lease has run out, and is there"

    def _send(self, job_id: str, level: int) -> None:
        self.sent[job_id] += 1
        self.redis.lpush(self.home[job_id].waiting[level], self.messages[job_id])

    def _announce(self, lane: Lane, *, tells: bool) -> None:
        if tells:
            announce(self.redis, lane)
        else:
            self.unannounced.add(lane)

    def _set_limit(self, limit: float) -> None:
        pace = Pace.of_limit(limit)
        self.limit = limit
        self.books = [Book(accounts, {}, pace, {}) for accounts in WORKERS]
        self.slots = {lane: Slots(limit) for lane in LANES}
        if not hasattr(self, "models"):
            self.models = {lane: PaceModel() for lane in LANES}
        for model in self.models.values():
            model.pace = pace

    def _advance(self, microseconds: int) -> None:
        self.clock.now_us += microseconds
        self.redis.show(self.clock)

    def _id_of(self, entry: bytes) -> str | None:
        return self.ids.get(entry.partition(b"\n")[2] if entry.startswith(b"\x01") else entry)

    def _everything(self) -> list[LaneHolds]:
        return [read_lane(self.redis, lane) for lane in LANES]


def _owners(held: LaneHolds) -> dict[str, str]:
    return {name.removesuffix(":owner"): owner.decode() for name, owner in held.jobs.items() if name.endswith(":owner")}


def _pick(items: Sequence[_T], which: int) -> _T:
    return items[which % len(items)]

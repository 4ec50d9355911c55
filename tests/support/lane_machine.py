"""Two lanes under whatever Hypothesis thinks of: the scripts on a Redis, and the model beside them, step by step.

After each step Redis holds what the model tells, to the last field. What no model is needed for is checked on its own:
no job is lost, none is called once it has ended, and no lane is faster than its limit.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamstop.lanes import Claimed, Lane, Lanes, LastCall, Lateness, Pace, Swept, Tries
from streamstop.lanes.names import DEAD, LANES, READY_LISTS, result_key
from tests.support.celery_messages import celery_message
from tests.support.lane_model import (
    LONGEST_LEASE,
    SECOND,
    SWEEPER,
    LaneHolds,
    LaneModel,
    Late,
    Message,
    Shared,
    read_lane,
)
from tests.support.moved_clock import CLOCK_KEY, ClockedFakeRedis, ClockedRedis, MovedClock

_T = TypeVar("_T")

LIMITS = (0.4, 1.0, 2.5, 10.0, 50.0)
#: Priorities that messages carry, foreign ones too, and the level to which each returns.
PRIORITIES = ((0, 0), (3, 1), (5, 1), (6, 2), (9, 3), (-4, 0), (77, 3), (3.9, 1), ("6", 2), ("high", 0), (None, 0))
GARBAGE = (
    b"",
    b"not JSON",
    b"[]",
    b"null",
    b'{"content-type": "application/json", "headers": {"task": "streamstop.execute", "id": null}}',
    b"[" * 2000,
    celery_message(Lane("acc", "live.StopMPUTask"), "of another task", task="another.task"),
    celery_message(Lane("acc", "live.StopMPUTask"), "of another:owner"),
)
FINAL = '{"status": "SUCCESS", "result": null}'
CANCELLED = '{"status": "REVOKED", "result": null}'
AGAIN = '{"status": "RETRY", "result": null}'

EPOCH = datetime.fromtimestamp(0, UTC)

WHICH = st.integers(0, 10_000)
LANE = st.integers(0, 1)
LEASE = st.sampled_from([SECOND, 15 * SECOND])
COUNT = st.integers(0, 7)
TRIES = st.builds(Tries, COUNT, COUNT, COUNT, st.booleans(), COUNT, st.booleans())


@dataclass(frozen=True)
class Delivery:
    """A message in a worker's hands."""

    lane: int
    job_id: str
    owner: str


@dataclass(frozen=True)
class Slot:
    """When a call may be made, and the interval that its lane had then."""

    moment: int
    interval: int
    #: How many of the lane's slots in one second are too many; None where its limit has just changed.
    limit: float


@dataclass(frozen=True)
class Held:
    """All that Redis holds."""

    lanes: list[LaneHolds]
    ready: list[list[bytes]]
    dead: dict[str, bytes]
    known_lanes: set[str]
    records: dict[str, str]


#: A way for an owner to report.
Report = Callable[["LaneMachine", Delivery], None]


def _finishing(call: LastCall, late: int) -> Report:
    return lambda machine, delivery: machine.finish(delivery, call, late)


def _deferring(delay: int, tries: Tries, late: int, call: LastCall) -> Report:
    return lambda machine, delivery: machine.defer(delivery, delay, tries, late, call)


def _pausing(tries: Tries, hint: int, late: int) -> Report:
    return lambda machine, delivery: machine.pause(delivery, tries, hint, late)


#: How late the call was, in µs.
LATE = st.sampled_from([0, 0, 9_999, 12_345, 50_000, 2 * SECOND])


REPORT = st.one_of(
    st.builds(_finishing, st.sampled_from(LastCall), LATE),
    st.builds(
        _deferring,
        st.sampled_from([0, 1, SECOND, 60 * SECOND]),
        TRIES,
        LATE,
        st.sampled_from([LastCall.FAULT, LastCall.FAULT, LastCall.WELL, LastCall.NONE]),
    ),
    st.builds(_pausing, TRIES, st.sampled_from([0, 0, 1, SECOND // 2, 7 * SECOND, 300 * SECOND]), LATE),
)


class LaneMachine(RuleBasedStateMachine):
    """Producers, workers and time, in any order."""

    def __init__(self, redis: ClockedRedis | ClockedFakeRedis) -> None:
        super().__init__()
        self.redis = redis
        self.redis.flushall()
        self.clock = MovedClock()
        self.redis.show(self.clock)
        self.lanes = Lanes(redis)
        self.shared = Shared(self.clock)
        self.models: list[LaneModel] = []
        #: Every message that a producer has sent, by its text; how often each job was sent, and to which lane.
        self.messages: dict[bytes, Message] = {}
        self.sent: Counter[str] = Counter()
        self.home: dict[str, int] = {}
        #: Deliveries that have not claimed, that own their job, and that are through with it.
        self.taken: list[Delivery] = []
        self.owning: list[Delivery] = []
        self.through: list[Delivery] = []
        #: By how much its lane's slots had moved when a delivery was given its own.
        self.moved_before: dict[Delivery, int] = {}
        self.slots: list[list[Slot]] = [[], []]
        self.ended: set[str] = set()
        self.owners = 0

    @initialize(limits=st.tuples(st.sampled_from(LIMITS), st.sampled_from(LIMITS)))
    def two_lanes(self, limits: tuple[float, float]) -> None:
        for account, limit in zip(("acc-a", "acc-b"), limits, strict=True):
            lane = Lane(account, "live.StopMPUTask")
            self.models.append(LaneModel(self.shared, lane, Pace.of_limit(limit)))
        self.limits = list(limits)

    # Producers

    @rule(
        which=LANE,
        count=st.integers(0, 8),
        priority=st.sampled_from(PRIORITIES),
        level=st.integers(0, 3),
        vendors=st.none() | st.sampled_from(LIMITS),
    )
    def enqueue(self, which: int, count: int, priority: tuple[object, int], level: int, vendors: float | None) -> None:
        """Publish, and nudge by the vendor's limit, as far as the producer knows it; or leave that to the sweep."""
        model = self.models[which]
        for _ in range(count):
            job_id = f"{model.lane.name}.{len(self.sent)}"
            self.home[job_id] = which
            self._send(
                which, Message(celery_message(model.lane, job_id, priority=priority[0]), job_id, priority[1]), level
            )
        if vendors is not None:
            pace = Pace.of_limit(vendors, of_account=False)
            assert self.lanes.admit(model.lane, pace) == model.admit(pace)

    @rule(which=WHICH, garbage=st.none() | st.sampled_from(GARBAGE), level=st.integers(0, 3))
    def publish_garbage_or_a_job_again(self, which: int, garbage: bytes | None, level: int) -> None:
        if garbage is not None:
            self._send(which % 2, Message(garbage, None), level)
        elif self.sent:
            job_id = _pick(list(self.sent), which)
            message = next(message for message in self.messages.values() if message.job_id == job_id)
            self._send(self.home[job_id], message, level)

    @rule(which=WHICH, known=st.sampled_from([True, True, True, False]))
    def cancel(self, which: int, known: bool) -> None:
        if known and self.owning and which % 3 == 0:
            self._cancel(_pick(self.owning, which).job_id)
        elif known and self.sent:
            self._cancel(_pick(list(self.sent), which))
        else:
            self.home["acc-a.live.StopMPUTask.unknown"] = 0
            self._cancel("acc-a.live.StopMPUTask.unknown")

    # Workers

    @rule(
        which=LANE,
        reports=st.lists(st.none() | REPORT, min_size=1, max_size=8)
        | st.tuples(REPORT, st.integers(4, 10)).map(lambda alike: [alike[0]] * alike[1]),
        lease=LEASE,
        at_once=st.booleans(),
    )
    def run_jobs(self, which: int, reports: list[Report | None], lease: int, at_once: bool) -> None:
        """The way that most jobs go: enqueued, taken, claimed, reported at their slots, or never."""
        self.enqueue(which, len(reports), PRIORITIES[0], 0, self.limits[which])
        for report in reports:
            if not self._take():
                self._advance(SECOND)
                self.sweep(which)
                if not self._take():
                    break
            if not self._claim(self.taken.pop(), lease, 0):
                continue
            delivery = self.owning[-1]
            if at_once:
                continue
            self._advance(max(self.slots[delivery.lane][-1].moment - self.clock.now_us, 0))
            if report is not None:
                report(self, delivery)
        for delivery, report in zip(list(self.owning) if at_once else [], reports, strict=False):
            if report is not None:
                report(self, delivery)

    @rule(count=st.integers(1, 5))
    def take(self, count: int) -> None:
        for _ in range(count):
            self._take()

    @precondition(lambda self: self.taken)
    @rule(
        which=WHICH,
        lease=LEASE,
        expires=st.sampled_from([0, 0, 0, -SECOND, 1, SECOND // 2, 3 * SECOND]),
        to_call=st.sampled_from([True, True, False]),
    )
    def claim(self, which: int, lease: int, expires: int, to_call: bool) -> None:
        delivery = _pick(self.taken, which)
        self.taken.remove(delivery)
        self._claim(delivery, lease, expires and self.clock.now_us + expires, to_call=to_call)

    @precondition(lambda self: self.owning or self.through)
    @rule(which=WHICH, by_the_owner=st.booleans())
    def claim_once_more(self, which: int, by_the_owner: bool) -> None:
        delivery = _pick(self.owning + self.through, which)
        if not by_the_owner:
            delivery = Delivery(delivery.lane, delivery.job_id, self._new_owner())
        if delivery in self.owning:
            self.owning.remove(delivery)
        self._claim(delivery, 15 * SECOND, 0)

    @precondition(lambda self: self.owning)
    @rule(which=st.none() | WHICH, report=REPORT)
    def report(self, which: int | None, report: Report) -> None:
        for delivery in list(self.owning) if which is None else [_pick(self.owning, which)]:
            report(self, delivery)

    @precondition(lambda self: self.taken or self.owning)
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        delivery = _pick(self.taken + self.owning, which)
        released = self.models[delivery.lane].release(delivery.job_id, delivery.owner)
        assert self._release(delivery) == released
        if delivery in self.taken:
            self.taken.remove(delivery)
        self._let_go(delivery)

    @precondition(lambda self: self.owning or self.through)
    @rule(which=WHICH, how=st.sampled_from(["finish", "defer", "pause", "release"]))
    def report_by_one_who_owns_nothing(self, which: int, how: str) -> None:
        delivery = _pick(self.owning + self.through, which)
        if delivery in self.owning or self._owns(delivery):
            delivery = Delivery(delivery.lane, delivery.job_id, self._new_owner())
        if how == "release" and not self._is_owned(delivery):
            return  # whoever has an unclaimed job's message may give it back
        before = self._everything()
        reports: dict[str, Callable[[], object]] = {
            "finish": lambda: self._report_finish(delivery, LastCall.WELL, Late(SECOND)) or None,
            "defer": lambda: self._report_defer(delivery, 0, Tries(), Late(SECOND), LastCall.FAULT),
            "pause": lambda: self._report_pause(delivery, Tries(), 0, Late(SECOND)),
            "release": lambda: self._release(delivery) or None,
        }
        assert reports[how]() is None
        assert self._everything() == before

    @rule(which=LANE)
    def sweep(self, which: int) -> None:
        self._sweep(which)
        model, before = self.models[which], self._everything()
        again = model.sweep()
        assert self._swept(model) == again
        assert (again.lapsed, again.due) == (0, 0)
        assert again.admitted or self._everything() == before, "a sweep that moves nothing changes nothing"

    @rule(which=LANE, limit=st.sampled_from(LIMITS))
    def change_the_limit(self, which: int, limit: float) -> None:
        self.models[which].pace = Pace.of_limit(limit)
        self.limits[which] = limit

    # Time

    @rule(microseconds=st.integers(1, 2 * SECOND) | st.sampled_from([5, 15, 60, 7200, 172_800]).map(SECOND.__mul__))
    def wait(self, microseconds: int) -> None:
        self._advance(microseconds)

    @rule(microseconds=st.integers(1, 2 * SECOND) | st.sampled_from([60, 900, 7200]).map(SECOND.__mul__))
    def set_the_clock_back(self, microseconds: int) -> None:
        self._advance(-microseconds)
        self.slots = [[], []]  # of an hour that comes again

    @rule(which=WHICH, just_before=st.booleans())
    def wait_for_what_comes_next(self, which: int, just_before: bool) -> None:
        moments: list[float] = []
        for model in self.models:
            moments += [job.report_by for job in model.in_flight.values()]
            moments += [moment for _, moment in model.deferred.values()]
            moments += [model.pacing.rests_until, model.pacing.free_from, model.pacing.promised_from]
        ahead = sorted(moment for moment in moments if moment > self.clock.now_us)
        if ahead:
            self._advance(int(_pick(ahead[:5], which)) - self.clock.now_us - just_before)

    # What must hold after every step

    @invariant()
    def every_promise_is_kept(self) -> None:
        held = self._everything()
        self._redis_holds_what_the_model_tells(held)
        self._every_job_is_in_one_place(held)
        self._nothing_is_kept_in_vain(held)
        self._what_is_left_expires()

    def _redis_holds_what_the_model_tells(self, held: Held) -> None:
        assert held.lanes == [model.holds() for model in self.models]
        assert held.ready == [[message.text for message in level] for level in self.shared.ready]
        assert held.dead == self.shared.dead
        assert held.known_lanes == self.shared.known_lanes
        assert held.records == {job_id: record.text for job_id, record in self.shared.records.items()}

    def _every_job_is_in_one_place(self, held: Held) -> None:
        copies = Counter(self.messages[text].job_id for lane in held.lanes for level in lane.waiting for text in level)
        for lane in held.lanes:
            copies.update([*lane.leases, *lane.due])
        for job_id, times_sent in self.sent.items():
            if job_id in self.ended:
                assert held.records[job_id] in {FINAL, CANCELLED}
                assert copies[job_id] <= times_sent, "a copy of a message may be left, and will be dropped"
            else:
                assert 1 <= copies[job_id] <= times_sent, f"{job_id} is in {copies[job_id]} places"

    def _nothing_is_kept_in_vain(self, held: Held) -> None:
        for lane in held.lanes:
            kept = {name for name in lane.jobs if not name.endswith((":owner", ":tries"))}
            assert kept == lane.leases.keys() | lane.due.keys(), "a job in flight or deferred has its message there"
            owners = {name.removesuffix(":owner") for name in lane.jobs if name.endswith(":owner")}
            assert owners <= lane.leases.keys()
            waiting = {self.messages[text].job_id for level in lane.waiting for text in level}
            histories = {name.removesuffix(":tries") for name in lane.jobs if name.endswith(":tries")}
            assert histories <= kept | waiting, "the history of a job that has ended is left"

    def _what_is_left_expires(self) -> None:
        keys: Any = self.redis.keys("*")
        pipeline = self.redis.pipeline(transaction=False)
        for key in keys:
            if key.startswith(b"celery-task-meta-") or key.endswith(b":pace"):
                pipeline.pttl(key)
        assert all(ttl > 0 for ttl in pipeline.execute())

    def teardown(self) -> None:
        """See that everything ends, and what is left then; unless a step has failed, which then is what matters."""
        if sys.exc_info()[0] is None and self.models:
            self._let_everything_end()

    def _let_everything_end(self) -> None:
        for _ in range(2000):
            if all(model.empty for model in self.models) and not any(self.shared.ready):
                break
            self._advance(61 * SECOND)
            for which in (0, 1):
                self._sweep(which)
            while self._take():
                self._claim(self.taken.pop(), 15 * SECOND, 0)
            for delivery in list(self.owning):
                self.finish(delivery, LastCall.WELL)
        self.every_promise_is_kept()
        assert self.sent.keys() <= self.ended, "a job has not ended"
        for which in (0, 1):
            self._sweep(which)
        keys: Any = self.redis.keys("*")
        left = {key.decode() for key in keys} - {
            CLOCK_KEY,
            DEAD,
            f"{DEAD}:count",
            *(f"{DEAD}.{dead}" for dead in self.shared.dead),
        }
        assert left <= {result_key(job_id) for job_id in self.home} | {model.lane.keys[7] for model in self.models}

    def finish(self, delivery: Delivery, call: LastCall, late: int = 0) -> None:
        lateness = self._lateness(delivery, late)
        finished = self.models[delivery.lane].finish(delivery.job_id, delivery.owner, FINAL, call, lateness)
        assert self._report_finish(delivery, call, lateness) == finished
        if finished:
            self.ended.add(delivery.job_id)
        self._let_go(delivery)

    def defer(self, delivery: Delivery, delay: int, tries: Tries, late: int, call: LastCall) -> None:
        lateness = self._lateness(delivery, late)
        model = self.models[delivery.lane]
        rest = model.defer(delivery.job_id, delivery.owner, delay, tries, AGAIN, call, lateness)
        assert self._report_defer(delivery, delay, tries, lateness, call) == _duration(rest)
        self._let_go(delivery)

    def pause(self, delivery: Delivery, tries: Tries, hint: int, late: int) -> None:
        lateness = self._lateness(delivery, late)
        rest = self.models[delivery.lane].pause(delivery.job_id, delivery.owner, tries, hint, lateness)
        assert self._report_pause(delivery, tries, hint, lateness) == _duration(rest)
        self._let_go(delivery)

    def _lateness(self, delivery: Delivery, late: int) -> Late:
        return Late(late, self.moved_before.get(delivery, 0))

    def _send(self, which: int, message: Message, level: int) -> None:
        self.messages[message.text] = message
        if message.job_id is not None:
            self.sent[message.job_id] += 1
        self.redis.lpush(self.models[which].lane.waiting[level], message.text)
        self.models[which].publish(message, level)

    def _cancel(self, job_id: str) -> None:
        model = self.models[self.home[job_id]]
        answer = model.cancel(job_id, CANCELLED)
        assert self.lanes.cancel(model.lane, job_id, record=CANCELLED) == answer
        if answer == "cancelled":
            self.ended.add(job_id)

    def _sweep(self, which: int) -> None:
        model = self.models[which]
        swept = self._swept(model)
        assert swept == model.sweep()
        self.owning += [Delivery(which, job_id, SWEEPER) for job_id, _ in swept.unbegun]

    def _swept(self, model: LaneModel) -> Swept:
        lease = timedelta(microseconds=LONGEST_LEASE)
        return self.lanes.sweep(model.lane, model.pace, owner=SWEEPER, lease=lease)

    def _take(self) -> bool:
        text: Any = next(filter(None, map(self.redis.rpop, READY_LISTS)), None)
        if text is None:
            assert not any(self.shared.ready)
            return False
        assert self.shared.take().text == text
        job_id = self.messages[text].job_id
        assert job_id is not None
        self.taken.append(Delivery(self.home[job_id], job_id, self._new_owner()))
        return True

    def _claim(self, delivery: Delivery, lease: int, expires: int, *, to_call: bool = True) -> bool:
        model = self.models[delivery.lane]
        rests_until = model.pacing.rests_until
        expected = model.claim(delivery.job_id, delivery.owner, lease, expires, to_call=to_call)
        claim = self.lanes.claim(
            model.lane,
            model.pace,
            delivery.job_id,
            owner=delivery.owner,
            lease=timedelta(microseconds=lease),
            expires_at=EPOCH + timedelta(microseconds=expires) if expires else None,
            to_call=to_call,
        )
        assert claim == expected
        if claim.what is Claimed.GO and to_call:
            assert delivery.job_id not in self.ended
            slot = self.clock.now_us + claim.wait // timedelta(microseconds=1)
            assert slot >= rests_until, "a lane that rests gives no slot"
            self._note_slot(delivery.lane, slot)
            self.moved_before[delivery] = claim.moved_us
        owns = claim.what in {Claimed.GO, Claimed.EXPIRED}
        (self.owning if owns else self.through).append(delivery)
        return owns

    def _note_slot(self, which: int, moment: int) -> None:
        slots, limit = self.slots[which], self.limits[which]
        if slots:
            # Where the limit was raised, what the lower one put off is brought forward.
            assert moment >= slots[-1].moment + min(slots[-1].interval, self.models[which].pace.interval_us)
        slots.append(Slot(moment, self.models[which].pace.interval_us, limit))
        lately = slots[-int(limit) - 1 :] if limit >= 1 else []
        if len(lately) > int(limit) == limit and all(slot.limit == limit for slot in lately):
            assert lately[-1].moment - lately[0].moment > SECOND

    def _report_finish(self, delivery: Delivery, call: LastCall, late: Late) -> bool:
        model = self.models[delivery.lane]
        return self.lanes.finish(
            model.lane,
            model.pace,
            delivery.job_id,
            owner=delivery.owner,
            record=FINAL,
            call=call,
            lateness=_as_told(late),
        )

    def _report_defer(
        self, delivery: Delivery, delay: int, tries: Tries, late: Late, call: LastCall
    ) -> timedelta | None:
        model = self.models[delivery.lane]
        return self.lanes.defer(
            model.lane,
            model.pace,
            delivery.job_id,
            owner=delivery.owner,
            delay=timedelta(microseconds=delay),
            tries=tries,
            record=AGAIN,
            call=call,
            lateness=_as_told(late),
        )

    def _report_pause(self, delivery: Delivery, tries: Tries, hint: int, late: Late) -> timedelta | None:
        model = self.models[delivery.lane]
        return self.lanes.pause(
            model.lane,
            model.pace,
            delivery.job_id,
            owner=delivery.owner,
            tries=tries,
            hint=timedelta(microseconds=hint) if hint else None,
            lateness=_as_told(late),
        )

    def _release(self, delivery: Delivery) -> bool:
        model = self.models[delivery.lane]
        return self.lanes.release(model.lane, model.pace, delivery.job_id, owner=delivery.owner)

    def _owns(self, delivery: Delivery) -> bool:
        job = self.models[delivery.lane].in_flight.get(delivery.job_id)
        return job is not None and job.owner == delivery.owner

    def _is_owned(self, delivery: Delivery) -> bool:
        job = self.models[delivery.lane].in_flight.get(delivery.job_id)
        return job is not None and job.owner is not None

    def _let_go(self, delivery: Delivery) -> None:
        if delivery in self.owning:
            self.owning.remove(delivery)
        self.through.append(delivery)

    def _new_owner(self) -> str:
        self.owners += 1
        return f"owner {self.owners}"

    def _advance(self, microseconds: int) -> None:
        self.clock.now_us += microseconds
        self.redis.show(self.clock)

    def _everything(self) -> Held:
        job_ids = list(self.home)
        pipeline = self.redis.pipeline(transaction=False)
        for ready in READY_LISTS:
            pipeline.lrange(ready, 0, -1)
        pipeline.smembers(LANES)
        pipeline.mget([CLOCK_KEY, *(result_key(job_id) for job_id in job_ids)])
        now, later, known_lanes, (_, *records) = pipeline.execute()
        return Held(
            lanes=[read_lane(self.redis, model.lane) for model in self.models],
            ready=[now[::-1], later[::-1]],
            dead={letter_id: self._letter(letter_id) for letter_id in self._letter_ids()},
            known_lanes={name.decode() for name in known_lanes},
            records={job_id: text.decode() for job_id, text in zip(job_ids, records, strict=True) if text is not None},
        )

    def _letter_ids(self) -> list[str]:
        ids: Any = self.redis.zrange(DEAD, 0, -1)
        return [letter_id.decode() for letter_id in ids]

    def _letter(self, letter_id: str) -> bytes:
        text: Any = self.redis.hget(f"{DEAD}.{letter_id}", "message")
        return bytes(text)


def _pick(items: list[_T], which: int) -> _T:
    return items[which % len(items)]


def _as_told(late: Late) -> Lateness:
    return Lateness(timedelta(microseconds=late.by), late.moved_before)


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)

"""A lane as plain Python: its rules told once more, without Redis, for the scripts to be held against.

A job is in one place at a time::

    waiting ──admitted──▶ in flight ──▶ ended (a record)
       ▲                     │  └─────▶ deferred
       └─────────────────────┴──────────────┘

:class:`Shared` is what all lanes have in common, :class:`LaneModel` one lane. Both tell the whole of what Redis should
hold (:meth:`LaneModel.holds`), so that a comparison leaves nothing out. Moments are in µs.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from streamstop.lanes import Claim, Claimed, Lane, LastCall, Pace, Swept, Tries
from tests.support.moved_clock import MovedClock

SECOND = 1_000_000
#: From the admission to the claim.
TIME_TO_CLAIM = 5 * SECOND
#: How far ahead of its slot a job is admitted; and the only job of its lane.
AHEAD, AHEAD_ALONE = SECOND // 4, SECOND
#: A slot that is nearer is as good as here.
NEAR = SECOND // 50
#: The longest that a worker waits for a slot.
PATIENCE = SECOND
#: How late a call may leave and be covered by the headroom.
LATE_COVERED = 10_000
FAULTS_TO_FAIL = 5
MOST_DROPPED = 500
MOST_LAPSES = 5
#: No moment of a lane is farther off, unless the clock was set back.
FARTHEST = 600 * SECOND
#: Who sweeps, and longer than any lease that is given.
SWEEPER, LONGEST_LEASE = "sweep", 30 * SECOND


@dataclass(frozen=True)
class Message:
    """A message, and what a lane reads from it."""

    text: bytes
    #: None for a message that no worker can read.
    job_id: str | None
    #: The place among the lane's four levels that its priority gives it when it returns.
    level: int = 0


@dataclass
class InFlight:
    """An admitted job that has not reported."""

    message: Message
    report_by: int
    owner: str | None = None


@dataclass(frozen=True)
class Late:
    """How late a call left its worker, and how far slots had moved when it was given its own."""

    by: int = 0
    moved_before: int = 0


ON_TIME = Late()


@dataclass
class Pacing:
    """How a lane runs now."""

    interval: int = 0
    window: int = 0
    #: The first slot that no call has.
    free_from: float = 0
    #: The first slot that no admitted job is meant for.
    promised_from: float = 0
    rests_until: float = 0
    #: How long that rest takes, from its beginning.
    span: int = 0
    share: int = 100
    faults: int = 0
    throttles: int = 0
    admissions: int = 0
    #: By how much slots have moved on behind late calls, in all.
    moved: int = 0

    @property
    def failing(self) -> bool:
        return self.faults >= FAULTS_TO_FAIL

    @property
    def spacing(self) -> float:
        """Between two calls, at the present share of the pace."""
        return self.interval * 100 / self.share


@dataclass
class Record:
    """How a job ended, or that it will be called again."""

    text: str
    final: bool


@dataclass
class Shared:
    """What all lanes have in common."""

    clock: MovedClock
    #: Whose slot is here, and who has to wait for it in a worker; each first to last.
    ready: tuple[list[Message], list[Message]] = field(default_factory=lambda: ([], []))
    #: What nobody can read, by id.
    dead: dict[str, bytes] = field(default_factory=dict)
    known_lanes: set[str] = field(default_factory=set)
    records: dict[str, Record] = field(default_factory=dict)

    def take(self) -> Message:
        """A worker takes the next job."""
        now, later = self.ready
        return (now or later).pop(0)

    def ended(self, job_id: str) -> bool:
        """Whether the job has its outcome."""
        return job_id in self.records and self.records[job_id].final


@dataclass(frozen=True)
class LaneHolds:
    """What one lane holds; equal for a model and a Redis that agree."""

    waiting: tuple[tuple[bytes, ...], ...]
    leases: dict[str, int]
    due: dict[str, int]
    jobs: dict[str, bytes]
    pacing: Pacing


class LaneModel:
    """One lane."""

    def __init__(self, shared: Shared, lane: Lane, pace: Pace) -> None:
        self.shared = shared
        self.lane = lane
        #: As its workers have it.
        self.pace = pace
        #: By level, each first to last.
        self.waiting: list[list[Message]] = [[], [], [], []]
        self.in_flight: dict[str, InFlight] = {}
        #: The message, and the moment at which it waits again.
        self.deferred: dict[str, tuple[Message, int]] = {}
        #: A job's history stays with the lane until it ends, wherever it is.
        self.histories: dict[str, Tries] = {}
        self.pacing = Pacing()

    @property
    def now(self) -> int:
        return self.shared.clock.now_us

    @property
    def rests(self) -> bool:
        return self.pacing.rests_until > self.now

    @property
    def empty(self) -> bool:
        return not (any(self.waiting) or self.in_flight or self.deferred)

    def publish(self, message: Message, level: int) -> None:
        """A producer puts a message at the back of one level."""
        self.waiting[level].append(message)

    def admit(self, vendors: Pace) -> int:
        """A producer nudges; it knows the vendor's limit, which counts only until a worker has told the pace."""
        with self._settled():
            self.shared.known_lanes.add(self.lane.name)
            if not self.pacing.interval:
                self._run_at(vendors)
            self._forget_what_a_later_clock_told()
            return self._admit()

    def claim(self, job_id: str, owner: str, lease: int, expires: int, *, to_call: bool = True) -> Claim:
        """Whoever is first may call, when its slot has come; who will not call takes none."""
        job = self.in_flight.get(job_id)
        if job is None or job.owner not in {None, owner}:
            return Claim(Claimed.STALE)
        with self._settled():
            self._run_at(self.pace)
            if self.shared.ended(job_id):
                self._forget(job_id)
                self._take_promise_back()
                self._admit()
                return Claim(Claimed.STALE)
            slot = max(self.now, self.pacing.free_from, self.pacing.rests_until)
            wait = int(slot - self.now)
            tries = self.histories.get(job_id, Tries())
            if not to_call or (expires and slot >= expires):
                job.owner, job.report_by = owner, self.now + lease
                return _claim(Claimed.EXPIRED if to_call else Claimed.GO, 0, self.now, tries)
            probe_goes_first = self.pacing.failing and len(self.in_flight) > 1
            if wait > PATIENCE or probe_goes_first:
                self._wait_again(job.message)
                self._take_promise_back()
                self._admit()
                return Claim(Claimed.PARKED)
            job.owner, job.report_by = owner, int(slot) + lease
            self.pacing.free_from = slot + self.pacing.spacing
            return _claim(Claimed.GO, wait, self.now, tries, self.pacing.moved)

    def finish(self, job_id: str, owner: str, record: str, call: LastCall, late: Late = ON_TIME) -> bool:
        """The job has ended."""
        if not self._owns(job_id, owner):
            return False
        with self._settled():
            self._run_at(self.pace)
            self.shared.records[job_id] = Record(record, final=True)
            self._forget(job_id)
            match call:
                case LastCall.WELL:
                    self.pacing.faults = 0
                    if not self.rests:
                        self.pacing.throttles = 0
                        self.pacing.share = min(100, self.pacing.share + 5)
                case LastCall.FAULT:
                    self._meet_a_fault()
                case LastCall.NONE:
                    self._take_promise_back()
            self._make_up(late)
            self._admit()
        return True

    def defer(  # noqa: PLR0917  # as the scripts take it
        self, job_id: str, owner: str, delay: int, tries: Tries, record: str, call: LastCall, late: Late = ON_TIME
    ) -> int | None:
        """The job waits outside its lane until it is due; return how long the lane rests for its fault."""
        if not self._owns(job_id, owner):
            return None
        with self._settled():
            self._run_at(self.pace)
            job = self.in_flight.pop(job_id)
            self.deferred[job_id] = (job.message, self.now + delay)
            self.histories[job_id] = tries
            self.shared.records[job_id] = Record(record, final=False)
            rest = self._meet_a_fault() if call is LastCall.FAULT else 0
            if call is LastCall.NONE:
                self._take_promise_back()
            self._make_up(late)
            self._admit()
        return rest

    def pause(self, job_id: str, owner: str, tries: Tries, hint: int, late: Late = ON_TIME) -> int | None:
        """The vendor has throttled the job: return how long the lane rests."""
        if not self._owns(job_id, owner):
            return None
        with self._settled():
            self._run_at(self.pace)
            self._wait_again(self.in_flight[job_id].message)
            self.histories[job_id] = tries
            if self.rests and hint > self.pacing.rests_until - self.now:
                self._rest_for(hint)
            elif not self.rests:
                self.pacing.throttles += 1
                self.pacing.share = max(5, self.pacing.share // 2)
                seconds = min(30, 2 ** (self.pacing.throttles - 1))
                self._rest_for(hint or seconds * SECOND)
            self._make_up(late)
        return int(self.pacing.rests_until) - self.now

    def release(self, job_id: str, owner: str) -> bool:
        """Its worker gives the job back, uncalled."""
        job = self.in_flight.get(job_id)
        if job is None or job.owner not in {None, owner}:
            return False
        with self._settled():
            self._run_at(self.pace)
            self._wait_again(job.message)
            self._take_promise_back()
            self._admit()
        return True

    def cancel(self, job_id: str, record: str) -> str:
        """Its producer takes the job back; a copy that waits or is in flight is dropped when it is claimed."""
        if self.shared.ended(job_id):
            return "ended"
        if job_id in self.in_flight and self.in_flight[job_id].owner is not None:
            return "claimed"
        self.shared.records[job_id] = Record(record, final=True)
        if self.deferred.pop(job_id, None):
            self.histories.pop(job_id, None)
        return "cancelled"

    def sweep(self) -> Swept:
        """A worker mends the lane."""
        before = dataclasses.replace(self.pacing)
        with self._settled():
            self._run_at(self.pace)
            for job in self.in_flight.values():
                job.report_by = min(job.report_by, self.now + LONGEST_LEASE)
            for job_id, (message, moment) in self.deferred.items():
                self.deferred[job_id] = (message, min(moment, self.now + FARTHEST))
            lapsed = sorted((job.report_by, job_id) for job_id, job in self.in_flight.items())
            lapsed = [(moment, job_id) for moment, job_id in lapsed if moment <= self.now]
            held = [(job_id, self.in_flight[job_id].message) for _, job_id in reversed(lapsed)]
            unbegun = tuple((job_id, message.text) for job_id, message in held if self._mend(job_id))
            due = sorted((moment, job_id) for job_id, (_, moment) in self.deferred.items() if moment <= self.now)
            for _, job_id in reversed(due):
                message, _ = self.deferred.pop(job_id)
                self._wait_again(message)
            admitted = self._admit()
        if self.empty:
            self.shared.known_lanes.discard(self.lane.name)
            self.pacing = before  # an empty lane notes nothing
        else:
            self.shared.known_lanes.add(self.lane.name)
        return Swept(lapsed=len(lapsed), due=len(due), admitted=admitted, unbegun=unbegun)

    def holds(self) -> LaneHolds:
        """Tell what Redis should hold of the lane."""
        jobs = {job_id: job.message.text for job_id, job in self.in_flight.items()}
        jobs |= {job_id: message.text for job_id, (message, _) in self.deferred.items()}
        jobs |= {f"{job_id}:owner": job.owner.encode() for job_id, job in self.in_flight.items() if job.owner}
        jobs |= {f"{job_id}:tries": str(tries).encode() for job_id, tries in self.histories.items()}
        return LaneHolds(
            waiting=tuple(tuple(message.text for message in level) for level in self.waiting),
            leases={job_id: job.report_by for job_id, job in self.in_flight.items()},
            due={job_id: moment for job_id, (_, moment) in self.deferred.items()},
            jobs=jobs,
            pacing=self.pacing,
        )

    def _admit(self) -> int:
        """Admit while there is room, a slot is near, and something waits."""
        if self.rests:
            return 0
        room = 1 if self.pacing.failing else self.pacing.window
        admitted = dropped = 0
        while len(self.in_flight) < room and dropped < MOST_DROPPED:
            slot = max(self.now, self.pacing.promised_from, self.pacing.free_from)
            if slot - self.now > (AHEAD if self.in_flight else AHEAD_ALONE):
                break
            message = self._next_waiting()
            if message is None:
                break
            if message.job_id is None:
                dropped += 1
                self.shared.dead[f"unreadable-{len(self.shared.dead) + 1}"] = message.text
            elif message.job_id in self.in_flight or message.job_id in self.deferred:
                dropped += 1
            else:
                self.in_flight[message.job_id] = InFlight(message, self.now + TIME_TO_CLAIM)
                self.shared.ready[slot - self.now > NEAR].append(message)
                self.pacing.promised_from = slot + self.pacing.spacing
                self.pacing.admissions += 1
                admitted += 1
        return admitted

    def _next_waiting(self) -> Message | None:
        """Take the oldest of the most urgent; but every tenth time a lower level goes first, 9, 6 and 3 in turn."""
        tens, ones = divmod(self.pacing.admissions, 10)
        order = [0, 1, 2, 3] if ones != 9 else [3 - tens % 3, 3, 2, 1, 0]
        for level in order:
            if self.waiting[level]:
                return self.waiting[level].pop(0)
        return None

    def _wait_again(self, message: Message) -> None:
        """Put a job at the front of its level; its history stays."""
        assert message.job_id is not None
        self.waiting[message.level].insert(0, message)
        self.in_flight.pop(message.job_id, None)

    def _forget(self, job_id: str) -> None:
        del self.in_flight[job_id]
        self.histories.pop(job_id, None)

    def _take_promise_back(self) -> None:
        """There was no call: the next admission may have this one's slot."""
        self.pacing.promised_from = max(self.pacing.promised_from - self.pacing.spacing, self.pacing.free_from)

    def _meet_a_fault(self) -> int:
        """Count a transient fault, unless its call is from before the rest; return how long the lane rests for it."""
        if self.rests:
            return 0
        self.pacing.faults += 1
        if not self.pacing.failing:
            return 0
        rest: int = min(60, 2 ** (self.pacing.faults - FAULTS_TO_FAIL)) * SECOND
        self._rest_for(rest)
        return rest

    def _rest_for(self, span: int) -> None:
        self.pacing.rests_until, self.pacing.span = self.now + span, span

    def _make_up(self, late: Late) -> None:
        """Move the open slots on behind a late call, unless they have moved enough since it had its own."""
        moved_since = max(0, self.pacing.moved - late.moved_before)
        missing = late.by - LATE_COVERED - moved_since
        free_from = max(self.pacing.free_from, self.now)
        # No slot need be further off than a second: that is a second behind any call that has left.
        move = round(min(missing, self.now + SECOND - free_from))
        if move > 0:
            self.pacing.free_from = free_from + move
            self.pacing.moved += move

    def _mend(self, job_id: str) -> bool:
        """Make a job wait again whose lease ran out; return whether it is the sweeper's to end instead."""
        job = self.in_flight[job_id]
        lying = [ready for ready in self.shared.ready if job.message in ready]
        if job.owner is None and lying:
            for ready in lying:
                ready.reverse()
                ready.remove(job.message)  # the newest, should a stale copy lie there too
                ready.reverse()
            self._wait_again(job.message)
            self._take_promise_back()
            return False
        tries = self.histories.get(job_id, Tries())
        self.histories[job_id] = dataclasses.replace(tries, lapses=tries.lapses + 1)
        if job.owner is None and tries.lapses >= MOST_LAPSES:
            job.owner, job.report_by = SWEEPER, self.now + TIME_TO_CLAIM
            return True
        self._wait_again(job.message)
        return False

    def _owns(self, job_id: str, owner: str) -> bool:
        job = self.in_flight.get(job_id)
        return job is not None and job.owner == owner

    def _run_at(self, pace: Pace) -> None:
        self.pacing.interval, self.pacing.window = pace.interval_us, pace.window
        self._forget_what_a_later_clock_told()

    def _forget_what_a_later_clock_told(self) -> None:
        """Where the clock was set back, what was noted before would hold the lane up for as long."""
        slots_end = self.now + PATIENCE + self.pacing.spacing
        self.pacing.free_from = min(self.pacing.free_from, slots_end)
        self.pacing.promised_from = min(self.pacing.promised_from, slots_end)
        self.pacing.rests_until = min(self.pacing.rests_until, self.now + self.pacing.span) if self.rests else 0

    @contextlib.contextmanager
    def _settled(self) -> Iterator[None]:
        """Round moments to whole µs when a step is over, and not before."""
        yield
        self.pacing.free_from = round(self.pacing.free_from)
        self.pacing.promised_from = round(self.pacing.promised_from)


def read_lane(redis: Redis, lane: Lane) -> LaneHolds:
    """Tell what `redis` holds of `lane`."""
    *_, leases_key, jobs_key, due_key, pace_key, _ready, _lanes, _dead = lane.keys
    pipeline = redis.pipeline(transaction=False)
    for key in lane.waiting:
        pipeline.lrange(key, 0, -1)
    pipeline.zrange(leases_key, 0, -1, withscores=True)
    pipeline.zrange(due_key, 0, -1, withscores=True)
    pipeline.hgetall(jobs_key)
    pipeline.hgetall(pace_key)
    *waiting, leases, due, jobs, pace = pipeline.execute()
    return LaneHolds(
        waiting=tuple(tuple(reversed(level)) for level in waiting),
        leases={job_id.decode(): _whole(moment) for job_id, moment in leases},
        due={job_id.decode(): _whole(moment) for job_id, moment in due},
        jobs={name.decode(): value for name, value in jobs.items()},
        pacing=_pacing({name.decode(): int(value) for name, value in pace.items()}),
    )


def _pacing(fields: dict[str, int]) -> Pacing:
    names = {
        "tat": "free_from",
        "gate": "promised_from",
        "rest": "rests_until",
        "turn": "admissions",
    }
    return Pacing(**{names.get(name, name): value for name, value in fields.items()})


def _claim(what: Claimed, wait: int, now: int, tries: Tries, moved: int = 0) -> Claim:
    return Claim(what, timedelta(microseconds=wait), datetime.fromtimestamp(now / SECOND, UTC), tries, moved)


def _whole(moment: Any) -> int:
    assert math.modf(moment)[0] == 0, "a moment lost its whole microseconds"
    return int(moment)

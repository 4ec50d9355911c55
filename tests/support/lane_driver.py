"""A driver for one lane: each method is one step of a producer or a worker."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from streamstop._core.constants import ARRIVALS, DEAD, LEASED, SCHEDULE, WAKE
from streamstop._core.lane import PRIORITY_STEPS, Lane, result_key
from streamstop._core.lane_types import AttemptHistory, LastCall, SendDelay, Swept, Take, Taken
from streamstop._core.pace import Pace
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import Book, Reported, Schedule
from streamstop._wire.reports import Ended, Released, Report, Retried, Throttled
from tests.support.celery_messages import celery_message
from tests.support.manual_clock import ManualClock

LEASE = timedelta(seconds=15)
ENDED = '{"status": "SUCCESS", "result": null}'
WAITS_AGAIN = '{"status": "RETRY", "result": null}'
JUDGED_ONCE = AttemptHistory(attempts=1, calls=1)
CALLED_ONCE = AttemptHistory(calls=1)
CANCELLED = '{"status": "REVOKED", "result": null}'
KEPT = timedelta(days=1)
#: Fields of the lane's pace that are no numbers.
_TEXTS = {b"book", b"error_code"}
#: How many jobs an idle worker asks for.
MANY = 50


def book_for(*lanes: Lane, pace: Pace) -> Book:
    """Return the book of a worker that has the accounts of `lanes`."""
    return Book({lane.account: "aliyun" for lane in lanes}, {}, pace, {})


def announce(redis: Redis, *lanes: Lane) -> None:
    """Announce `lanes`, as producers do after they enqueue."""
    redis.sadd(ARRIVALS, *(lane.name for lane in lanes))
    redis.lpush(WAKE, 1)
    redis.ltrim(WAKE, 0, 0)


class LaneDriver:
    """One lane with a limit of `limit` calls per second, and a manual clock."""

    def __init__(self, redis: Redis, clock: ManualClock, limit: float = 10, lane: Lane | None = None) -> None:
        self.redis = redis
        self.clock = clock
        self.lane = lane or Lane("live-cn", "live.StopMPUTask")
        self.lanes = Lanes(redis)
        self.schedule = Schedule(redis)
        self.pace = Pace.of_limit(limit)
        self.book = book_for(self.lane, pace=self.pace)
        #: The jobs that the worker has taken, by name.
        self.taken_jobs: dict[str, Taken] = {}

    def job_id(self, name: object) -> str:
        """Return the id of the job that a test calls `name`."""
        return f"{self.lane.name}.{name}"

    # Producers

    def publish(self, *names: object, priority: int = 0) -> None:
        """Put a job for each name into the lane, and announce the lane."""
        for name in names:
            self.push(celery_message(self.lane, self.job_id(name), priority=priority), priority)
        announce(self.redis, self.lane)

    def push(self, message: bytes, priority: int = 0) -> None:
        """Put any message into the lane, where kombu would, and announce nothing."""
        self.redis.lpush(self.lane.waiting[PRIORITY_STEPS.index(priority // 3 * 3)], message)

    def cancel(self, name: object) -> str:
        """Cancel a job, as its producer."""
        return self.lanes.cancel(self.lane, self.job_id(name), record=CANCELLED)

    # Workers

    def look(self, most: int = MANY, *, book: Book | None = None) -> Take:
        """Look at the lanes once, as a worker does, and remember the jobs that it gives."""
        take = self.schedule.take(most, lease=LEASE, book=book or self.book)
        self.taken_jobs |= {_name_of(job): job for job in take.jobs}
        return take

    def take(self, most: int = MANY) -> list[str]:
        """Take what is due now; return the jobs' names."""
        return [_name_of(job) for job in self.look(most).jobs]

    def take_next(self) -> str:
        """Advance the clock until the lane gives a job, then to its slot; return the job's name."""
        for _ in range(1000):
            take = self.look(1)
            if take.jobs:
                self.move_to_slot(_name_of(take.jobs[0]))
                return _name_of(take.jobs[0])
            assert take.next_in is not None, "the lane gives nothing"
            self.clock.advance(take.next_in)
        raise AssertionError("the lane gives nothing")

    def slot(self, name: object) -> timedelta:
        """Return how long it is until a taken job's slot."""
        return timedelta(microseconds=self.taken_jobs[str(name)].slot_us - self.clock.now_us)

    def move_to_slot(self, name: object) -> None:
        """Advance the clock to a taken job's slot."""
        self.clock.advance(max(timedelta(0), self.slot(name)))

    def finish(self, name: object, *, call: LastCall = LastCall.WELL, send_delay: SendDelay | None = None) -> bool:
        """Report a job's end; return whether the report was accepted."""
        send_delay = send_delay or SendDelay()
        return (
            self._report_one(
                Ended(job=self.taken_jobs[str(name)], call=call, send_delay=send_delay, record=ENDED, kept=KEPT)
            )
            is not None
        )

    def retry(
        self,
        name: object,
        *,
        delay: timedelta = timedelta(seconds=3),
        history: AttemptHistory = JUDGED_ONCE,
        fault: bool = True,
    ) -> timedelta | None:
        """Report a transient fault; return how long the lane rests for it."""
        call = LastCall.FAULT if fault else LastCall.WELL
        job = self.taken_jobs[str(name)]
        return self._report_one(
            Retried(job=job, call=call, delay=delay, history=history, record=WAITS_AGAIN, kept=KEPT)
        )

    def throttle(
        self, name: object, *, hint: timedelta | None = None, history: AttemptHistory = CALLED_ONCE
    ) -> timedelta | None:
        """Report that the vendor throttled a job's call; return how long the lane rests."""
        return self._report_one(Throttled(job=self.taken_jobs[str(name)], hint=hint, history=history))

    def release(self, *names: object) -> list[bool]:
        """Release jobs without a call; return for each whether the report was accepted."""
        reported = self.report(*(Released(job=self.taken_jobs[str(name)]) for name in names))
        return [rest is not None for rest in reported.rests]

    def report(self, *reports: Report) -> Reported:
        """Report many at once."""
        return self.schedule.report(reports)

    def sweep(self) -> Swept:
        """Sweep, as a worker does each second."""
        swept = self.schedule.sweep(longest_lease=2 * LEASE, period=timedelta(0))
        assert swept is not None
        return swept

    def expired_leases(self) -> int:
        """Sweep, and return how many of the lane's leases had run out."""
        return self.sweep().expired_leases.get(self.lane, 0)

    # The lane's state

    def now(self) -> datetime:
        """Return Redis' time."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.clock.now_us)

    def waiting(self) -> list[str]:
        """Return the names of the waiting jobs in each priority's order."""
        entries = (entry for level in self.lane.waiting for entry in reversed(self._list(level)))
        return [_name_in(entry) for entry in entries]

    def unreadable(self) -> list[bytes]:
        """Return the unreadable messages among the dead letters."""
        ids: Any = self.redis.zrange(DEAD, 0, -1)
        letters: Any = [self.redis.hgetall(f"{DEAD}.{letter_id.decode()}") for letter_id in ids]
        return [letter[b"message"] for letter in letters]

    def in_flight(self) -> int:
        """Return how many jobs are taken and unreported."""
        return self.lanes.view(self.lane).in_flight

    def scheduled(self) -> timedelta | None:
        """Return the time until the lane's entry in the schedule, None without one."""
        at: Any = self.redis.zscore(SCHEDULE, self.lane.name)
        return None if at is None else timedelta(microseconds=at - self.clock.now_us)

    def leased(self) -> timedelta | None:
        """Return the time until the lane's entry in the index of leases, None without one."""
        at: Any = self.redis.zscore(LEASED, self.lane.name)
        return None if at is None else timedelta(microseconds=at - self.clock.now_us)

    def record(self, name: object) -> str | None:
        """Return a job's record."""
        value: Any = self.redis.get(result_key(self.job_id(name)))
        return None if value is None else value.decode()

    def pacing(self) -> dict[str, int]:
        """Return the numbers of the lane's pace."""
        fields: Any = self.redis.hgetall(self.lane.pace)
        return {name.decode(): int(value) for name, value in fields.items() if name not in _TEXTS}

    def everything(self) -> dict[bytes, object]:
        """Return a dump of every key, for comparison."""
        keys: Iterator[bytes] = self.redis.scan_iter()
        return {key: self.redis.dump(key) for key in keys}

    def _report_one(self, report: Report) -> timedelta | None:
        (rest,) = self.report(report).rests
        return rest

    def _list(self, key: str) -> Sequence[bytes]:
        values: Any = self.redis.lrange(key, 0, -1)
        return list(values)


def _name_of(job: Taken) -> str:
    return job.job_id.rpartition(".")[2]


def _name_in(entry: bytes) -> str:
    message = entry.partition(b"\n")[2] if entry.startswith(b"\x01") else entry
    name: str = json.loads(message)["headers"]["id"].rpartition(".")[2]
    return name

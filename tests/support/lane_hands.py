"""What producers and workers do to one lane, in a word each, for tests that read as sentences."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from streamstop.lanes import Claim, Lane, Lanes, LastCall, Pace, Swept, Tries
from streamstop.lanes.names import DEAD, PRIORITY_STEPS, READY_LISTS, result_key
from tests.support.celery_messages import celery_message
from tests.support.moved_clock import MovedClock

LEASE = timedelta(seconds=15)
ENDED = '{"status": "SUCCESS", "result": null}'
WAITS_AGAIN = '{"status": "RETRY", "result": null}'
JUDGED_ONCE = Tries(attempts=1, calls=1)
CALLED_ONCE = Tries(calls=1)
CANCELLED = '{"status": "REVOKED", "result": null}'


class LaneHands:
    """One lane at `limit` calls per second, and a clock that is moved by hand."""

    def __init__(self, redis: Redis, clock: MovedClock, limit: float = 10, lane: Lane | None = None) -> None:
        self.redis = redis
        self.clock = clock
        self.lane = lane or Lane("live-cn", "live.StopMPUTask")
        self.lanes = Lanes(redis)
        self.pace = Pace.of_limit(limit)
        self._numbers = itertools.count(1)

    def job_id(self, name: object) -> str:
        """Return the id of the job that a test calls `name`."""
        return f"{self.lane.name}.{name}"

    def publish(self, *names: object, priority: int = 0) -> None:
        """Put a job for each name into the lane, unadmitted."""
        for name in names:
            self.push(celery_message(self.lane, self.job_id(name), priority=priority), priority)

    def push(self, message: bytes, priority: int = 0) -> None:
        """Put any message into the lane, where kombu would."""
        self.redis.lpush(self.lane.waiting[PRIORITY_STEPS.index(priority // 3 * 3)], message)

    def admit(self) -> int:
        """Nudge, as a producer does."""
        return self.lanes.admit(self.lane, replace(self.pace, of_account=False))

    def sweep(self) -> Swept:
        """Sweep, as a worker does each second."""
        return self.lanes.sweep(self.lane, self.pace, owner="sweep", lease=2 * LEASE)

    def take(self) -> str | None:
        """Take the next message from the ready queue, as kombu does; return the job's name."""
        message: Any = next(filter(None, map(self.redis.rpop, READY_LISTS)), None)
        return None if message is None else _name_in(message)

    def take_all(self) -> list[str]:
        """Empty the ready queue."""
        return list(iter(self.take, None))

    def claim(self, name: object, *, owner: str = "worker", expires_in: timedelta | None = None) -> Claim:
        """Claim a job, whether it was taken or not."""
        expires_at = None if expires_in is None else self.now() + expires_in
        job_id = self.job_id(name)
        return self.lanes.claim(self.lane, self.pace, job_id, owner=owner, lease=LEASE, expires_at=expires_at)

    def finish(self, name: object, *, owner: str = "worker", call: LastCall = LastCall.WELL) -> bool:
        """Report a job's end."""
        return self.lanes.finish(self.lane, self.pace, self.job_id(name), owner=owner, record=ENDED, call=call)

    def defer(
        self,
        name: object,
        *,
        owner: str = "worker",
        delay: timedelta = timedelta(seconds=3),
        tries: Tries = JUDGED_ONCE,
        fault: bool = True,
    ) -> timedelta | None:
        """Report a transient fault."""
        return self.lanes.defer(
            self.lane,
            self.pace,
            self.job_id(name),
            owner=owner,
            delay=delay,
            tries=tries,
            record=WAITS_AGAIN,
            call=LastCall.FAULT if fault else LastCall.WELL,
        )

    def pause(
        self,
        name: object,
        *,
        owner: str = "worker",
        hint: timedelta | None = None,
        tries: Tries = CALLED_ONCE,
    ) -> timedelta | None:
        """Report that the vendor throttled a job's call."""
        return self.lanes.pause(self.lane, self.pace, self.job_id(name), owner=owner, tries=tries, hint=hint)

    def release(self, name: object, *, owner: str = "worker") -> bool:
        """Give a job back."""
        return self.lanes.release(self.lane, self.pace, self.job_id(name), owner=owner)

    def cancel(self, name: object) -> str:
        """Take a job back, as its producer."""
        return self.lanes.cancel(self.lane, self.job_id(name), record=CANCELLED)

    def run_next(self) -> Claim:
        """Take and claim the next ready job, and move on to its slot."""
        name = self.take()
        assert name is not None, "nothing is ready"
        claim = self.claim(name)
        self.clock.advance(claim.wait)
        return claim

    def now(self) -> datetime:
        """The moment, as Redis has it."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.clock.now_us)

    def waiting(self) -> list[str]:
        """Return the names of the waiting jobs, first to last as each priority has them."""
        return [_name_in(message) for level in self.lane.waiting for message in reversed(self._list(level))]

    def ready(self) -> list[str]:
        """Return the names of the jobs in the ready queue, first to last."""
        return [_name_in(message) for ready in READY_LISTS for message in reversed(self._list(ready))]

    def unreadable(self) -> list[bytes]:
        """Return the messages that nobody can read."""
        ids: Any = self.redis.zrange(DEAD, 0, -1)
        letters: Any = [self.redis.hgetall(f"{DEAD}.{letter_id.decode()}") for letter_id in ids]
        return [letter[b"message"] for letter in letters]

    def in_flight(self) -> int:
        """Return how many jobs are admitted and unreported."""
        return self.lanes.view(self.lane).in_flight

    def record(self, name: object) -> str | None:
        """Return a job's record."""
        value: Any = self.redis.get(result_key(self.job_id(name)))
        return None if value is None else value.decode()

    def pacing(self) -> dict[str, int]:
        """Return the fields of the lane's pace."""
        fields: Any = self.redis.hgetall(self.pace_key)
        return {name.decode(): int(value) for name, value in fields.items()}

    @property
    def jobs_key(self) -> str:
        """The hash of what the lane holds."""
        return self.lane.keys[5]

    @property
    def pace_key(self) -> str:
        """The hash of the lane's pace."""
        return self.lane.keys[7]

    def _list(self, key: str) -> list[bytes]:
        values: Any = self.redis.lrange(key, 0, -1)
        return list(values)


def _name_in(message: bytes) -> str:
    name: str = json.loads(message)["headers"]["id"].rpartition(".")[2]
    return name

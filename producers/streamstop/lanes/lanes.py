"""Lanes: the typed wrapper of the lanes' scripts; nothing else calls them.

Each script is one file in ``scripts/``, behind the prelude that they share. It runs atomically in Redis, by Redis'
clock, and is safe to run twice.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from streamstop.lanes.names import DEAD, LANES, SWEEPER, Lane, result_key
from streamstop.lanes.pace import Pace
from streamstop.lanes.terms import (
    ON_TIME,
    Claim,
    Claimed,
    LaneView,
    LastCall,
    Lateness,
    Letter,
    Queued,
    Settlement,
    Swept,
    Tries,
)
from streamstop.scripts import Script, load

#: What a call raises where Redis cannot be reached or does not answer.
UNREACHABLE = (RedisError, OSError)
#: How long a job's record in Celery's result backend can be read.
RESULT_TTL = timedelta(days=7)
#: How many jobs of each kind one sweep of a lane moves.
SWEEP_MOST = 500
#: How often a job's worker may be lost before the job is given up.
MOST_LAPSES = 5


class Lanes:
    """Every lane of one Redis.

    Raises redis-py's errors where Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def admit(self, lane: Lane, pace: Pace) -> int:
        """Move waiting jobs to the ready queue, as many as the window and the pace allow."""
        return int(self._run("admit", lane, pace))

    def claim(
        self,
        lane: Lane,
        pace: Pace,
        job_id: str,
        *,
        owner: str,
        lease: timedelta,
        expires_at: datetime | None,
        to_call: bool = True,
    ) -> Claim:
        """Take an admitted job; `lease` counts from its slot. One that is not `to_call` takes no slot."""
        expires_us = 0 if expires_at is None else max(1, int(expires_at.timestamp() * 1_000_000))
        expires_us = expires_us if to_call else -1
        reply = self._run("claim", lane, pace, job_id, owner, _us(lease), expires_us, result_of=job_id)
        what = Claimed(reply[0].decode())
        if what not in {Claimed.GO, Claimed.EXPIRED}:
            return Claim(what)
        at = datetime.fromtimestamp(int(reply[2]) / 1_000_000, UTC)
        return Claim(what, timedelta(microseconds=int(reply[1])), at, Tries.parse(reply[3].decode()), int(reply[4]))

    def finish(
        self,
        lane: Lane,
        pace: Pace,
        job_id: str,
        *,
        owner: str,
        record: str,
        call: LastCall,
        settlement: Settlement | None = None,
        then: Queued | None = None,
        letter: Letter | None = None,
        lateness: Lateness = ON_TIME,
    ) -> bool:
        """Record an outcome and admit the lane's next job; `call` tells how the lane is, `lateness` how late it left.

        In the same step, `settlement` counts the job's stream task in its shutdown, `then` is put into its lane, and
        `letter` is kept. Return False where the job is no longer the owner's: nothing was recorded.
        """
        settled = settlement.arguments if settlement else _NO_SETTLEMENT
        follow = (then.list, then.lane.name, then.message) if then else ("", "", "")
        report = (job_id, owner, record, _RESULT_TTL_S, call.value)
        kept = letter.arguments if letter else ("", "", 0)
        told = (*report, *settled, *follow, *lateness.arguments, *kept)
        return bool(self._run("finish", lane, pace, *told, result_of=job_id))

    def defer(
        self,
        lane: Lane,
        pace: Pace,
        job_id: str,
        *,
        owner: str,
        delay: timedelta,
        tries: Tries,
        record: str,
        call: LastCall,
        lateness: Lateness = ON_TIME,
    ) -> timedelta | None:
        """Keep a job until it is due again; a fault of its `call` counts towards the lane's failing.

        Return how long the lane rests (zero: it does not), or None where the job is no longer the owner's.
        """
        rest = self._run(
            "defer",
            lane,
            pace,
            job_id,
            owner,
            _us(delay),
            str(tries),
            record,
            _RESULT_TTL_S,
            call.value,
            *lateness.arguments,
            result_of=job_id,
        )
        return _duration(rest)

    def pause(
        self,
        lane: Lane,
        pace: Pace,
        job_id: str,
        *,
        owner: str,
        tries: Tries,
        hint: timedelta | None,
        lateness: Lateness = ON_TIME,
    ) -> timedelta | None:
        """Put a throttled job back and rest its lane, for the vendor's `hint` if there is one.

        Return how long the lane rests, or None where the job is no longer the owner's.
        """
        rest = self._run("pause", lane, pace, job_id, owner, str(tries), _us(hint or timedelta(0)), *lateness.arguments)
        return _duration(rest)

    def release(self, lane: Lane, pace: Pace, job_id: str, *, owner: str) -> bool:
        """Give a delivered job back to its lane, uncalled. Return False where it is another's."""
        return bool(self._run("release", lane, pace, job_id, owner))

    def cancel(self, lane: Lane, job_id: str, *, record: str, settlement: Settlement | None = None) -> str:
        """Take a job back that no worker has claimed: ``cancelled``, or why not: ``claimed`` or ``ended``."""
        no_pace = Pace(interval_us=0, window=0, of_account=False)
        settled = settlement.arguments if settlement else _NO_SETTLEMENT
        reply = self._run("cancel", lane, no_pace, job_id, record, _RESULT_TTL_S, *settled, result_of=job_id)
        return str(reply.decode())

    def record_of(self, job_id: str) -> bytes | None:
        """Return the job's record in Celery's result backend."""
        records: Any = self._redis.mget(result_key(job_id))  # to MGET, a key of another type is none
        record = records[0]
        return None if record is None else bytes(record)

    def sweep(self, lane: Lane, pace: Pace, *, owner: str, lease: timedelta) -> Swept:
        """Make lapsed and due jobs wait again, and admit.

        `owner` then owns what workers took and could not begin. No worker's lease is longer than `lease`.
        """
        reply = self._run("sweep", lane, pace, SWEEP_MOST, MOST_LAPSES, owner, _us(lease))
        lapsed, due, admitted, unbegun = reply
        pairs = zip(unbegun[::2], unbegun[1::2], strict=True)
        return Swept(lapsed, due, admitted, tuple((job_id.decode(), message) for job_id, message in pairs))

    def dead(self) -> int:
        """Return how many dead letters there are."""
        return int(self._redis.zcard(DEAD))

    def may_sweep(self, period: timedelta) -> bool:
        """Return whether the caller is the one to sweep; nobody else is for `period`."""
        if self._redis.set(SWEEPER, "1", nx=True, px=period):
            return True
        left: Any = self._redis.pttl(SWEEPER)
        if timedelta(milliseconds=left) > period:
            self._redis.delete(SWEEPER)  # the clock was set back, and it would be held for as long
        return False

    def holding(self) -> frozenset[Lane]:
        """Return the lanes that hold jobs, as far as anybody has told."""
        return frozenset(Lane.from_name(name.decode()) for name in self._members(LANES))

    def untold(self, lanes: Iterable[Lane]) -> frozenset[Lane]:
        """Return those of `lanes` that have jobs waiting. One round trip, and one command while there are none."""
        candidates = list(lanes)
        if not candidates or not self._redis.exists(*(key for lane in candidates for key in lane.waiting)):
            return frozenset()
        pipeline = self._redis.pipeline(transaction=False)
        for lane in candidates:
            pipeline.exists(*lane.waiting)
        return frozenset(lane for lane, found in zip(candidates, pipeline.execute(), strict=True) if found)

    def view(self, lane: Lane) -> LaneView:
        """Return what `lane` holds now."""
        return self.views([lane])[0]

    def views(self, lanes: Sequence[Lane]) -> list[LaneView]:
        """Return what `lanes` hold now, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        for lane in lanes:
            *_, leases, _jobs, due, pace, _ready, _lanes, _dead = lane.keys
            for waiting in lane.waiting:
                pipeline.llen(waiting)
            pipeline.zcard(leases)
            pipeline.zcard(due)
            pipeline.hmget(pace, "interval", "share", "rest")
        (seconds, microseconds), *replies = pipeline.execute()
        now_us = seconds * 1_000_000 + microseconds
        size = len(replies) // len(lanes) if lanes else 1
        parts = (replies[start : start + size] for start in range(0, len(replies), size))
        return [_view(lane, part, now_us) for lane, part in zip(lanes, parts, strict=True)]

    def _members(self, key: str) -> frozenset[bytes]:
        members: Any = self._redis.smembers(key)
        return frozenset(members)

    def _run(self, script: str, lane: Lane, pace: Pace, *arguments: str | int, result_of: str | None = None) -> Any:
        said_by = "account" if pace.of_account else "vendor"
        keys = [*lane.keys, result_key(result_of)] if result_of is not None else list(lane.keys)
        return self._scripts[script](keys=keys, args=[lane.name, pace.interval_us, pace.window, *arguments, said_by])

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        here = "streamstop.lanes"
        return load(self._redis, here, preludes={"_lane": here, "_settle": here})


_RESULT_TTL_S = int(RESULT_TTL.total_seconds())
_NO_SETTLEMENT = ("", "", "", "", 0, 0)


def _view(lane: Lane, part: Sequence[Any], now_us: int) -> LaneView:
    *waiting, in_flight, deferred, (interval, share, rest) = part
    return LaneView(
        lane=lane,
        waiting=sum(waiting),
        in_flight=in_flight,
        deferred=deferred,
        rest=timedelta(microseconds=max(0.0, float(rest or 0) - now_us)),
        pace=10_000 * float(share or 100) / float(interval) if interval else None,
    )


def _us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _duration(microseconds: bytes) -> timedelta | None:
    value = int(microseconds)
    return None if value < 0 else timedelta(microseconds=value)

"""Schedule: the workers' side of lanes. Workers take jobs, report on them, and return jobs of lost workers.

Each script is one file in ``_redis/lua/lane``. It runs atomically in Redis, uses Redis' clock, handles a limited number
of jobs, and is safe to run twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import uuid4

from redis import Redis

from streamstop._core.constants import BOOK, MOST_FOUND
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, Swept, Take, Taken
from streamstop._core.pace import Pace
from streamstop._redis.scripts import Script, load
from streamstop._wire.reports import Report

#: How many deliveries of a job may be lost before the job is given up.
MOST_LOST_DELIVERIES = 5
#: How many jobs one run of a script takes, reports or returns. No run blocks Redis for more than 5 ms.
BATCH = 50
#: How long a book is kept after its last use.
_BOOK_TTL = timedelta(days=1)
#: How many lanes one run of ``find`` checks, and how often it runs for the same lanes.
_LANES = 1000
_MOST_RUNS = 20
_MICROSECOND = timedelta(microseconds=1)
#: In place of a rest: the vendor refused the account's key, which holds the account, so the job waits again.
WAITS_FOR_KEY = -2 * _MICROSECOND


@dataclass(frozen=True)
class Book:
    """The accounts of a worker, and the paces of their lanes."""

    #: Names to vendors.
    accounts: Mapping[str, str]
    #: By operation, for accounts that configure no other pace.
    operations: Mapping[str, Pace]
    #: For operations that are unknown to the worker.
    otherwise: Pace
    #: By lane, as accounts configure it.
    lanes: Mapping[Lane, Pace]

    @cached_property
    def fields(self) -> dict[str, str]:
        """The fields of the book's hash, as ``take`` reads them."""
        return {
            "*": str(self.otherwise),
            **dict(sorted(self.accounts.items())),
            **{operation: str(pace) for operation, pace in sorted(self.operations.items())},
            **{lane.name: str(pace) for lane, pace in sorted(self.lanes.items())},
        }

    @cached_property
    def digest(self) -> str:
        """The book's name. Workers with equal books share one."""
        return hashlib.sha256(repr(self.fields).encode()).hexdigest()[:16]


class Schedule:
    """Every lane of one Redis, for workers. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not

    def publish(self, book: Book) -> None:
        """Write a worker's book to Redis. It must be repeated within a day."""
        key = BOOK + book.digest
        if not self._redis.expire(key, _BOOK_TTL):
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hset(key, mapping=book.fields)
            pipeline.expire(key, _BOOK_TTL)
            pipeline.execute()

    def take(self, most: int, *, lease: timedelta, book: Book, arrivals: bool = True, full: bool = False) -> Take:
        """Take up to `most` jobs whose slots are near; `lease` counts from a job's slot.

        With `arrivals`, take from the lanes that producers have announced, too. With `full`, the worker can hold no
        more than `most` jobs, and another worker is woken for the others.
        """
        owner = uuid4().hex
        arguments: dict[str, Any] = {
            "owner": owner,
            "most": min(most, BATCH),
            "lease": lease // _MICROSECOND,
            "book": book.digest,
            "arrivals": arrivals,
            "full": full,
            "lanes": [],
        }
        reply = self._scripts["take"](**arguments)
        if reply == b"no book":
            self.publish(book)
            reply = self._scripts["take"](**arguments)
        return _take(reply, owner)

    def take_unserved(self, lanes: Sequence[Lane], most: int, *, lease: timedelta) -> Take:
        """Take jobs of lanes that no worker can call, without slots."""
        owner = uuid4().hex
        reply = self._scripts["take"](
            owner=owner,
            most=min(most, BATCH),
            lease=lease // _MICROSECOND,
            book="",
            arrivals=False,
            full=False,
            lanes=[lane.name for lane in lanes],
        )
        return _take(reply, owner)

    def report(self, reports: Sequence[Report], *, wake: bool = False) -> "Reported":
        """Report on jobs. With `wake`, this worker takes no more jobs, and another one is woken for those that wait.

        A slot can be freed only while it is the last of its lane. So reports are sent in the reverse order of slots.
        """
        order = sorted(range(len(reports)), key=lambda at: -reports[at].job.slot_us)
        texts = [reports[at].text() for at in order]
        next_us, answers, held, released = self._scripts["report"](wake_another=wake, reports=texts)
        rests: list[timedelta | None] = [None] * len(reports)
        for at, answer in zip(order, answers, strict=True):
            rests[at] = None if int(answer) == -1 else int(answer) * _MICROSECOND
        next_in = None if int(next_us) < 0 else int(next_us) * _MICROSECOND
        return Reported(
            rests,
            next_in,
            held={_text(account): _text(requeue) for account, requeue in held},
            released=[*map(_text, released)],
        )

    def sweep(self, *, longest_lease: timedelta, period: timedelta) -> Swept | None:
        """Return jobs whose leases have expired to their lanes.

        Return None if another worker has swept within the last `period`. Zero continues the caller's own sweep.
        """
        reply = self._scripts["sweep"](most=BATCH, longest=longest_lease // _MICROSECOND, period=period // _MICROSECOND)
        if reply is None:
            return None
        again, rescheduled, batches, controls, expired_leases, broken, last_us, now_us = reply
        return Swept(
            again=bool(again),
            rescheduled=rescheduled,
            batches=bool(batches),
            controls=bool(controls),
            expired_leases={Lane.from_name(_text(name)): count for name, count in expired_leases},
            broken=_broken(broken),
            last_us=int(last_us),
            now_us=int(now_us),
        )

    def find(self, accounts: Sequence[str], operations: Sequence[str]) -> int:
        """Schedule the lanes of `accounts` with jobs that no producer has announced; return how many there were."""
        found = 0
        size = max(1, _LANES // max(1, len(operations)))
        for start in range(0, len(accounts), size):
            piece = accounts[start : start + size]
            for _ in range(_MOST_RUNS):
                new = int(self._scripts["find"](operations=" ".join(operations), accounts=piece))
                found += new
                if new < MOST_FOUND:
                    break
        return found

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "lane")


@dataclass(frozen=True)
class Reported:
    """The reply to a batch of reports."""

    #: For each report: for how long it lets its lane rest; None if the worker no longer owns the job;
    #: :data:`WAITS_FOR_KEY` if the job waits again.
    rests: Sequence[timedelta | None]
    #: How long until a lane is due that can give jobs again; None: the reports have scheduled no lane.
    next_in: timedelta | None
    #: Accounts that are held from now on because their keys are refused, each with the command that requeues the jobs
    #: which ended before; and accounts that are no longer held.
    held: Mapping[str, str]
    released: Sequence[str]


def _take(reply: Any, owner: str) -> Take:
    next_us, now_us, jobs, ended, unserved_lanes, broken = reply
    return Take(
        now=datetime.fromtimestamp(int(now_us) / 1_000_000, UTC),
        now_us=int(now_us),
        jobs=[_taken(job, owner) for job in jobs],
        ended=[_taken(job, owner) for job in ended],
        unserved_lanes=[Lane.from_name(_text(name)) for name in unserved_lanes],
        broken=_broken(broken),
        next_in=None if int(next_us) < 0 else int(next_us) * _MICROSECOND,
    )


def _taken(job: Sequence[bytes], owner: str) -> Taken:
    name, job_id, message, history, slot, shifted = job
    return Taken(
        lane=Lane.from_name(_text(name)),
        job_id=_text(job_id),
        message=message,
        owner=owner,
        history=AttemptHistory.parse(_text(history)),
        slot_us=int(slot),
        slots_shifted_us=int(shifted),
    )


def _broken(pairs: Sequence[Sequence[bytes]]) -> dict[Lane, str]:
    return {Lane.from_name(_text(name)): _text(error) for name, error in pairs}


def _text(raw: bytes) -> str:
    """Return a name as text, whatever its bytes: producers may write names that no lane can have."""
    return raw.decode(errors="replace")
